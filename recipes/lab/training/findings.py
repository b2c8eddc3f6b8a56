"""Print the tables of FINDINGS.md. In recipes/lab: `python -m training.findings OUT0 OUT1 ...`.

Each folder has the results of one study, and each study has experts of another training seed. For each
combination of models, the table has: the merge's mean score over the named tasks minus that of its best
constituent; the p-value in the first study, also with Holm's correction over the combinations; and the
effect, which is decided as in a single study and must have the same direction in most training seeds.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mergekit_finance.statistics.correlation import spearman
from mergekit_finance.statistics.multiplicity import holm
from mergekit_finance.study.analysis.predictors import OUTCOMES, PREDICTORS
from mergekit_finance.study.analysis.verdict import over_seeds
from mergekit_finance.study.analysis.wording import effect_word
from mergekit_finance.study.results import load_results
from mergekit_finance.study.schema import Evaluated, Interval, Summary, TaskSet

Value = TypeVar("Value")


@dataclass(frozen=True)
class Finding:
    """The results of the studies of all seeds for one combination; scores are in [0, 1].

    Attributes:
        point: The merge that the first study selected.
        tasks: The number of tasks that the combination is judged on.
        best_constituent, constituent_score: The best one over these tasks, and its score.
        difference: The merge's score less the best constituent's, in the first study.
        difference_by_seed: The same value in every study.
        p, p_holm: One-sided p-value of "above every constituent" in the first study; with Holm's correction.
        word: The effect in words, as in a study's report.
    """

    combination: str
    stage: int
    point: str
    tasks: int
    score: float
    best_constituent: str
    constituent_score: float
    base: float
    over_base: Interval
    over_base_by_seed: list[float]
    difference: Interval
    difference_by_seed: list[float]
    p: float
    p_holm: float
    word: str


def findings(studies: Sequence[Summary]) -> list[Finding]:
    """Return one finding per combination, sorted by stage and name. P-values are those of the first study."""
    names = list(studies[0].combinations)
    p_holm = holm({name: _p(_named_tasks(studies[0], name)) for name in names})
    rows = [_finding(studies, name, p_holm[name]) for name in names]
    return sorted(rows, key=lambda row: (row.stage, row.combination))


def _named_tasks(study: Summary, combination: str) -> TaskSet:
    """Return the study's results on a combination's named tasks, at its selected point."""
    return study.selected[study.combinations[combination].selected].sets["named"]


def _p(tasks: TaskSet) -> float:
    return _required(tasks.p_over_all_constituents)


def _required(value: Value | None) -> Value:
    if value is None:
        raise SystemExit("Error: a study is of an older version, without base or p-values. Run it again.")
    return value


def _finding(studies: Sequence[Summary], combination: str, p_holm: float) -> Finding:
    by_seed = [_named_tasks(study, combination) for study in studies]
    first, selected = by_seed[0], studies[0].combinations[combination]
    return Finding(
        combination=combination,
        stage=selected.stage,
        point=selected.selected,
        tasks=len(first.tasks),
        score=first.score.value,
        best_constituent=first.best_constituent,
        constituent_score=first.constituents[first.best_constituent].value,
        base=_required(first.base).value,
        over_base=_required(first.over_base),
        over_base_by_seed=[_required(tasks.over_base).value for tasks in by_seed],
        difference=first.over_best_constituent,
        difference_by_seed=[tasks.over_best_constituent.value for tasks in by_seed],
        p=_p(first),
        p_holm=p_holm,
        word=effect_word(over_seeds(studies, combination), selected.stage),
    )


def markdown(studies: Sequence[Summary]) -> str:
    """Return tables of the findings, of the models of every seed, of the operators and of similarity."""
    tables = (findings_table, _models_table, _operators_table, _similarity_table)
    return "\n\n".join(table(studies) for table in tables)


def findings_table(studies: Sequence[Summary]) -> str:
    """Return the table of findings; scores in points of a hundred."""
    lines = [
        "| merge | selected (seed 0) | tasks | score | best constituent | difference, 95 % | p (Holm) | "
        "other seeds | effect | base | merge minus base | other seeds |",
        "|---|---|---:|---:|---|---|---:|---|---|---:|---|---|",
    ]
    for row in findings(studies):
        point = row.point.split("-", 1)[1].removeprefix(row.combination.replace("+", "-") + "-")
        merge = ("base + " if row.stage == 1 else "") + row.combination.replace("+", " + ")
        cells = (
            merge,
            point,
            row.tasks,
            f"{100 * row.score:.1f}",
            f"{row.best_constituent} {100 * row.constituent_score:.1f}",
            _interval(row.difference, "+.1f"),
            f"{row.p:.4f} ({row.p_holm:.4f})",
            _other_seeds(row.difference_by_seed),
            f"**{row.word}**",
            f"{100 * row.base:.1f}",
            _interval(row.over_base, "+.1f"),
            _other_seeds(row.over_base_by_seed),
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _other_seeds(by_seed: Sequence[float]) -> str:
    """Format the values of the seeds after the first."""
    return ", ".join(f"{round(100 * value, 1) + 0.0:+.1f}" for value in by_seed[1:])


def _interval(numbers: Interval, form: str) -> str:
    value, low, high = (format(100 * number, form) for number in numbers)
    return f"{value} [{low}, {high}]"


def _models_table(studies: Sequence[Summary]) -> str:
    lines = ["| seed | model | macro of 18 tasks | retention | probes |", "|---|---|---:|---:|---:|"]
    for seed, study in enumerate(studies):
        for name, model in study.models.items():
            lines.append(f"| {seed} | {name} | {' | '.join(_means(model))} |")
    return "\n".join(lines)


def _means(model: Evaluated) -> list[str]:
    means = (model.macro, model.retention, model.probes)
    return ["none" if mean is None else f"{100 * mean.value:.1f}" for mean in means]


def _operators_table(studies: Sequence[Summary]) -> str:
    lines = ["| seed | operator | best macro | spread over the grid | within a point of the best |"]
    lines.append("|---|---|---|---|---|")
    for seed, study in enumerate(studies):
        for name, scores in study.operators.operators.items():
            cells = " | ".join(_interval(i, ".1f") for i in (scores.best, scores.spread, scores.near))
            lines.append(f"| {seed} | {name} | {cells} |")
    return "\n".join(lines)


def _similarity_table(studies: Sequence[Summary]) -> str:
    """Return Spearman's ρ of each predictor with each outcome: by seed, and over all seeds' combinations.

    The rows of one seed share their models, so the pooled ρ has no p-value.
    """
    lines = ["| predictor | outcome | ρ by seed | ρ over all | n |", "|---|---|---|---:|---:|"]
    rows = [row for study in studies for row in study.similarity.combinations]
    for predictor in PREDICTORS:
        for outcome in OUTCOMES:
            pooled = spearman([getattr(r, predictor) for r in rows], [getattr(r, outcome) for r in rows])
            by_seed = ", ".join(_stored_rho(study, predictor, outcome) for study in studies)
            lines.append(f"| {predictor} | {outcome} | {by_seed} | {pooled.rho:+.2f} | {pooled.n} |")
    return "\n".join(lines)


def _stored_rho(study: Summary, predictor: str, outcome: str) -> str:
    wanted = ("all", predictor, outcome)
    rows = (r for r in study.similarity.correlations if (r.over, r.predictor, r.outcome) == wanted)
    row = next(rows, None)
    return "none" if row is None or row.rho is None else f"{row.rho:+.2f}"


def main(argv: Sequence[str] | None = None) -> None:
    """Print the findings of finished studies."""
    parser = argparse.ArgumentParser(prog="python -m training.findings", description=__doc__)
    parser.add_argument("studies", nargs="+", type=Path, metavar="OUT", help="folder of a finished study")
    print(markdown([load_results(folder).summary for folder in parser.parse_args(argv).studies]))


if __name__ == "__main__":
    main()
