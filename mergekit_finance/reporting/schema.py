"""What the report reads of summary.json; more may be there."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Triple = tuple[float, float, float]  # value, low, high


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", populate_by_name=True)


class Model(_Part):
    reference: str
    folder: str
    macro: Triple
    scores: dict[str, float]
    retention: Triple | None = None


class Point(_Part):
    stage: int
    combination: list[str] = Field(min_length=1)
    operator: str
    values: dict[str, float] = Field(min_length=1)
    parents: list[str]
    folder: str
    recipe: dict[str, Any]
    macro: Triple
    macro_on_selection: float
    scores: dict[str, float]
    retention: Triple | None = None


class TaskSet(_Part):
    tasks: list[str]
    score: Triple
    gain: Triple
    og: Triple
    over_best_parent: Triple
    best_parent: str


class TaskEffect(_Part):
    items: int
    clusters: int
    score: Triple
    parents: dict[str, float]
    gain: Triple
    og: Triple


class Selected(_Part):
    parents: list[str]
    sets: dict[str, TaskSet]
    tasks: dict[str, TaskEffect]


class Combination(_Part):
    stage: int
    selected: str
    by_operator: dict[str, str]


class Task(_Part):
    kind: str
    items: int


class Ship(_Part):
    model: str
    is_merge: bool
    best_merge: str
    best_single: str
    macro: Triple
    merge_over_single: Triple


class Sentence(_Part):
    about: str
    text: str


class Expert(_Part):
    model: str
    skills: list[str] = []


class Study(_Part):
    base: str
    experts: dict[str, Expert]
    operators: dict[str, Any]


class Summary(_Part):
    models: dict[str, Model]
    points: dict[str, Point] = Field(min_length=1)
    selected: dict[str, Selected]
    combinations: dict[str, Combination] = Field(min_length=1)
    tasks: dict[str, Task] = Field(min_length=1)
    selection: dict[str, Any]
    ship: Ship
    study: Study
    verdict: list[Sentence]


def fault(content: Any) -> str | None:
    """The first thing that is wrong with a summary, in a few words."""
    try:
        found = Summary.model_validate(content)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'content'}: {first['msg']}"
    return _unknown(found)


def _unknown(found: Summary) -> str | None:
    """Names that stand for nothing: the first one."""
    if "base" not in found.models:
        return "models: no base"
    for name, known in found.combinations.items():
        wanted = {known.selected, *known.by_operator.values()}
        for point in sorted(wanted - (found.points.keys() & found.selected.keys())):
            return f"combinations.{name}: {point!r} is no selected point"
    for name, row in found.selected.items():
        if "macro" not in row.sets or found.tasks.keys() - row.tasks.keys():
            return f"selected.{name}: tasks are missing"
    return _of_models(found)


def _of_models(found: Summary) -> str | None:
    known = {**found.models, **found.points}
    for name, model in known.items():
        if found.tasks.keys() - model.scores.keys():
            return f"{name}: scores are missing"
    named = {found.ship.model, found.ship.best_single, *(p for x in found.points.values() for p in x.parents)}
    return next((f"{name!r} is no model of the study" for name in sorted(named - known.keys())), None)
