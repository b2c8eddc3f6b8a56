"""Print the tables of FINDINGS.md. In recipes/lab: `python -m training.findings OUT0 OUT1 ...`.

Each folder has the results of one study, and each study has experts of another training seed. For each
combination of models, the table has: the merge's mean score over the named tasks minus that of its best
constituent; the p-value in the first study, also with Holm's correction over the combinations; and the
effect, which is decided as in a single study and must have the same direction in most training seeds.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import TypeVar

from mergekit_finance.statistics.multiplicity import holm
from mergekit_finance.study.analysis.predictors import OUTCOMES, PREDICTORS
from mergekit_finance.study.analysis.verdict import over_seeds
from mergekit_finance.study.analysis.wording import effect_word
from mergekit_finance.study.results import load_results
from mergekit_finance.study.schema import Correlation, Evaluated, Interval, Summary, TaskSet

from .over_seeds import (
    TASK_ARITHMETIC,
    Seeds,
    effects_table,
    joint_spearman,
    merge_name,
    operators_table,
    retention_table,
    scales_table,
    skills_table,
    union_table,
)

Value = TypeVar("Value")
SUCCESS = {1: "came back", 2: "complement", 3: "emerged"}  # the design's words, by stage
UNION = {  # tasks that need all skills of a combination, by combination: a set of tasks, or one probe
    "finance+math": "skills: finance+math",
    "finance+japanese": "skills: finance+japanese",
    "math+japanese": "finance_bench_probe_mj",
    "finance+math+japanese": "skills: finance+japanese+math",
}


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
        design_word: The word of the design of FINDINGS.md, written before the runs.
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
    design_word: str
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
        design_word=_design_word(by_seed, p_holm, selected.stage),
        word=effect_word(over_seeds(studies, combination), selected.stage),
    )


def _design_word(by_seed: Sequence[TaskSet], p_holm: float, stage: int) -> str:
    """Return the word that the design has for the difference from the best constituent.

    A success: p with Holm's correction is at most 0.05. Interfered: the interval is below zero. Both need
    the first study's direction in three quarters of the studies.
    """
    differences = [tasks.over_best_constituent.value for tasks in by_seed]
    repeated = 0.75 * len(differences)
    if p_holm <= 0.05 and sum(value > 0 for value in differences) >= repeated:
        return SUCCESS[stage]
    if by_seed[0].over_best_constituent.high < 0 and sum(value < 0 for value in differences) >= repeated:
        return "interfered"
    return "did not appear"


def markdown(studies: Sequence[Summary]) -> str:
    """Return tables of the findings, of the models of every seed, of the operators and of similarity."""
    tables = (
        findings_table,
        _counts,
        _selected_table,
        _union_table,
        _models_table,
        _operators_table,
        _similarity_table,
    )
    return "\n\n".join(table(studies) for table in tables)


def findings_table(studies: Sequence[Summary]) -> str:
    """Return the table of findings; scores in points of a hundred."""
    lines = [
        "| merge | selected (seed 0) | tasks | score | best constituent | difference, 95 % | p (Holm) | "
        "other seeds | design's word | effect | base | merge minus base | other seeds |",
        "|---|---|---:|---:|---|---|---:|---|---|---|---:|---|---|",
    ]
    for row in findings(studies):
        point = _setting(row.combination, row.point)
        merge = merge_name(row.combination)
        cells = (
            merge,
            point,
            row.tasks,
            f"{100 * row.score:.1f}",
            f"{row.best_constituent} {100 * row.constituent_score:.1f}",
            _interval(row.difference, "+.1f"),
            f"{row.p:.4f} ({row.p_holm:.4f})",
            _other_seeds(row.difference_by_seed),
            row.design_word,
            f"**{row.word}**",
            f"{100 * row.base:.1f}",
            _interval(row.over_base, "+.1f"),
            _other_seeds(row.over_base_by_seed),
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _setting(combination: str, point: str) -> str:
    """Return the part of a point's name that has the operator and its hyperparameters."""
    return point.split("-", 1)[1].removeprefix(combination.replace("+", "-") + "-")


def _other_seeds(by_seed: Sequence[float]) -> str:
    """Format the values of the seeds after the first."""
    return ", ".join(f"{round(100 * value, 1) + 0.0:+.1f}" for value in by_seed[1:])


def _interval(numbers: Interval, form: str) -> str:
    value, low, high = (format(100 * number, form) for number in numbers)
    return f"{value} [{low}, {high}]"


def _counts(studies: Sequence[Summary]) -> str:
    """Return how many merges had each effect in their own study, and how often single tasks differ (OG)."""
    effects = Counter(
        row.effect.kind.value if row.effect else "none"
        for study in studies
        for row in study.combinations.values()
    )
    gaps = [
        task.og
        for study in studies
        for row in study.combinations.values()
        for task in study.selected[row.selected].tasks.values()
    ]
    above, below = sum(gap.low > 0 for gap in gaps), sum(gap.high < 0 for gap in gaps)
    words = ", ".join(f"{word} {count}" for word, count in effects.most_common())
    return (
        f"Effects in single studies: {words}. Single tasks, minus the best constituent of each: {len(gaps)} "
        f"differences, {above} with an interval above zero, {below} below."
    )


def _selected_table(studies: Sequence[Summary]) -> str:
    """Return the selected setting of every combination in every study, and that of Task Arithmetic alone."""
    seeds = [f"seed {seed}" for seed in range(len(studies))]
    lines = [f"| selected | {' | '.join(seeds)} |", f"|---|{'---|' * len(seeds)}"]
    for name in studies[0].combinations:
        for operator in (None, TASK_ARITHMETIC):
            rows = [study.combinations[name] for study in studies]
            points = [row.by_operator.get(operator) if operator else row.selected for row in rows]
            label = merge_name(name) + (f", {operator}" if operator else "")
            cells = (_setting(name, point) if point else "none" for point in points)
            lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _union_table(studies: Sequence[Summary]) -> str:
    """Return each selected merge on the tasks that need all of its skills: minus its best constituent."""
    seeds = [f"seed {seed}" for seed in range(len(studies))]
    lines = [
        f"| merge, tasks that need all its skills | {' | '.join(seeds)} |",
        f"|---|{'---|' * len(seeds)}",
    ]
    for name, tasks in UNION.items():
        if name in studies[0].combinations:
            cells = [_over_best(study, name, tasks) for study in studies]
            lines.append(f"| {merge_name(name)}, {tasks.removeprefix('skills: ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _over_best(study: Summary, combination: str, tasks: str) -> str:
    """Return the merge's score, its difference from the best constituent, and that one's name."""
    effects = study.selected[study.combinations[combination].selected]
    if one_task := effects.tasks.get(tasks):
        best = max(one_task.constituents, key=lambda name: (one_task.constituents[name], name))
        return f"{100 * one_task.score.value:.1f}: {_interval(one_task.og, '+.1f')} ({best})"
    if several := effects.sets.get(tasks):
        difference = _interval(several.over_best_constituent, "+.1f")
        return f"{100 * several.score.value:.1f}: {difference} ({several.best_constituent})"
    return "none"


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
    """Return Spearman's ρ of each predictor with each outcome: by seed, and its mean over the seeds.

    In brackets after ρ: p with Holm's correction over all predictors, outcomes and seeds. Of the mean: p from
    exchanging combinations alike in all seeds, and the same with Holm's correction over its rows.
    """
    tests = [(predictor, outcome) for predictor in PREDICTORS for outcome in OUTCOMES]
    stored = {(test, k): _stored(study, *test) for test in tests for k, study in enumerate(studies)}
    p_holm = holm({key: row.p for key, row in stored.items() if row and row.p is not None})
    joint = {test: _joint(studies, *test) for test in tests}
    joint_holm = holm({test: p for test, (_, p) in joint.items() if not isnan(p)})
    lines = [
        "| predictor | outcome | ρ by seed (p, Holm) | mean ρ | p | p, Holm |",
        "|---|---|---|---:|---:|---:|",
    ]
    for test in tests:
        rows = [stored[test, k] for k in range(len(studies))]
        cells = ", ".join(
            f"{row.rho:+.2f} ({p_holm[test, k]:.2f})" if row and row.rho is not None else "none"
            for k, row in enumerate(rows)
        )
        rho, p = joint[test]
        mean = (
            f"{rho:+.2f} | {p:.3f} | {joint_holm[test]:.3f}" if test in joint_holm else "none | none | none"
        )
        lines.append(f"| {' | '.join(test)} | {cells} | {mean} |")
    return "\n".join(lines)


def _stored(study: Summary, predictor: str, outcome: str) -> Correlation | None:
    wanted = ("all", predictor, outcome)
    rows = (r for r in study.similarity.correlations if (r.over, r.predictor, r.outcome) == wanted)
    return next(rows, None)


def _joint(studies: Sequence[Summary], predictor: str, outcome: str) -> tuple[float, float]:
    rows = [sorted(study.similarity.combinations, key=lambda row: row.combination) for study in studies]
    x, y = ([[getattr(row, name) for row in seed] for seed in rows] for name in (predictor, outcome))
    return joint_spearman(x, y)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the findings of finished studies."""
    parser = argparse.ArgumentParser(prog="python -m training.findings", description=__doc__)
    parser.add_argument("studies", nargs="+", type=Path, metavar="OUT", help="folder of a finished study")
    folders = parser.parse_args(argv).studies
    print(markdown([load_results(folder).summary for folder in folders]))
    seeds = Seeds(folders)
    for table in (effects_table, scales_table, skills_table, union_table, retention_table, operators_table):
        print(f"\n{table(seeds)}")


if __name__ == "__main__":
    main()
