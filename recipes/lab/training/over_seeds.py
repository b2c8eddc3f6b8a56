"""Differences between models of several studies, one per training seed, with intervals for other items.

All studies have the same test rows, so every replicate of the bootstrap draws the same clusters for all
seeds. The mean over seeds has an interval for other items with these models, not for other seeds.
All tables are in points of a hundred, on the items that selected no hyperparameter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from pathlib import Path
from typing import TypeVar

import numpy as np

from mergekit_finance.statistics.bootstrap import Replicates, bootstrap
from mergekit_finance.statistics.contrasts import added, contrast
from mergekit_finance.statistics.correlation import standardized_ranks
from mergekit_finance.statistics.intervals import Estimate
from mergekit_finance.study.analysis.selection import Ranking, best_of, grids, macro_on
from mergekit_finance.study.results import StudyResults, load_results

TASK_ARITHMETIC = "task_arithmetic"
ONE_SCALE = "task_arithmetic with one λ"
ROUNDING = 1e-9
Value = TypeVar("Value")
Pair = tuple[str, str]  # a model, and the one whose score is subtracted


@dataclass(frozen=True)
class Scales:
    """The Task Arithmetic merges of a combination that are best on the selection items.

    Attributes:
        one: The best one with the same λ for all experts.
        each: The best one of the whole grid, with a λ for each expert.
    """

    one: str
    each: str


def scales(results: StudyResults) -> dict[str, Scales]:
    """Return the best merges with one λ and with a λ for each expert, by combination of several experts."""
    ranking = Ranking(macro_on(results.selection, results.macro))
    chosen = {}
    for (combination, operator), names in grids(results.points).items():
        equal = [name for name in names if len(set(results.points[name].values.values())) == 1]
        if operator == TASK_ARITHMETIC and "+" in combination and equal:
            one, each = (best_of(group, results.points, ranking) for group in (equal, names))
            chosen[combination] = Scales(one, each)
    return chosen


class Seeds:
    """The studies of all seeds, and replicates of the scores of the models that tables need."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.results = [load_results(folder) for folder in folders]
        self.scales = [scales(results) for results in self.results]
        self.pooled = pooled([self._replicates(seed) for seed in range(len(folders))])

    @property
    def first(self) -> StudyResults:
        """The study of the first seed; all have the same tasks and combinations."""
        return self.results[0]

    def _replicates(self, seed: int) -> Replicates:
        results = self.results[seed]
        models = [*results.models, *results.selected, *self.full_strength(seed).values()]
        models += [name for pair in self.scales[seed].values() for name in (pair.one, pair.each)]
        tasks = list(results.report.values())
        return bootstrap(tasks, results.study.resamples, results.study.seed, list(dict.fromkeys(models)))

    @property
    def experts(self) -> list[str]:
        """The names of the experts."""
        return [name for name in self.first.models if name != "base"]

    def needing(self, experts: Sequence[str]) -> list[str]:
        """Return the tasks, or else the probes, that need exactly the skills of these experts."""
        skills = frozenset[str]().union(*(self.first.study.skills[e] for e in experts))
        within = [name for name in self.first.within(skills) if set(self.first.tasks[name].skills) == skills]
        return [name for name in within if name in self.first.macro] or within

    def full_strength(self, seed: int) -> dict[str, str]:
        """Return by combination of two or more experts the Task Arithmetic merge with all λ at 1."""
        return {
            "+".join(point.combination): name
            for name, point in self.results[seed].points.items()
            if point.operator == TASK_ARITHMETIC
            and len(point.combination) > 1
            and set(point.values.values()) == {1.0}
        }

    def selected(self, combination: str) -> list[str]:
        """Return the selected merge of a combination, by seed."""
        return [results.combinations[combination].selected for results in self.results]

    def full_strengths(self, combination: str) -> list[str]:
        """Return the merge of a combination from `full_strength`, by seed."""
        return [self.full_strength(seed)[combination] for seed in range(len(self.results))]

    def row(self, label: str, tasks: Sequence[str], by_seed: Sequence[Sequence[Pair]]) -> str:
        """Return a table row: the mean difference of the pairs in every seed, and over the seeds."""
        cells = [self._cell(tasks, {seed: pairs}) for seed, pairs in enumerate(by_seed)]
        return f"| {label} | {' | '.join([*cells, self.mean(tasks, by_seed)])} |"

    def mean(self, tasks: Sequence[str], by_seed: Sequence[Sequence[Pair]]) -> str:
        """Return the mean difference of the pairs over all seeds."""
        return self._cell(tasks, dict(enumerate(by_seed)))

    def _cell(self, tasks: Sequence[str], by_seed: Mapping[int, Sequence[Pair]]) -> str:
        if not tasks:
            return "none"
        share = 1 / len(by_seed)
        terms = [
            (f"{seed}/{name}", sign * share / len(pairs))
            for seed, pairs in by_seed.items()
            for pair in pairs
            for name, sign in zip(pair, (1, -1), strict=True)
        ]
        return points(contrast(self.pooled, tasks, added(terms)))

    def head(self, first: str) -> list[str]:
        """Return the first two lines of a table with a column per seed."""
        names = [f"seed {seed}" for seed in range(len(self.results))]
        return [f"| {first} | {' | '.join(names)} | mean of the seeds |", f"|---|{'---|' * (len(names) + 1)}"]


def pooled(by_seed: Sequence[Replicates]) -> Replicates:
    """Return the replicates of all seeds as one, each model named `seed/model`.

    Exits with an error if the studies have other items: their replicates would not be paired.
    """
    first = by_seed[0]
    if any(one.strata != first.strata for one in by_seed):
        raise SystemExit("Error: the studies were evaluated on different rows. Run them with the same limit.")
    return Replicates(
        observed={t: _renamed([one.observed[t] for one in by_seed]) for t in first.tasks},
        scores={t: _renamed([one.scores[t] for one in by_seed]) for t in first.tasks},
        clusters=first.clusters,
        strata=first.strata,
        task_weights=first.task_weights,
    )


def _renamed(by_seed: Sequence[Mapping[str, Value]]) -> dict[str, Value]:
    return {f"{seed}/{name}": value for seed, row in enumerate(by_seed) for name, value in row.items()}


def points(estimate: Estimate) -> str:
    """Format a difference in points with its interval."""
    value, low, high = (f"{round(100 * number, 1) + 0.0:+.1f}" for number in estimate)
    return f"{value} [{low}, {high}]"


def scales_table(seeds: Seeds) -> str:
    """Return by how much a λ for each expert is better than one λ for all, both selected on other items."""
    lines = seeds.head("λ for each expert minus one λ for all, on the 18 tasks")
    pairs = [{c: (s.each, s.one) for c, s in by_combination.items()} for by_combination in seeds.scales]
    for combination in pairs[0]:
        lines.append(seeds.row(spaced(combination), seeds.first.macro, [[row[combination]] for row in pairs]))
    lines.append(seeds.row("mean", seeds.first.macro, [list(row.values()) for row in pairs]))
    return "\n".join(lines)


def operators_table(seeds: Seeds) -> str:
    """Return differences between operators, each at the setting that the selection items chose for it."""
    lines = seeds.head("operators, each at its selected setting, on the 18 tasks")
    columns = [
        {name: dict(row.by_operator) for name, row in results.combinations.items()}
        for results in seeds.results
    ]
    for column, by_combination in zip(columns, seeds.scales, strict=True):
        for name, row in column.items():  # a merge with one expert has one λ anyway
            row[ONE_SCALE] = by_combination[name].one if name in by_combination else row[TASK_ARITHMETIC]
    pairs = list(combinations(next(iter(columns[0].values())), 2))
    for one, other in [pair for pair in pairs if set(pair) != {TASK_ARITHMETIC, ONE_SCALE}]:
        by_seed = [[(row[one], row[other]) for row in column.values()] for column in columns]
        lines.append(seeds.row(f"{one} minus {other}", seeds.first.macro, by_seed))
    return "\n".join(lines)


def retention_table(seeds: Seeds) -> str:
    """Return the retention of experts and of the selected merges, minus that of the base."""
    tasks = seeds.first.of_kind("retention")
    lines = seeds.head("retention minus that of the base")
    for name in seeds.experts:
        pairs = [[(name, "base")]] * len(seeds.results)
        lines.append(seeds.row(name, tasks, pairs))
        lines += [seeds.row(f"{name}, {task}", [task], pairs) for task in tasks]
    chosen = [[row.selected for row in results.combinations.values()] for results in seeds.results]
    for k, name in enumerate(seeds.first.combinations):
        lines.append(seeds.row(merge_name(name), tasks, [[(names[k], "base")] for names in chosen]))
    of_all = [[(name, "base") for name in names] for names in chosen]
    return "\n".join([*lines, seeds.row("mean of the merges", tasks, of_all)])


def skills_table(seeds: Seeds) -> str:
    """Return merges minus each of their experts, on the tasks that need that expert's skills alone."""
    lines = [f"| minus the expert of the skill, mean of the seeds | {' | '.join(seeds.experts)} |"]
    lines.append(f"|---|{'---|' * len(seeds.experts)}")
    merges: dict[str, list[str]] = {"": ["base"] * len(seeds.results)}  # by combination, the models by seed
    for name in seeds.first.combinations:
        merges[name] = seeds.selected(name)
    for name in seeds.full_strength(0):
        merges[f"{name}, all λ at 1"] = seeds.full_strengths(name)
    for label, names in merges.items():
        cells = (
            seeds.mean(seeds.needing([e]), [[(name, e)] for name in names]) if e in label or not label else ""
            for e in seeds.experts
        )
        lines.append(f"| {merge_name(label) if label else 'base'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def effects_table(seeds: Seeds) -> str:
    """Return selected merges minus the base and each of their experts, on the tasks that tests are about.

    No best constituent is chosen on the reported items.
    """
    others = ["base", *seeds.experts]
    lines = [f"| mean of the seeds, on the named tasks, minus | {' | '.join(others)} |"]
    lines.append(f"|---|{'---|' * len(others)}")
    rows = [(name, merge_name(name), seeds.selected(name)) for name in seeds.first.combinations]
    rows += [(n, merge_name(f"{n}, all λ at 1"), seeds.full_strengths(n)) for n in seeds.full_strength(0)]
    for name, label, merges in rows:
        tasks = seeds.first.effects(name).sets["named"].tasks
        cells = (
            seeds.mean(tasks, [[(merge, other)] for merge in merges])
            if other in ("base", *name.split("+"))
            else ""
            for other in others
        )
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def union_table(seeds: Seeds) -> str:
    """Return experts and selected merges minus the base, on the tasks that need all of a merge's skills."""
    lines = seeds.head("minus the base, on the tasks that need all skills of the merge")
    for name in seeds.first.combinations:
        experts = name.split("+")
        tasks = seeds.needing(experts)
        if len(experts) > 1 and tasks:
            group = f"{spaced(name)}, {len(tasks)} task{'s' * (len(tasks) > 1)}"
            for e in experts:
                lines.append(seeds.row(f"{group}: {e}", tasks, [[(e, "base")]] * len(seeds.results)))
            of_merges = {"merge": seeds.selected(name)}
            if name in seeds.full_strength(0):
                of_merges["merge, all λ at 1"] = seeds.full_strengths(name)
            for label, merges in of_merges.items():
                lines.append(seeds.row(f"{group}: {label}", tasks, [[(merge, "base")] for merge in merges]))
    return "\n".join(lines)


def merge_name(combination: str) -> str:
    """Return a combination as tables name its merge."""
    return ("" if "+" in combination else "base + ") + spaced(combination)


def spaced(combination: str) -> str:
    """Return a combination as tables name it."""
    return combination.replace("+", " + ")


def joint_spearman(x: Sequence[Sequence[float]], y: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return the mean over seeds of Spearman's ρ, and its exact two-sided p; nan if a seed has no ρ.

    The outcomes of the combinations are exchanged in every order, in the same one for all seeds: a
    combination is the unit, however many seeds it was trained with.

    Args:
        x, y: By seed, one value per combination, in the same sequence of combinations.
    """
    first = np.stack([standardized_ranks(row) for row in x])
    second = np.stack([standardized_ranks(row) for row in y])
    if np.isnan(first).any() or np.isnan(second).any():
        return float("nan"), float("nan")
    orders = np.array(list(permutations(range(first.shape[1]))))
    values = np.einsum("sk,sok->o", first, second[:, orders]) / len(first)
    observed = float((first * second).sum(1).mean())
    return observed, float((np.abs(values) >= abs(observed) - ROUNDING).mean())
