"""What the report reads of a study's files; more may be there."""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MOST = 10**12  # beyond it there is no number of ours, and figures overflow
Number = Annotated[float, Field(strict=True, ge=-MOST, le=MOST)]  # which no infinity and no NaN is
Whole = Annotated[int, Field(strict=True, ge=0, le=MOST)]
Triple = Annotated[list[Number], Field(min_length=3, max_length=3)]  # value, low, high


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", populate_by_name=True)


class Model(_Part):
    reference: str
    folder: str
    macro: Triple
    scores: dict[str, Number]
    retention: Triple | None = None
    probes: Triple | None = None


class Point(_Part):
    stage: Whole
    combination: list[str] = Field(min_length=1)
    operator: str
    values: dict[str, Number] = Field(min_length=1)
    parents: list[str]
    folder: str
    recipe: dict[str, Any]
    macro: Triple
    macro_on_selection: Number
    macro_gain: Number | None = None
    macro_og: Number | None = None
    scores: dict[str, Number]
    retention: Triple | None = None
    probes: Triple | None = None


class TaskSet(_Part):
    tasks: list[str] = Field(min_length=1)
    score: Triple
    gain: Triple
    og: Triple
    over_best_parent: Triple
    best_parent: str
    p_over_best_parent: Number | None = None
    mde: Number | None = None


class TaskEffect(_Part):
    items: Whole
    clusters: Whole
    score: Triple
    parents: dict[str, Number]
    gain: Triple
    og: Triple
    p_og: Number | None = None
    q_og: Number | None = None
    verdict: str = ""


class Selected(_Part):
    parents: list[str]
    sets: dict[str, TaskSet]
    tasks: dict[str, TaskEffect]


class Combination(_Part):
    stage: Whole
    selected: str
    by_operator: dict[str, str]


class Task(_Part):
    kind: str
    items: Whole
    skills: list[str] | None = None


class Ship(_Part):
    model: str
    is_merge: bool
    best_merge: str
    best_single: str
    macro: Triple
    merge_over_single: Triple
    clusters: Number = 100


class Sentence(_Part):
    about: str
    text: str


class Expert(_Part):
    model: str
    skills: list[str] = []


class Share(_Part):
    """Of study.selection: which items choose hyperparameters."""

    share: Number | None = None
    seed: Annotated[int, Field(strict=True)] | None = None


class Study(_Part):
    base: str
    experts: dict[str, Expert]
    operators: dict[str, dict[str, Any] | None]
    name: str | None = None
    tasks: list[str] = []
    selection: Share = Share()


class Optimism(_Part):
    mean: Number | None = None


class Selection(_Part):
    split: bool | None = None
    same_items: bool | None = None
    optimism_of_choosing_and_reporting_on_the_same_items: Optimism | None = None


class Before(_Part):
    """A combination's similarity before the merge."""

    combination: str
    stage: Whole
    point: str
    l2: Number | None = None
    cosine: Number | None = None
    headroom: Number | None = None


class Correlation(_Part):
    over: str
    predictor: str
    outcome: str
    n: Whole
    rho: Number | None = None
    p: Number | None = None


class Predictors(_Part):
    combinations: list[Before] | None = None
    correlations: list[Correlation] | None = None


class Summary(_Part):
    models: dict[str, Model]
    points: dict[str, Point] = Field(min_length=1)
    selected: dict[str, Selected]
    combinations: dict[str, Combination] = Field(min_length=1)
    tasks: dict[str, Task] = Field(min_length=1)
    selection: Selection
    ship: Ship
    study: Study
    verdict: list[Sentence]
    limit: Number | None = None
    similarity: Predictors | None = None


class Pair(_Part):
    a: str
    b: str
    l2: Number | None = None
    cosine: Number | None = None
    sign_conflicts: Number | None = None


class Vector(_Part):
    relative_norm: Number | None = None


class Layer(_Part):
    pairs: list[Pair] = []
    task_vector_pairs: list[Pair] = []
    task_vectors: dict[str, Vector | None] = {}


class Similarity(_Part):
    """similarity.json"""

    base: str | None = None
    models: list[str] = []
    layers: dict[str, Layer] | None = None


class Rows(_Part):
    """A task in scores.json."""

    items: list[str | int] = Field(min_length=1)
    clusters: list[str | int]
    correct: list[Number | bool]


def fault(content: Any) -> str | None:
    """The first thing that is wrong with a summary, in a few words."""
    return misfit(Summary, content) or _unknown(Summary.model_validate(content))


def misfit(kind: type[BaseModel], content: Any) -> str | None:
    """The first thing that is not of its type, in one line."""
    try:
        kind.model_validate(content)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        place = ".".join(map(str, first["loc"]))[:100] or "content"
        return " ".join(f"{place}: {first['msg']}".split())
    return None


def fault_of_rows(content: Any) -> str | None:
    """The first thing that is wrong with a task's columns."""
    if wrong := misfit(Rows, content):
        return wrong
    long = {len(content[key]) for key in ("items", "clusters", "correct")}
    return None if len(long) == 1 else "columns of different lengths"


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
    return next(_of_others(found), None) or _of_models(found)


def _of_others(found: Summary) -> Iterator[str]:
    """Tasks and points that the figures look up."""
    for known in found.combinations.values():
        sets = found.selected[known.selected].sets
        for task in sorted({t for own in sets.values() for t in own.tasks} - found.tasks.keys()):
            yield f"selected.{known.selected}: {task!r} is no task of the study"
    for row in (found.similarity.combinations if found.similarity else None) or ():
        if row.point not in found.selected:
            yield f"similarity: {row.point!r} is no selected point"


def _of_models(found: Summary) -> str | None:
    known = {**found.models, **found.points}
    for name, model in known.items():
        if found.tasks.keys() - model.scores.keys():
            return f"{name}: scores are missing"
    named = {found.ship.model, found.ship.best_single, *(p for x in found.points.values() for p in x.parents)}
    return next((f"{name!r} is no model of the study" for name in sorted(named - known.keys())), None)
