"""The merge operators of the study: names, parameters and sources, in one table."""

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
        parameters=("lambda",),
        citation="Task Arithmetic: Ilharco et al., Editing Models with Task Arithmetic, arXiv 2212.04089",
    ),
    Operator(
        key="ties",
        method="cpt_ties",
        label="TIES",
        short="TIES",
        slug="ties",
        parameters=("density", "lambda"),
        citation="TIES: Yadav et al., TIES-Merging, arXiv 2306.01708",
    ),
    Operator(
        key="dare_ties",
        method="cpt_dare_ties",
        label="DARE-TIES",
        short="DARE-TIES",
        slug="dare-ties",
        parameters=("density", "lambda", "seed"),
        citation=(
            "DARE-TIES: Yu et al., Language Models are Super Mario, arXiv 2311.03099; TIES: arXiv 2306.01708"
        ),
    ),
)

OPERATORS = {operator.key: operator for operator in _ALL}  # simplest first: the first is selected in a tie
BY_METHOD = {operator.method: operator for operator in _ALL}
BY_SLUG = {operator.slug: operator for operator in _ALL}
PARAMETER_SYMBOLS = {"lambda": "λ", "density": "d", "seed": "seed"}
