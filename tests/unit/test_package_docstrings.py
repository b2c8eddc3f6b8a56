"""The docstring of every package names its modules, so that the file of a feature is found from the folder."""

import ast
import re
from pathlib import Path

import pytest

import mergekit_finance

ROOT = Path(mergekit_finance.__file__).parent
# Packages whose docstring describes the modules as a group: one a command, a figure, a layout, a file.
IN_A_GROUP = {"cli", "report/figures", "data/adapters", "lab", "study/schema", "tasks", "."}
PACKAGES = sorted(path.parent.relative_to(ROOT).as_posix() for path in ROOT.rglob("__init__.py"))


@pytest.mark.parametrize("package", [name for name in PACKAGES if name not in IN_A_GROUP])
def test_the_docstring_of_a_package_names_every_module(package: str) -> None:
    folder = ROOT / package
    words = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    modules |= {path.parent.name for path in folder.glob("*/__init__.py")}
    assert not {name for name in modules if not re.search(rf"\b{name}\b", words)}
