"""Plain mergekit recipes from study.yml: one per point, with comments and a `finance:` block."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from mergekit_finance.checks.output import Input, check_output_file, model_inputs
from mergekit_finance.errors import RecipeError
from mergekit_finance.files import Json, JsonObject, atomic_write
from mergekit_finance.operators import format_value, operator_of
from mergekit_finance.recipe.task_entries import TaskSettings
from mergekit_finance.study import points as grid
from mergekit_finance.study.config import DEFAULT_TASKS, Study, load_study
from mergekit_finance.study.points import Point, seed_comments

STAGES = {
    1: "Stage 1, knowledge recovery: base and one expert.",
    2: "Stage 2, complementarity: two experts.",
    3: "Stage 3, emergence: three experts.",
}
TIES_PAPER = {"density": 0.2, "lambda": 1.0}
VARIED = {
    "task_arithmetic": "lambda",
    "ties": "density and lambda",
    "dare_ties": "density (1 - drop rate), lambda and the seed of the masks",
}
ALL_TASKS = "finance_bench"
FINANCE_LINE = "finance:  # read by mergekit-finance, ignored by mergekit"


@dataclass(frozen=True)
class Exported:
    """One recipe's file name and text."""

    name: str
    text: str


def export_recipes(path: Path, start: bool = False) -> list[Exported]:
    """Return the recipes of a study.

    Args:
        path: study.yml; its first block of comments is repeated in every recipe.
        start: only the starting point of each combination and operator, not every point.

    Raises:
        RecipeError: study.yml is wrong, or its later stages merge models that the study itself selects.
    """
    study = load_study(path)
    if study.chain == "best" and max(study.stages) > 1:
        raise RecipeError(
            f"{path}: with `chain: best` later stages merge models that the study itself selects. Run it; "
            "each point's recipe is then in OUT/points/NAME/recipe.yml."
        )
    comments = header(path)
    if start:
        points = grid.starts(study)
        return [_exported(study, point, comments, point.group, _start(study, point)) for point in points]
    every = [point for stage in sorted(study.stages) for point in grid.points(study, stage)]
    return [_exported(study, point, comments, point.name, _of_grid(study, point)) for point in every]


def header(path: Path) -> list[str]:
    """Return the lines of the comment at the top of a study file. They are repeated in every recipe."""
    comments = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comments.append(line.removeprefix("#").removeprefix(" ").rstrip())
    return comments


def _exported(study: Study, point: Point, comments: list[str], name: str, which: str) -> Exported:
    finance = block(
        point.stage,
        point.constituents,
        study.tasks,
        point.operator,
        study.task_settings,
        point.drawn_seed,
    )
    lines = [STAGES[point.stage], *comments, *seed_comments(point.drawn_seed)]
    return Exported(f"{name}.yml", render_recipe(point.recipe(), finance, [*lines, which]))


def _start(study: Study, point: Point) -> str:
    is_paper = point.operator == "ties" and dict(point.values) == TIES_PAPER
    source = ", from the TIES paper (K = 20 %, lambda = 1)" if is_paper else ""
    return f"Values to start with{source}. A study can vary {_varied(study, point.operator)}."


def _varied(study: Study, operator: str) -> str:
    """Return what a study can vary of an operator, for a method of mergekit what this study varies."""
    names = study.operators.present()[operator].parameters()
    return VARIED.get(operator) or " and ".join(names) or "nothing of it"


def _of_grid(study: Study, point: Point) -> str:
    values = ", ".join(f"{key.replace('.', ' of ')} {format_value(v)}" for key, v in point.values.items())
    return f"A point of the grid of the study {study.name!r}{f': {values}' if values else ''}."


def block(
    stage: int,
    constituents: Iterable[str],
    tasks: Iterable[str],
    operator: str,
    settings: Mapping[str, TaskSettings] | None = None,
    seed: int | None = None,
) -> JsonObject:
    """Return the `finance:` block of a point. All 18 tasks become the DEFAULT_TASKS of `run`.

    Args:
        settings: by task or group, what the study says of it; its entry becomes a mapping.
        seed: of the random numbers that mergekit's method draws.
    """
    names = [name for task in tasks for name in (DEFAULT_TASKS if task == ALL_TASKS else (task,))]
    return {
        "stage": stage,
        "constituents": list(constituents),
        "tasks": [_entry(name, (settings or {}).get(name)) for name in dict.fromkeys(names)],
        "citation": _Quoted(operator_of(operator).citation),
        **({} if seed is None else {"seed": seed}),
    }


def _entry(name: str, settings: TaskSettings | None) -> Json:
    if settings is None:
        return name
    return {"task": name, **settings.model_dump(mode="json", exclude_defaults=True)}


class _Quoted(str):
    """Text that is written in double quotes."""


class _Indented(yaml.SafeDumper):
    """YAML with lists indented below their key, as people write them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _represent_quoted(dumper: yaml.SafeDumper, content: _Quoted) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", content, style='"')


_Indented.add_representer(_Quoted, _represent_quoted)


def render_recipe(
    recipe: Mapping[str, Json], finance: Mapping[str, Json], comments: Iterable[str] = ()
) -> str:
    """Return a recipe's text: comments, mergekit's keys, the `finance:` block."""
    head = "".join(f"# {line}".rstrip() + "\n" for line in comments)
    return head + _dump(recipe) + _dump({"finance": dict(finance)}).replace("finance:", FINANCE_LINE, 1)


def _dump(content: Mapping[str, Json]) -> str:
    dumped: str = yaml.dump(dict(content), Dumper=_Indented, sort_keys=False, allow_unicode=True, width=1000)
    return dumped


def study_inputs(path: Path) -> list[Input]:
    """Return what the recipes of a study may not overwrite: its models, and the study file itself."""
    study = load_study(path)
    references = [study.base, *(expert.model for expert in study.experts.values())]
    return [*model_inputs(references), Input("the study file", path)]


def write_recipes(
    recipes: Iterable[Exported], folder: Path, force: bool = False, inputs: Sequence[Input] = ()
) -> list[Path]:
    """Write recipes into a folder. Returns their paths.

    Args:
        inputs: models and files that must not be overwritten.

    Raises:
        RecipeError: a file is there with other content and `force` is False (nothing is written then), or the
            folder cannot be written, or belongs to an input.
    """
    texts = {folder / recipe.name: recipe.text for recipe in recipes}
    for path, content in texts.items():
        check_output_file(path, inputs)
        if not force and path.exists() and path.read_text(encoding="utf-8") != content:
            raise RecipeError(f"{path}: exists with other content. --force overwrites it.")
    try:
        for path, content in texts.items():
            atomic_write(path, content)
    except OSError as error:
        raise RecipeError(f"{folder}: cannot be written ({error})") from error
    return list(texts)
