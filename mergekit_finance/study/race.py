"""The race of a combination's settings: which take part in a round, and which one wins, from stored scores.

Settings race by the macro average, or by the study's objective. One that surely does not keep a bound of the
objective comes after all others: its difference, with its 95 % interval on the items of the round, is below
the bound. Whether the winner keeps the bounds is decided at the end, on all selection items.

A setting is one cell of an operator's grid; the settings of all operators race together. A round asks every
setting that is left for the answers to the round's items, drops the worst, and so on until one is left; that
one is evaluated in full. Every process computes the same from the stored scores, at any time and in any
order, so a race goes on where it was interrupted. See `statistics.successive_rejects` for the rounds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from mergekit_finance.operators import operator_rank, value_order
from mergekit_finance.statistics.contrasts import added
from mergekit_finance.statistics.influence import contributions, half_width_without_difference, standard_error
from mergekit_finance.statistics.scores import TaskScores, aligned, task_scores
from mergekit_finance.statistics.successive_rejects import Round, answers, rounds, survivors
from mergekit_finance.statistics.totals import named_aggregation
from mergekit_finance.study.config import Study
from mergekit_finance.study.objective_tasks import objective_weights, raced_tasks, tasks_named
from mergekit_finance.study.points import Point, stored_values
from mergekit_finance.study.schema import Columns, Dropped, RaceResult, RaceRound, TaskInfo
from mergekit_finance.study.subsets import ItemOrder, Items

NORMAL_95 = 1.96  # standard errors to each side of a 95 % interval
Setting = tuple[Point, ...]  # the points of a cell, which differ in their mask seeds alone
Table = Mapping[str, Columns]  # by task


@dataclass(frozen=True)
class RacedBound:
    """A bound of the objective.

    Attributes:
        name: in study.yml.
        least: the least difference of the mean score over its tasks, as a share.
        against: the reference of the model that it compares with.
        tasks: its tasks.
    """

    name: str
    least: float
    against: str
    tasks: Mapping[str, TaskInfo]


@dataclass(frozen=True)
class Race:
    """The race of one combination.

    Attributes:
        combination: the names of the experts, joined by `+`.
        settings: in the order in which ties are decided: the simpler operator, then the smaller values.
        rounds: their numbers of settings and items.
        items: the items of each round; each contains those of the round before.
        all_items: the number of selection items.
        tasks: the tasks that settings answer.
        weights: of the tasks in the macro average, or in the objective.
        bounds: of the objective.
    """

    combination: str
    settings: tuple[Setting, ...]
    rounds: tuple[Round, ...]
    items: tuple[Items, ...]
    all_items: int
    tasks: Mapping[str, TaskInfo]
    weights: Mapping[str, float]
    bounds: tuple[RacedBound, ...] = ()

    @property
    def costs(self) -> list[int]:
        """The number of points of each setting, in the order of `settings`."""
        return [len(setting) for setting in self.settings]

    @property
    def points(self) -> list[Point]:
        """All points of the grid."""
        return [point for setting in self.settings for point in setting]

    @property
    def evaluations(self) -> int:
        """The largest number of evaluations: one per point of each round, and the winner's."""
        costs = sorted(self.costs, reverse=True)
        return sum(sum(costs[: one.settings]) for one in self.rounds) + 1

    @property
    def most_answers(self) -> int:
        """The largest number of answers on selection items, the winner's included."""
        return answers(self.rounds, self.costs, self.all_items)


def races(
    plans: Sequence[Point], order: ItemOrder, study: Study, tasks: Mapping[str, TaskInfo]
) -> list[Race]:
    """Return the races of a stage or a study, one per combination.

    Args:
        plans: all points of the grids.
        order: the order of the selection items.
        study: its search has the budget, and its `select` what settings race by.
        tasks: all tasks of the study.
    """
    by_combination: dict[str, dict[str, list[Point]]] = {}
    for point in plans:
        cells = by_combination.setdefault("+".join(point.combination), {})
        cells.setdefault(repr((point.operator, point.cell)), []).append(point)
    return [_race(name, list(cells.values()), order, study, tasks) for name, cells in by_combination.items()]


def _race(
    combination: str,
    cells: list[list[Point]],
    order: ItemOrder,
    study: Study,
    tasks: Mapping[str, TaskInfo],
) -> Race:
    def rank(cell: Sequence[Point]) -> tuple[tuple[int, str], list[tuple[int, float, str]]]:
        return operator_rank(cell[0].operator), [value_order(value) for _, value in cell[0].cell]

    cells.sort(key=rank)
    settings = tuple(tuple(cell) for cell in cells)
    assert study.race is not None
    planned = rounds([len(cell) for cell in cells], order.count, order.least, study.race.share)
    items = tuple(order.first(one.items) for one in planned)
    exact = tuple(
        Round(one.settings, of_round.count, one.kept) for one, of_round in zip(planned, items, strict=True)
    )
    raced, weights = raced_tasks(study, tasks), objective_weights(study.select, tasks)
    return Race(combination, settings, exact, items, order.count, raced, weights, _bounds(study, raced))


def _bounds(study: Study, tasks: Mapping[str, TaskInfo]) -> tuple[RacedBound, ...]:
    references = {"base": study.base} | {name: expert.model for name, expert in study.experts.items()}
    return tuple(
        RacedBound(name, bound.points / 100, references[bound.against], tasks_named(name, tasks))
        for name, bound in (study.select.subject_to if study.select else {}).items()
    )


class StoredScores(Protocol):
    """Reads the scores of points on the items of a round."""

    def without_scores(self, points: Sequence[Point], items: Items) -> Sequence[Point]:
        """Return the points whose scores are not stored."""

    def scores(self, point: Point, items: Items) -> Table:
        """Return the stored scores of a point."""

    def model_scores(self, reference: str) -> Table | None:
        """Return the stored scores of a model on all items; None if they are not stored."""


@dataclass(frozen=True)
class Standing:
    """How far a race has come.

    Attributes:
        finished: the rounds that are finished.
        waiting: the points whose scores on `items` are missing in the present round.
        items: the items of the present round; None at the end.
        models: references of models whose scores are missing, with which bounds compare.
        winner: the setting that is left at the end; None before.
    """

    finished: tuple[RaceRound, ...]
    waiting: tuple[Point, ...] = ()
    items: Items | None = None
    models: tuple[str, ...] = ()
    winner: Setting | None = None


class Referee:
    """Follows one race; finished rounds are computed once.

    Args:
        race: the race.
        stored: reads scores.
    """

    def __init__(self, race: Race, stored: StoredScores) -> None:
        self._race, self._stored = race, stored
        self._left = list(range(len(race.settings)))
        self._finished: list[RaceRound] = []

    def standing(self) -> Standing:
        """Return how far the race has come by now."""
        race = self._race
        for number in range(len(self._finished), len(race.rounds)):
            items = race.items[number]
            points = [point for k in self._left for point in race.settings[k]]
            if waiting := self._stored.without_scores(points, items):
                return Standing(tuple(self._finished), tuple(waiting), items)
            models = {bound.against: self._stored.model_scores(bound.against) for bound in race.bounds}
            if missing := [model for model, table in models.items() if table is None]:
                return Standing(tuple(self._finished), models=tuple(missing))
            tables = {point.name: self._stored.scores(point, items) for point in points}
            of_models = {model: table for model, table in models.items() if table is not None}
            self._finish(_Scores(race, tables, of_models), race.rounds[number])
        return Standing(tuple(self._finished), winner=race.settings[self._left[0]])

    def _finish(self, scores: "_Scores", planned: Round) -> None:
        """Note the result of a round."""
        settings = [self._race.settings[k] for k in self._left]
        ranks = [scores.rank(setting) for setting in settings]
        kept = survivors(ranks, planned.kept)
        best = settings[survivors(ranks, 1)[0]]
        dropped = [scores.dropped(setting, best) for k, setting in enumerate(settings) if k not in kept]
        asked = sum(map(len, settings))
        self._finished.append(
            RaceRound(items=planned.items, settings=len(settings), points=asked, dropped=dropped)
        )
        self._left = [self._left[k] for k in kept]


class _Scores:
    """The scores of the settings of one round, all on the same items.

    Args:
        race: has the tasks.
        tables: the scores of every point.
        models: the scores of the models that bounds compare with, on all items.
    """

    def __init__(self, race: Race, tables: Mapping[str, Table], models: Mapping[str, Table]) -> None:
        self._race, self._tables, self._models = race, tables, models

    @cached_property
    def _tasks(self) -> list[TaskScores]:
        """The tasks of the objective, with their weights in it."""
        return self._aligned(self._race.weights)

    @cached_property
    def _of_bounds(self) -> list[tuple[RacedBound, list[TaskScores]]]:
        """The tasks of each bound."""
        weights = [{name: info.weight for name, info in bound.tasks.items()} for bound in self._race.bounds]
        return [
            (bound, self._aligned(of_bound, bound.against))
            for bound, of_bound in zip(self._race.bounds, weights, strict=True)
        ]

    def _aligned(self, weights: Mapping[str, float], model: str | None = None) -> list[TaskScores]:
        """Return the scores of all points, and of a model, on some tasks."""
        scores = {name: self._task(name, weight, model) for name, weight in weights.items()}
        return list(aligned(scores).values())

    def _task(self, name: str, weight: float, model: str | None) -> TaskScores:
        info, first = self._race.tasks[name], next(iter(self._tables.values()))[name]
        scores = {point: table[name].score for point, table in self._tables.items()}
        if model is not None:
            columns = self._models[model][name]
            by_item = dict(zip(columns.items, columns.score, strict=True))
            scores[model] = [by_item[item] for item in first.items]
        return task_scores(
            name,
            [f"{info.dataset}/{cluster}" for cluster in first.clusters],
            scores,
            named_aggregation(info.aggregation),
            weight=weight,
            lower_is_better=info.lower_is_better,
        )

    def rank(self, setting: Setting) -> tuple[float, float]:
        """Return by how much a setting surely misses the bounds, 0 or less, and its macro average."""
        return sum(self._misses(setting).values()), self.macro(setting)

    def _misses(self, setting: Setting) -> dict[str, float]:
        """Return by bound that a setting surely does not keep, how far its difference is below it."""
        pairs = [(point.name, 1 / len(setting)) for point in setting]
        missed = {}
        for bound, tasks in self._of_bounds:
            parts = contributions(tasks, added([*pairs, (bound.against, -1.0)]))
            difference = sum(float(part.sum()) for part in parts)
            if difference + _half_width(tasks, parts) < bound.least:
                missed[bound.name] = round(difference - bound.least, 9)
        return missed

    def macro(self, setting: Setting) -> float:
        """Return a setting's macro average, or its objective: the mean over its mask seeds."""
        weights = [task.weight for task in self._tasks]
        of_points = [
            np.average([task.score(point.name) for task in self._tasks], weights=weights) for point in setting
        ]
        return float(np.mean(of_points))

    def dropped(self, setting: Setting, best: Setting) -> Dropped:
        """Return by how much a setting is below the best of the round, paired by items.

        The standard error is over clusters; None where some tasks have one cluster only.
        """
        pairs = [(point.name, 1 / len(setting)) for point in setting]
        pairs += [(point.name, -1 / len(best)) for point in best]
        error = None
        if all(task.count > 1 for task in self._tasks):
            error = round(standard_error(contributions(self._tasks, added(pairs))), 6)
        return Dropped(
            point=setting[0].name,
            operator=setting[0].operator,
            values=stored_values(dict(setting[0].cell)),
            difference=round(self.macro(setting) - self.macro(best), 6) + 0.0,
            standard_error=error,
            misses=sorted(self._misses(setting)) or None,
        )


def _half_width(tasks: Sequence[TaskScores], parts: "Sequence[np.ndarray]") -> float:
    """Return half the width of the 95 % interval of a difference with these contributions of clusters.

    With one cluster it is infinite.
    """
    if any(task.count < 2 for task in tasks):
        return math.inf
    error = standard_error(parts)
    return NORMAL_95 * error if error > 0 else half_width_without_difference(tasks)


def race_result(race: Race, standing: Standing) -> RaceResult:
    """Return what is stored and reported of a finished race."""
    assert standing.winner is not None
    asked, before = 0, 0
    for one in standing.finished:
        asked += (one.items - before) * one.points
        before = one.items
    return RaceResult(
        settings=len(race.settings),
        points=len(race.points),
        items=race.all_items,
        winner=standing.winner[0].name,
        rounds=list(standing.finished),
        answers=asked + race.all_items - before,
        grid_answers=len(race.points) * race.all_items,
    )
