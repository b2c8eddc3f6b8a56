"""TaskScores, the paired cluster bootstrap and the intervals made of it."""

import numpy as np
import pytest
from scipy import stats

from mergekit_finance.errors import DataError
from mergekit_finance.statistics import contrasts, intervals
from mergekit_finance.statistics.bootstrap import bootstrap, seed_of_name, weights
from mergekit_finance.statistics.influence import contributions, count_clusters, standard_error
from mergekit_finance.statistics.scores import aligned, task_scores


def make(name="t", items=60, clusters=20, models=("m", "p", "q"), seed=0, prefix="c"):
    rng = np.random.default_rng(seed)
    ids = [f"{prefix}{k % clusters}" for k in range(items)]
    scores = {model: rng.integers(2, size=items).astype(float).tolist() for model in models}
    return task_scores(name, ids, scores, "mean", scores)


def test_task_scores_number_clusters_by_name():
    task = task_scores("t", ["b", "a", "b", 7], {"m": [1, 0, 1, 1]}, "mean", {"m": [1.0, 0.0, 1.0, 1.0]})
    assert task.names == ("7", "a", "b")
    assert task.clusters.tolist() == [2, 1, 2, 0]
    assert (task.count, task.score("m")) == (3, 0.75)
    assert task.sums("m").tolist() == [[1, 1], [0, 1], [2, 2]]
    assert task.correct["m"].tolist() == [True, False, True, True]


def test_models_with_different_numbers_of_rows_are_refused():
    with pytest.raises(
        DataError, match="model 'q' has 1 items but 2 cluster ids. Compare models on the same rows only."
    ):
        task_scores("t", ["a", "b"], {"m": [1, 0], "q": [1]}, "mean")


def test_taking_rows_is_building_from_those_rows():
    task, rows = make(), np.arange(60) % 20 < 6
    small = task.take(rows)
    direct = task_scores(
        "t", [f"c{k % 20}" for k in np.flatnonzero(rows)], {"m": task.statistics["m"][rows, 0]}, "mean"
    )
    assert (small.names, small.stratum, small.count) == (direct.names, direct.stratum, 6)
    assert small.score("m") == direct.score("m")
    assert small.correct["m"].sum() == task.correct["m"][rows].sum()


def test_tasks_with_the_same_clusters_share_draws_in_any_order_of_rows():
    direct = task_scores("direct", ["a", "b", "c", "d"], {"m": [1, 0, 0, 1]}, "mean")
    twin = task_scores("cot", ["d", "c", "b", "a"], {"m": [1, 0, 0, 1]}, "mean")
    other = task_scores("other", ["a", "b", "c", "e"], {"m": [1, 0, 0, 1]}, "mean")
    replicates = bootstrap([direct, twin, other], draws=50)
    assert replicates.strata["direct"] == replicates.strata["cot"] != replicates.strata["other"]
    assert np.array_equal(replicates.scores["direct"]["m"], replicates.scores["cot"]["m"])
    assert not np.array_equal(replicates.scores["direct"]["m"], replicates.scores["other"]["m"])


def test_draws_do_not_depend_on_other_tasks_and_models():
    alone = bootstrap([make(models=("m",))], draws=64, seed=3)
    more = bootstrap([make("u", prefix="x", seed=1), make(models=("m", "p", "q"))], draws=64, seed=3)
    reseeded = bootstrap([make(models=("m",))], draws=64, seed=4)
    assert np.array_equal(alone.scores["t"]["m"], more.scores["t"]["m"])
    assert not np.array_equal(alone.scores["t"]["m"], reseeded.scores["t"]["m"])
    chosen = bootstrap([make()], draws=64, seed=3, models=["q"])
    assert list(chosen.scores["t"]) == ["q"]


def test_replicates_are_the_aggregation_of_drawn_clusters():
    """Against the plain loop: gather the items of each drawn cluster and aggregate."""
    from mergekit_finance.scoring.aggregate import weighted_f1

    rng = np.random.default_rng(5)
    ids = rng.integers(12, size=40)
    values = {m: [tuple(pair) for pair in rng.integers(3, size=(40, 2)).tolist()] for m in "mp"}
    task = task_scores("t", ids, values, "weighted_f1")
    replicates = bootstrap([task], draws=20, seed=1)
    drawn = np.concatenate(list(weights(task.stratum, task.count, 20, 1))).astype(int)
    for b, row in enumerate(drawn):
        for m in "mp":
            items = [v for v, c in zip(values[m], task.clusters, strict=True) for _ in range(row[c])]
            assert replicates.scores["t"][m][b] == pytest.approx(weighted_f1(items), abs=1e-12)


def test_weights_are_blocked_and_stable(monkeypatch):
    (whole,) = weights("s", 30, 100, 0)
    assert whole.shape == (100, 30) and (whole.sum(1) == 30).all()
    assert seed_of_name("s") == 0x043A718774C572BD8A25ADBEB1BFCD5C  # sha256sum's own
    monkeypatch.setattr("mergekit_finance.statistics.bootstrap.BLOCK", 600)
    assert [len(block) for block in weights("s", 30, 50, 0)] == [20, 20, 10]
    blocked = bootstrap([make(models=[f"m{k}" for k in range(5)])], draws=50)
    assert all(0 < scores.std() < 1 for scores in blocked.scores["t"].values())


def test_bootstrap_variance_is_that_of_the_clustered_mean():
    task = make(items=300, clusters=100)
    parts = task.sums("m")[:, 0] / 3
    replicates = bootstrap([task], draws=20_000)
    assert replicates.scores["t"]["m"].std() == pytest.approx(parts.std() / 10, rel=0.03)


def test_tail_area_against_the_t_distribution():
    assert intervals.tail_area(0.95, 1e9) == pytest.approx(0.025, abs=1e-6)
    wider = stats.norm.cdf(np.sqrt(100 / 99) * stats.t.ppf(0.025, 99))
    assert intervals.tail_area(0.95, 99) == pytest.approx(wider)
    assert np.isnan(intervals.tail_area(0.95, 0))


def test_freedom_of_equal_strata_adds_up():
    parts = np.random.default_rng(0).standard_normal((3, 4000))
    assert intervals.freedom(parts, [11, 11, 11]) == pytest.approx(30, rel=0.05)
    assert intervals.freedom(parts * [[1], [0], [0]], [11, 50, 50]) == pytest.approx(10)
    assert intervals.freedom(np.zeros((2, 5)), [4, 9]) == 3


def test_interval_of_a_mean_is_near_that_of_t():
    rng = np.random.default_rng(2)
    values = rng.random(120)
    replicates = bootstrap([task_scores("t", range(120), {"m": values}, "mean")], draws=20_000)
    low, high = stats.t.interval(0.95, 119, values.mean(), stats.sem(values))
    estimate = contrasts.score(replicates, ["t"], "m")
    assert estimate.value == pytest.approx(values.mean())
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=0.02 * (high - low))


def test_only_tasks_with_other_clusters_narrow_the_interval_of_a_macro():
    rng = np.random.default_rng(2)
    answers = {"m": rng.integers(2, size=200), "p": rng.integers(2, size=200)}
    one, twin = (task_scores(name, range(200), answers, "mean") for name in ("one", "twin"))
    other = task_scores("other", range(1000, 1200), answers, "mean")
    replicates = bootstrap([one, twin, other], draws=4000)
    alone, twins, apart = (
        contrasts.difference(replicates, names, "m", "p")
        for names in (["one"], ["one", "twin"], ["one", "other"])
    )
    assert twins == pytest.approx(alone)
    assert (apart.high - apart.low) / (alone.high - alone.low) == pytest.approx(2**-0.5, rel=0.05)


def test_one_cluster_has_no_interval():
    replicates = bootstrap([task_scores("t", ["a", "a"], {"m": [1, 0], "p": [0, 0]}, "mean")], draws=10)
    estimate = contrasts.difference(replicates, ["t"], "m", "p")
    assert estimate.value == 0.5 and np.isnan([estimate.low, estimate.high]).all()


def test_the_difference_of_a_model_from_itself_is_zero():
    replicates = bootstrap([make()], draws=30)
    assert tuple(contrasts.difference(replicates, ["t"], "m", "m")) == (0, 0, 0)
    assert contrasts.gain_weights("m", ["p", "q", "q"]) == pytest.approx({"m": 1, "p": -1 / 3, "q": -2 / 3})


def test_tasks_that_share_some_clusters_are_drawn_together():
    """a has reports 0 to 79, b 40 to 119, c its own; a and b agree about the 40 they share."""
    rng = np.random.default_rng(2)
    hard = rng.random(120) < 0.5

    def over(name, numbers, right):
        return task_scores(
            name, [f"r{k:03}" for k in numbers], {"m": right.tolist(), "p": [0] * len(right)}, "mean"
        )

    apart = {
        "a": over("a", range(80), hard[:80]),
        "b": over("b", range(40, 120), hard[40:]),
        "c": over("c", range(900, 980), rng.random(80) < 0.5),
    }
    together = aligned(apart)
    assert together["a"].stratum == together["b"].stratum != together["c"].stratum
    assert together["c"] is apart["c"] and len(together["a"].names) == 120
    assert [together[t].count for t in "abc"] == [80, 80, 80] and count_clusters(
        [together["a"], together["b"]]
    ) == 120
    for name, task in together.items():
        assert task.score("m") == apart[name].score("m")
        assert np.delete(task.pseudo_values("m"), ~task.present) == pytest.approx(
            apart[name].pseudo_values("m")
        )
        assert standard_error(contributions([task], {"m": 1})) == pytest.approx(
            standard_error(contributions([apart[name]], {"m": 1}))
        )
    replicates, other = (bootstrap(list(t.values()), draws=4000) for t in (together, apart))
    assert np.corrcoef(replicates.scores["a"]["m"], replicates.scores["b"]["m"])[0, 1] == pytest.approx(
        0.5, abs=0.06
    )
    assert abs(np.corrcoef(other.scores["a"]["m"], other.scores["b"]["m"])[0, 1]) < 0.06
    for name in "ab":  # alone a task has the interval that it had
        one, two = (contrasts.score(f, [name], "m") for f in (replicates, other))
        assert (one.low, one.high) == pytest.approx((two.low, two.high), abs=0.015)
    joint, split = (contrasts.score(f, ["a", "b"], "m") for f in (replicates, other))
    assert joint.high - joint.low > 1.15 * (split.high - split.low)


def test_tasks_that_share_clusters_through_a_third_are_drawn_together():
    """a and c share nothing, but each something with b."""
    tasks = {
        name: task_scores(name, ids, {"m": [1, 0]}, "mean")
        for name, ids in {"a": ["1", "2"], "c": ["3", "4"], "b": ["2", "3"]}.items()
    }
    assert len({task.stratum for task in aligned(tasks).values()}) == 1
