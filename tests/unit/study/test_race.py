"""A race from stored scores: rounds by hand, processes that see different moments, mask seeds, ties."""

import numpy as np
import pytest
from helpers import study as helpers

from mergekit_finance.study import config
from mergekit_finance.study.points import points
from mergekit_finance.study.race import Referee, race_result, races
from mergekit_finance.study.schema import Columns, TaskInfo
from mergekit_finance.study.subsets import item_order

GRID = {"task_arithmetic": {"lambda": [0.2, 0.4, 0.6, 0.8]}}
NAMES = [f"stage1-finance-ta-lambda{value}" for value in (0.2, 0.4, 0.6, 0.8)]
TASK = TaskInfo(kind="tasks", dataset="d", aggregation="mean")


class Stored:
    """Scores of all items, of which only those of some points are there."""

    def __init__(self, right, missing=(), models=None):
        self.right, self.missing, self.read, self.models = right, set(missing), [], models or {}

    def without_scores(self, points, items):
        return [point for point in points if point.name in self.missing]

    def scores(self, point, items):
        self.read.append((point.name, items.count))
        right = self.right[point.name]
        return {
            task: self._columns(task, right[task] if isinstance(right, dict) else right, rows)
            for task, rows in items.positions.items()
        }

    def model_scores(self, reference):
        right = self.models.get(reference)
        return right and {
            task: self._columns(task, of_task, range(len(of_task))) for task, of_task in right.items()
        }

    def _columns(self, task, right, rows):
        ids = [f"{task} {k}" for k in rows]
        values = [float(right[k]) for k in rows]
        return Columns(items=ids, clusters=ids, score=values, correct=values, options=[0] * len(ids))


def race_of(items, budget, operators=GRID, tasks=("t",), kinds=None, **changes):
    content = helpers.content(".", ("finance",), stages=[1], operators=operators, **changes)
    study = config.parse_study(content | {"search": {"method": "successive_rejects", "budget": budget}}, "")
    infos = {task: TASK.model_copy(update=(kinds or {}).get(task, {})) for task in tasks}
    clusters = {task: {f"{task}/{k}": [k] for k in range(items)} for task in tasks}
    (race,) = races(points(study, 1), item_order(clusters, seed=0), study, infos)
    return race


def rows(race, number, task="t"):
    return list(race.items[number].positions[task])


def test_the_rounds_of_a_race_by_hand():
    """4 settings, 20 items, half of 80 answers: 4 * 6 + 2 * 6, and 8 more of the winner, are 44: too many. With
    5 and 10 items: 4 * 5 + 2 * 5 + 10 = 40."""
    race = race_of(20, 0.5)
    assert [one.items for one in race.rounds] == [5, 10] and race.most_answers == 40
    first, second = rows(race, 0), rows(race, 1)
    assert set(first) < set(second)
    right = {name: np.zeros(20) for name in NAMES}
    right[NAMES[0]][first[:1]] = 1  # 1 of 5: dropped
    right[NAMES[1]][first[:3]] = 1  # 3 of 5, then 3 of 10: loses the last round
    right[NAMES[2]][second] = [k in first[1:3] or k not in first for k in second]  # 2 of 5, then 7 of 10
    standing = Referee(race, Stored(right)).standing()
    assert standing.winner[0].name == NAMES[2]
    assert [[d.point for d in one.dropped] for one in standing.finished] == [[NAMES[0], NAMES[3]], [NAMES[1]]]
    assert [[d.difference for d in one.dropped] for one in standing.finished] == [[-0.4, -0.6], [-0.4]]
    # Round 1, first of the dropped: item by item 0, -1, -1, 0, 0; the standard error of their mean, by hand.
    assert standing.finished[0].dropped[0].standard_error == pytest.approx((1.2 / 4 / 5) ** 0.5, abs=1e-6)
    stored = race_result(race, standing)
    assert (stored.answers, stored.grid_answers, stored.settings, stored.items) == (40, 80, 4, 20)


def test_a_race_waits_for_its_round_only_and_finished_rounds_are_not_read_again():
    race = race_of(20, 0.5)
    stored = Stored({name: np.full(20, k) for k, name in enumerate(NAMES)}, missing=NAMES[1:2])
    referee = Referee(race, stored)
    assert [p.name for p in referee.standing().waiting] == [NAMES[1]] and stored.read == []
    stored.missing = {NAMES[3]}
    first = referee.standing()
    assert [p.name for p in first.waiting] == [NAMES[3]] and first.winner is None
    stored.missing = set()
    assert referee.standing().winner[0].name == NAMES[3]
    assert [name for name, _ in stored.read] == [*NAMES, *NAMES[2:]]
    assert referee.standing() == Referee(race, stored).standing()


def test_equal_settings_are_decided_as_the_grid_decides_them():
    operators = {"ties": {"density": [0.2, 0.5]}, "task_arithmetic": {"lambda": [0.4, 0.2]}}
    race = race_of(20, 0.5, operators)
    right = {point.name: np.ones(20) for point in race.points}
    assert Referee(race, Stored(right)).standing().winner[0].name == NAMES[0]


def test_the_evaluations_of_a_race_are_those_of_its_longest_course():
    """Three settings in the first round, of which the two with most seeds may stay."""
    operators = {
        "task_arithmetic": {"lambda": [0.2, 0.4]},
        "dare_ties": {"density": [0.5], "seeds": [0, 1, 2]},
    }
    race = race_of(20, 0.9, operators)
    assert sorted(race.costs) == [1, 1, 3] and [one.settings for one in race.rounds] == [3, 2]
    assert race.evaluations == (3 + 1 + 1) + (3 + 1) + 1


def test_a_setting_is_the_mean_over_its_mask_seeds():
    race = race_of(20, 0.9, {"dare_ties": {"density": [0.2, 0.5], "seeds": [0, 1]}})
    assert race.costs == [2, 2] and race.evaluations == 5
    right = dict(
        zip([p.name for p in race.points], map(np.full, [20] * 4, [1.0, 0.0, 0.6, 0.6]), strict=True)
    )
    standing = Referee(race, Stored(right)).standing()
    assert [p.values["seed"] for p in standing.winner] == [0, 1] and standing.winner[0].values[
        "density"
    ] == 0.5
    assert standing.finished[0].dropped[0].difference == pytest.approx(-0.1)


def test_tasks_count_by_their_weight_and_only_those_of_the_macro_average():
    kinds = {"u": {"weight": 3.0}, "r": {"kind": "retention"}}
    race = race_of(8, 1, {"task_arithmetic": {"lambda": [0.2, 0.4]}}, ("t", "u", "r"), kinds)
    assert sorted(race.tasks) == ["t", "u"]


def test_a_combination_with_one_setting_has_no_race():
    race = race_of(20, 0.25, {"task_arithmetic": {"lambda": 0.5}})
    standing = Referee(race, Stored({})).standing()
    assert standing.winner == race.settings[0] and race_result(race, standing).answers == 20


def test_a_method_without_parameters_can_be_dropped():
    race = race_of(20, 0.9, operators={"task_arithmetic": {"lambda": 0.5}, "linear": {}})
    names = [point.name for point in race.points]
    right = {name: np.full(20, float(name != "stage1-finance-linear")) for name in names}
    (dropped,) = Referee(race, Stored(right)).standing().finished[0].dropped
    assert (dropped.operator, dropped.values, dropped.difference) == ("linear", {}, -1.0)


# ---- the study's own objective

OBJECTIVE = {"maximize": {"t": 1, "u": 3}, "subject_to": {"retention": {"points": -2.0}}}
KINDS = {
    "t": {"selected_by": ["t"]},
    "u": {"selected_by": ["u"], "kind": "probes"},
    "r": {"kind": "retention"},
    "other": {},
}


def race_by_objective(items=200, budget=0.9, **select):
    """Four settings; the tasks `t` and `u` are in the objective, `r` in the bound, `other` in neither."""
    race = race_of(items, budget, GRID, tuple(KINDS), KINDS, select={**OBJECTIVE, **select})
    right = {name: {task: np.zeros(items) for task in KINDS} for name in NAMES}
    return race, right


def base(items=200, share=1.0):
    return {"./base": {task: (np.arange(items) < share * items).astype(float) for task in KINDS}}


def test_settings_race_by_the_weights_of_the_objective_on_its_tasks_and_those_of_its_bounds():
    race, right = race_by_objective(subject_to={})
    assert sorted(race.tasks) == ["t", "u"] and race.weights == {"t": 0.25, "u": 0.75}
    right[NAMES[0]]["t"][:] = 1  # 0.25
    right[NAMES[1]]["u"][::2] = 1  # about 0.375
    right[NAMES[2]]["other"][:] = 1
    standing = Referee(race, Stored(right)).standing()
    assert standing.winner[0].name == NAMES[1]
    last = standing.finished[-1].dropped[0]
    assert last.point == NAMES[0] and last.difference == pytest.approx(-0.125, abs=0.05) and not last.misses
    assert sorted(race_by_objective()[0].tasks) == ["r", "t", "u"]


def test_a_setting_that_surely_misses_a_bound_comes_after_all_that_may_keep_it():
    race, right = race_by_objective()
    for rank, name in enumerate(NAMES):
        right[name]["u"][: 20 * (rank + 1)] = 1  # the largest lambda has the best objective
        right[name]["r"][:] = 1
    right[NAMES[3]]["r"][::2] = 0  # loses half of what the base can do
    right[NAMES[2]]["r"][::100] = 0  # 1 point below the base: may keep the bound
    standing = Referee(race, Stored(right, models=base())).standing()
    assert standing.winner[0].name == NAMES[2]
    (dropped,) = [one for of in standing.finished for one in of.dropped if one.point == NAMES[3]]
    assert dropped.misses == ["retention"] and dropped.difference > 0


def test_a_race_with_bounds_waits_for_the_model_that_they_compare_with():
    race, right = race_by_objective()
    first = Referee(race, Stored(right)).standing()
    assert (first.models, first.waiting, first.winner) == (("./base",), (), None)
    assert Referee(race, Stored(right, models=base(share=0.0))).standing().winner[0].name == NAMES[0]


def test_of_settings_that_all_miss_a_bound_the_one_that_misses_it_least_wins():
    race, right = race_by_objective()
    right[NAMES[0]]["u"][:] = 1
    right[NAMES[1]]["r"][::2] = 1
    assert Referee(race, Stored(right, models=base())).standing().winner[0].name == NAMES[1]
