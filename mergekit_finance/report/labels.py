"""Names of models, points, tasks and numbers as figures and tables show them."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from mergekit_finance.files import Json
from mergekit_finance.operators import operator_of, operator_rank, parameter_of, values_text
from mergekit_finance.study.analysis.phrases import merge_name
from mergekit_finance.study.schema import NO_SKILL

PARAMETER_ORDER = ("density", "lambda", "weight")  # then those of other methods, and the seed
STAGES = {
    1: "Stage 1: the base and one expert",
    2: "Stage 2: two experts",
    3: "Stage 3: three experts",
}
TASK_KINDS = {"tasks": "", "probes": "probes", "retention": "retention"}
# Unicode characters that change the direction of text: they would scramble what stands beside a name.
DIRECTION_MARKS = dict.fromkeys([0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])


class PointLike(Protocol):
    """The fields of a point that its name is made of."""

    @property
    def combination(self) -> Sequence[str]: ...
    @property
    def operator(self) -> str: ...
    @property
    def values(self) -> Mapping[str, Json]: ...


class TaskLike(Protocol):
    """The fields of a task that its group is made of."""

    @property
    def kind(self) -> str: ...
    @property
    def skills(self) -> Sequence[str]: ...


def without_direction_marks(text: str) -> str:
    """Return text without characters that change its direction."""
    return text.translate(DIRECTION_MARKS)


def task_name(name: str) -> str:
    """Return a task's name without the prefix of this benchmark."""
    return name.removeprefix("finance_bench_")


def clipped(text: str, max_length: int) -> str:
    """Return text, cut to `max_length` characters with an ellipsis if it is longer."""
    return text if len(text) <= max_length else text[: max_length - 1] + "…"


def operator_name(key: str, short: bool = False) -> str:
    """Return an operator's label; a method that this version does not know keeps its key."""
    operator = operator_of(key)
    return operator.short if short else operator.label


def operator_order(key: str) -> tuple[int, str]:
    """Return a sort key that puts operators in the order of `OPERATORS`, others last by name."""
    return operator_rank(key)


def hyperparameters(point: PointLike) -> str:
    """Return `λ 0.4`, `d 0.2, λ 1`, or with values by expert `λ (finance 0.6, math 0.4)`."""
    order = {name: place for place, name in enumerate(PARAMETER_ORDER)}

    def rank(key: str) -> tuple[bool, int]:
        return key == "seed", order.get(parameter_of(key), len(order))

    keys = sorted(point.values, key=rank)
    return values_text({key: point.values[key] for key in keys})


def combination(experts: Sequence[str]) -> str:
    """Return `finance + math`, or for one expert `base + finance`."""
    return merge_name("+".join(experts))


def operator_and_values(point: PointLike, short: bool = True) -> str:
    """Return `TA λ 0.4`."""
    return f"{operator_name(point.operator, short)} {hyperparameters(point)}".rstrip()


def point_name(point: PointLike, short: bool = True) -> str:
    """Return `finance + math · TA λ 0.4`, or with the whole name of the operator."""
    return f"{combination(point.combination)} · {operator_and_values(point, short)}"


def initials(names: Sequence[str]) -> dict[str, str]:
    """Return one capital letter for each name if the letters are distinct, else the names themselves."""
    letters = {name: name[:1].upper() for name in names}
    return letters if len(set(letters.values())) == len(letters) else {name: name for name in names}


def task_group(task: TaskLike) -> str:
    """Return the group of a task: its skills as `finance + math`, or its kind as `probes`."""
    return TASK_KINDS.get(task.kind, task.kind) or " + ".join(task.skills or [NO_SKILL])
