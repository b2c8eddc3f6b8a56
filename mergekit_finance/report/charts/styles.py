"""The color class and the shape of every model, operator, stage and pair in the charts."""

from collections.abc import Sequence

from mergekit_finance.report import labels
from mergekit_finance.report.charts.plot import LegendEntry
from mergekit_finance.report.charts.svg import SHAPES, swatch
from mergekit_finance.report.figures.curves import operators_of
from mergekit_finance.study.results import StudyResults

EXPERTS, OPERATORS, PAIRS = 6, 8, 6  # classes of report.css: c-e0 and so on
PAPER_OPERATORS = ("task_arithmetic", "ties", "dare_ties")


def model_style(results: StudyResults, name: str) -> str:
    """Return the color class of the base or an expert."""
    experts = results.experts
    return f"c-e{experts.index(name) % EXPERTS}" if name in experts else "c-base"


def operator_style(results: StudyResults, operator: str) -> str:
    """Return the color class of an operator; the same one in every study for those of the paper."""
    return f"c-o{_place(results, operator) % OPERATORS}"


def operator_shape(results: StudyResults, operator: str) -> str:
    """Return the shape of an operator's marks."""
    return SHAPES[_place(results, operator) % len(SHAPES)]


def _place(results: StudyResults, operator: str) -> int:
    others = [name for name in operators_of(results) if name not in PAPER_OPERATORS]
    return [*PAPER_OPERATORS, *others].index(operator)


def stage_style(stage: int) -> str:
    """Return the color class of a stage."""
    return f"c-s{min(max(stage, 1), 3)}"


def stage_shape(stage: int) -> str:
    """Return the shape of a stage's marks."""
    return SHAPES[min(max(stage, 1), 3)]


def operator_legend(results: StudyResults) -> list[LegendEntry]:
    """Return an entry for every operator."""
    return [
        LegendEntry(
            swatch(operator_style(results, name), operator_shape(results, name)), labels.operator_name(name)
        )
        for name in operators_of(results)
    ]


def model_legend(results: StudyResults, names: Sequence[str], shape: str = "circle") -> list[LegendEntry]:
    """Return an entry for the base and every expert."""
    return [LegendEntry(swatch(model_style(results, name), shape), name) for name in names]


def stage_legend(results: StudyResults) -> list[LegendEntry]:
    """Return an entry for every stage of the study."""
    stages = sorted({row.stage for row in results.combinations.values()})
    return [
        LegendEntry(swatch(stage_style(n), stage_shape(n)), labels.STAGES.get(n, f"Stage {n}"))
        for n in stages
    ]
