"""From study.yml to plain mergekit recipes, one a point, each with its comments and its `finance:` block."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mergekit_finance.errors import RecipeError
from mergekit_finance.study import points as grid
from mergekit_finance.study.config import Study, load, text
from mergekit_finance.study.points import Point

STAGES = {
    1: "Stage 1, knowledge recovery: base and one expert.",
    2: "Stage 2, complementarity: two experts.",
    3: "Stage 3, emergence: three experts.",
}
TIES_PAPER = {"density": 0.2, "lambda": 1.0}
STARTS = {
    "task_arithmetic": "A start: lambda is what the study sweeps.",
    "ties": "A start: density and lambda are what the study sweeps.",
    "dare_ties": "A start: density (1 - drop rate) and lambda are what the study sweeps, over several seeds.",
}
CITATIONS = {
    "task_arithmetic": (
        "Task Arithmetic: Ilharco et al., Editing Models with Task Arithmetic, arXiv 2212.04089"
    ),
    "ties": "TIES: Yadav et al., TIES-Merging, arXiv 2306.01708",
    "dare_ties": (
        "DARE-TIES: Yu et al., Language Models are Super Mario, arXiv 2311.03099; TIES: arXiv 2306.01708"
    ),
}
# What `mergekit-finance run` asks of a merge of a study on all 18 tasks: three of them.
FIRST_LOOK = ("finance_bench_fpb", "finance_bench_docmath_cs_cot", "finance_bench_jfinqa_numerical")
WHOLE = "finance_bench"
STRING = "tag:yaml.org,2002:str"
FOR_US = "finance:  # for mergekit-finance; mergekit ignores it"


@dataclass(frozen=True)
class Exported:
    """One recipe's file name and text."""

    name: str
    text: str


def export(path: Path, start: bool = False) -> list[Exported]:
    """The recipes of a study, of every point or only of where each combination and operator starts."""
    study = load(path)
    if study.chain == "best" and max(study.stages) > 1:
        raise RecipeError(
            f"{path}: chain: best merges models that the study itself selects; after it ran, each point's "
            "recipe is in OUT/points/NAME/recipe.yml"
        )
    comments = header(path)
    return [_exported(study, point, comments, start) for point in _points(study, start)]


def _points(study: Study, start: bool) -> Iterable[Point]:
    if start:
        return grid.starts(study)
    return (point for stage in sorted(study.stages) for point in grid.points(study, stage))


def header(path: Path) -> list[str]:
    """The first block of comments of study.yml: what the family's recipes all say of their models."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        found.append(line.removeprefix("#").removeprefix(" ").rstrip())
    return found


def _exported(study: Study, point: Point, comments: list[str], start: bool) -> Exported:
    which = _start(point) if start else f"A point of the grid of the study {study.name!r}: {_values(point)}."
    name = point.group if start else point.name
    finance = block(point.stage, point.constituents, study.tasks, point.operator)
    return Exported(f"{name}.yml", render(point.recipe(), finance, [STAGES[point.stage], *comments, which]))


def _start(point: Point) -> str:
    if point.operator == "ties" and dict(point.values) == TIES_PAPER:
        return STARTS["ties"].replace("A start:", "A start, from the TIES paper (K = 20 %, lambda = 1):")
    return STARTS[point.operator]


def _values(point: Point) -> str:
    return ", ".join(f"{key} {text(value)}" for key, value in point.values.items())


def block(stage: int, constituents: Iterable[str], tasks: Iterable[str], operator: str) -> dict[str, Any]:
    """The `finance:` block of a point."""
    asked = [t for task in tasks for t in (FIRST_LOOK if task == WHOLE else (task,))]
    return {
        "stage": stage,
        "constituents": list(constituents),
        "tasks": list(dict.fromkeys(asked)),
        "citation": _Quoted(CITATIONS[operator]),
    }


class _Quoted(str):
    """Text that is written in double quotes."""


class _Indented(yaml.SafeDumper):
    """Lists indented below their key, as people write them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        return super().increase_indent(flow, False)


_Indented.add_representer(_Quoted, lambda dumper, text: dumper.represent_scalar(STRING, text, style='"'))


def render(recipe: Mapping[str, Any], finance: Mapping[str, Any], comments: Iterable[str] = ()) -> str:
    """A recipe's file: comments, mergekit's keys, the `finance:` block."""
    head = "".join(f"# {line}".rstrip() + "\n" for line in comments)
    return head + _dump(dict(recipe)) + _dump({"finance": dict(finance)}).replace("finance:", FOR_US, 1)


def _dump(content: Mapping[str, Any]) -> str:
    return yaml.dump(content, Dumper=_Indented, sort_keys=False, allow_unicode=True, width=1000)


def write(recipes: Iterable[Exported], folder: Path, force: bool = False) -> list[Path]:
    """Write recipes; one that would change a file that is there stops all, before any is written."""
    made = {folder / recipe.name: recipe.text for recipe in recipes}
    for path, content in made.items():
        if not force and path.exists() and path.read_text(encoding="utf-8") != content:
            raise RecipeError(f"{path}: is there, and says something else; --force overwrites it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in made.items():
            path.write_text(content, encoding="utf-8")
    except OSError as fault:
        raise RecipeError(f"{folder}: cannot be written ({fault})") from fault
    return list(made)
