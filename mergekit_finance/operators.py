"""The merge operators of the study: names, parameters and sources, in one table."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Operator:
    """A merge operator.

    Attributes:
        key: its name in study.yml and in result files.
        method: the name of the merge method that mergekit runs.
        label: its name in text and figures.
        short: its name where there is little room.
        slug: its name in file and point names.
        parameters: the hyperparameters that a study sweeps, slowest first.
        citation: the paper that introduced it.
    """

    key: str
    method: str
    label: str
    short: str
    slug: str
    parameters: tuple[str, ...]
    citation: str


_ALL = (
    Operator(
        key="task_arithmetic",
        method="cpt_task_arithmetic",
        label="Task Arithmetic",
        short="TA",
        slug="ta",
        parameters=("lambda", "weight"),
        citation="Task Arithmetic: Ilharco et al., Editing Models with Task Arithmetic, arXiv 2212.04089",
    ),
    Operator(
        key="ties",
        method="cpt_ties",
        label="TIES",
        short="TIES",
        slug="ties",
        parameters=("density", "lambda", "weight"),
        citation="TIES: Yadav et al., TIES-Merging, arXiv 2306.01708",
    ),
    Operator(
        key="dare_ties",
        method="cpt_dare_ties",
        label="DARE-TIES",
        short="DARE-TIES",
        slug="dare-ties",
        parameters=("density", "lambda", "weight", "seed"),
        citation=(
            "DARE-TIES: Yu et al., Language Models are Super Mario, arXiv 2311.03099; TIES: arXiv 2306.01708"
        ),
    ),
)

OPERATORS = {operator.key: operator for operator in _ALL}  # simplest first: the first is selected in a tie
BY_METHOD = {operator.method: operator for operator in _ALL}
BY_SLUG = {operator.slug: operator for operator in _ALL}
PARAMETER_SYMBOLS = {"lambda": "λ", "density": "d", "weight": "w", "seed": "seed"}


# ---- the hyperparameters of a point: a value for all experts (`lambda`), or one for each (`lambda.finance`)


def key_of(parameter: str, expert: str) -> str:
    """Return the key of an expert's value of a hyperparameter."""
    return f"{parameter}.{expert}"


def parameter_of(key: str) -> str:
    """Return the hyperparameter that a key is about: `lambda` of `lambda.finance`."""
    return key.partition(".")[0]


def by_parameter(values: Mapping[str, float]) -> dict[str, float | dict[str, float]]:
    """Return the values of a point with those by expert as mappings: `{"lambda": {"finance": 0.6}}`."""
    nested: dict[str, float | dict[str, float]] = {}
    for key, value in values.items():
        parameter, _, expert = key.partition(".")
        of_experts = nested.setdefault(parameter, {}) if expert else value
        if isinstance(of_experts, dict):
            of_experts[expert] = value
        else:
            nested[parameter] = value
    return nested


def value_of(value: float | Mapping[str, float], expert: str) -> float:
    """Return an expert's value of a hyperparameter. Raises KeyError: it has none."""
    return value[expert] if isinstance(value, Mapping) else value


def values_text(values: Mapping[str, float], symbols: Mapping[str, str] = PARAMETER_SYMBOLS) -> str:
    """Return `d 0.2, λ 0.4` in the order of `values`; values by expert as `λ (finance 0.6, math 0.4)`."""
    texts = []
    for parameter, value in by_parameter(values).items():
        if isinstance(value, dict):
            each = ", ".join(f"{expert} {of_expert:g}" for expert, of_expert in value.items())
            value_text = f"({each})"
        else:
            value_text = f"{value:g}"
        texts.append(f"{symbols.get(parameter, parameter)} {value_text}")
    return ", ".join(texts)
