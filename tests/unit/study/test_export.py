"""The package's public names, and how little importing it costs."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

import mergekit_finance

HEAVY = {"torch", "transformers", "mergekit", "lm_eval", "datasets", "numpy", "matplotlib"}
MODULES = [
    m.name
    for m in pkgutil.walk_packages(mergekit_finance.__path__, "mergekit_finance.")
    if not m.name.endswith(".__main__") and ".autoload" not in m.name
]


def imported_by(statement):
    code = f"import sys\n{statement}\nprint(*{{m.split('.')[0] for m in sys.modules}})"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_every_name_in_all_is_an_attribute():
    assert sorted(mergekit_finance.__all__) == mergekit_finance.__all__
    for name in mergekit_finance.__all__:
        assert getattr(mergekit_finance, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mergekit_finance.nothing  # noqa: B018


@pytest.mark.parametrize(
    "statement",
    [
        "import mergekit_finance",
        "import mergekit_finance.cli",
        "from mergekit_finance import hookimpl, register",
    ],
)
def test_importing_the_package_or_its_cli_imports_nothing_heavy(statement):
    assert not imported_by(statement) & HEAVY


def test_the_check_for_heavy_imports_finds_one():
    assert "numpy" in imported_by("import numpy")


@pytest.mark.parametrize("name", MODULES)
def test_every_module_imports_and_has_a_docstring(name):
    if name.endswith(".triton_kernels"):
        pytest.importorskip(
            "triton", reason="the GPU kernels need Triton, which comes with CUDA builds of torch"
        )
    assert importlib.import_module(name).__doc__
