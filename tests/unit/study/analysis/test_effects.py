"""From arrays to the numbers of summary.json: each is computed by hand here too."""

import numpy as np
import pytest
from helpers import study as helpers
from helpers.synthetic import MODELS, PAIR, POINTS, RETENTION, SAME, build, noisy, shares
from scipy.stats import binomtest

from mergekit_finance.statistics.bootstrap import bootstrap
from mergekit_finance.study.analysis import effects
from mergekit_finance.study.analysis.summary import summary
from mergekit_finance.study.store import write_study_file


def test_gain_and_og_equal_those_computed_by_hand(tmp_path):
    tables = {"t": shares(200, base=40, finance=100, math=60, s1f=80, s1m=20, pair=120)}
    answer = summary(build(tmp_path, tables, selection=SAME).folder)
    assert answer.points[PAIR].gain_and_og["t"] == pytest.approx((0.6 - 0.4, 0.6 - 0.5))
    # in stage 1 the base is a constituent
    assert answer.points[POINTS[0]].gain_and_og["t"] == pytest.approx((0.4 - 0.35, 0.4 - 0.5))
    row = answer.selected[PAIR]
    task = row.tasks["t"]
    assert task.gain.value == pytest.approx(0.2) and task.og.value == pytest.approx(0.1)
    assert task.constituents == {"finance": 0.5, "math": 0.3}
    macro = row.sets["macro"]
    assert macro.best_constituent == "finance" and macro.over_best_constituent.value == pytest.approx(0.1)
    assert macro.gain_raw.value == pytest.approx(0.6 - (0.2 + 0.5 + 0.3) / 3, abs=1e-6)
    assert macro.og_raw.value == pytest.approx(0.1)
    assert macro.gain.low <= 0.2 <= macro.gain.high


def test_macros_are_means_over_tasks_of_the_macro_alone(tmp_path):
    tables = {
        "a": shares(150, finance=75, math=30, pair=90),
        "b": shares(300, finance=60, math=90, pair=150),
        "kept": shares(150, base=150, pair=15),
    }
    answer = summary(build(tmp_path, tables, {"kept": RETENTION}, selection=SAME).folder)
    point = answer.points[PAIR]
    assert point.macro.value == pytest.approx((0.6 + 0.5) / 2)
    assert point.retention.value == pytest.approx(0.1)
    gains = [0.6 - (0.5 + 0.2) / 2, 0.5 - (0.2 + 0.3) / 2]
    assert point.macro_gain == pytest.approx(np.mean(gains), abs=1e-6)
    sets = answer.selected[PAIR].sets
    assert sets["macro"].tasks == ["a", "b"] and sets["retention"].tasks == ["kept"]
    # Macro-OG is the mean of the tasks' OG, each against its own best constituent
    assert sets["macro"].og.value == pytest.approx(np.mean([0.6 - 0.5, 0.5 - 0.3]))
    assert sets["macro"].over_best_constituent.value == pytest.approx(0.55 - 0.35)


# ---- tests, and how many


def rows_of(tmp_path, tables, tasks=None, **changes):
    results = build(tmp_path, tables, tasks, selection=SAME, **changes)
    replicates = bootstrap(list(results.report.values()), 200, 0)
    rows = {name: effects.effects_of(results, replicates, name) for name in POINTS}
    effects.correct_tasks(rows, results)
    return rows


def test_benjamini_hochberg_is_within_a_stage_over_named_tasks_of_enough_clusters(tmp_path):
    tables = {
        "fin": shares(200, finance=80, math=80, pair=110),
        "both": shares(200, finance=80, math=80, pair=88),
        "small": shares(99, finance=0, math=0, pair=99),
        "japan": shares(200, finance=80, math=80, pair=110),
    }
    skills = {"fin": ["finance"], "both": ["finance", "math"], "small": ["finance"], "japan": ["japanese"]}
    rows = rows_of(tmp_path, tables, {t: {"skills": s} for t, s in skills.items()})
    pair = rows[PAIR].tasks
    with_q = {t for t in pair if pair[t].q_og is not None}
    assert with_q == {"fin", "both"}  # small is small, japan is not named
    p = {t: pair[t].p_og for t in ("fin", "both")}
    assert pair["fin"].q_og == pytest.approx(min(2 * p["fin"], p["both"]), abs=2e-6)
    assert pair["both"].q_og == pytest.approx(p["both"], abs=2e-6)
    first = rows[POINTS[0]].tasks  # of stage 1: fin alone is named for finance, and nothing for math
    assert [t for t in first if first[t].q_og is not None] == ["fin"]
    assert first["fin"].q_og == pytest.approx(first["fin"].p_og, abs=2e-6)


def test_p_of_og_is_the_largest_one_sided_mcnemar_over_constituents(tmp_path):
    pair = rows_of(tmp_path, {"t": shares(200, finance=80, math=60, pair=88)})[PAIR].tasks["t"]
    assert pair.p_og == pytest.approx(binomtest(8, 8, alternative="greater").pvalue, abs=1e-6)


def test_named_tasks_come_from_the_file_first(tmp_path):
    results = build(tmp_path, {"a": shares(100), "b": shares(100)}, named={"finance+math": "b"})
    assert effects.named_tasks(results, "finance+math") == ["b"]
    assert effects.named_tasks(results, "finance") == ["a", "b"]


def test_the_named_tasks_of_one_expert_include_retention(tmp_path):
    results = build(tmp_path, {"a": shares(100), "r": shares(100)}, {"r": RETENTION})
    assert effects.named_tasks(results, "finance") == ["a", "r"]
    assert effects.named_tasks(results, "finance+math") == ["a"]


@pytest.mark.parametrize(
    ("counts", "word"),
    [
        ({"finance": 60, "math": 60, "pair": 140}, "outperforms"),
        ({"finance": 140, "math": 20, "pair": 110}, "below the best"),
        ({"finance": 140, "math": 140, "pair": 60}, "interferes"),
        ({"finance": 100, "math": 40, "pair": 100}, "gains"),
        ({"finance": 80, "math": 80, "pair": 81}, "no clear difference"),
    ],
)
def test_the_verdict_of_a_task(tmp_path, counts, word):
    assert rows_of(tmp_path, {"t": shares(200, **counts)})[PAIR].tasks["t"].verdict == word


@pytest.mark.parametrize(("clusters", "word"), [(100, "outperforms"), (99, "too few items")])
def test_below_100_clusters_there_is_no_verdict(tmp_path, clusters, word):
    """Clusters, not items: 198 items of 99 headlines are 99."""
    tasks = {"t": {"clusters": [f"c{k // 2:03}" for k in range(2 * clusters)]}}
    rows = rows_of(tmp_path, {"t": shares(2 * clusters, finance=20, math=20, pair=180)}, tasks)
    assert rows[PAIR].tasks["t"].verdict == word and rows[PAIR].tasks["t"].clusters == clusters


def test_tasks_that_are_not_named_get_no_claim_of_interference_or_gain(tmp_path):
    """Their intervals are some of many: no claim without a q."""
    tables = {
        "j": shares(200, finance=140, math=140, pair=60),
        "k": shares(200, finance=100, math=40, pair=100),
    }
    rows = rows_of(tmp_path, tables, {t: {"skills": ["japanese"]} for t in tables})[PAIR].tasks
    assert rows["j"].gain.high < 0 and rows["j"].verdict == "below the best"
    assert rows["k"].gain.low > 0 and rows["k"].verdict == "no clear difference"


def test_clusters_that_tasks_share_count_once(tmp_path):
    same = {"clusters": [f"c{k}" for k in range(60)], "dataset": "d"}
    tables = {"direct": shares(60, pair=9), "cot": shares(60, pair=9), "other": shares(70, pair=9)}
    rows = rows_of(tmp_path, tables, {"direct": same, "cot": same})
    assert rows[PAIR].sets["macro"].clusters == 130


def test_clusters_of_two_datasets_are_never_the_same(tmp_path):
    """Row numbers of two datasets coincide, and mean nothing together."""
    numbers = {"clusters": [str(k) for k in range(60)]}
    tables = {"one": shares(60, pair=9), "other": shares(60, pair=9)}
    tasks = {"one": numbers | {"dataset": "a"}, "other": numbers | {"dataset": "b"}}
    assert rows_of(tmp_path, tables, tasks)[PAIR].sets["macro"].clusters == 120


def test_a_difference_that_is_the_same_on_every_item_has_no_minimum_detectable_effect(tmp_path):
    pair = rows_of(tmp_path, {"t": shares(200, finance=80, math=80, pair=80)})[PAIR]
    assert pair.tasks["t"].mde is None and pair.sets["macro"].mde is None


def test_holm_is_over_the_combinations_of_a_stage(tmp_path):
    """Stage 1 has two combinations, stage 2 one; every claim of a set is corrected among its own."""
    tables = {"t": shares(200, base=40, finance=60, math=40, s1f=90, s1m=60, pair=120)}
    answer = summary(build(tmp_path, tables, selection=SAME).folder)
    sets = [answer.selected[p].sets["macro"] for p in POINTS]
    low, high = sorted(s.p_over_all_models for s in sets[:2])
    assert sorted(s.holm_over_all_models for s in sets[:2]) == pytest.approx(
        sorted([min(1, 2 * low), max(min(1, 2 * low), high)])
    )
    assert sets[2].holm_over_all_models == sets[2].p_over_all_models < 0.01 < sets[2].holm_below_mean


def test_recovery_by_hand(tmp_path):
    tables = {"t": shares(200), "kept": shares(200, base=150, finance=50, s1f=120)}
    answer = summary(build(tmp_path, tables, {"kept": RETENTION}, selection=SAME).folder)
    numbers = answer.selected[POINTS[0]].recovery
    values = [numbers.lost.value, numbers.recovered.value, numbers.over_base.value]
    assert values == pytest.approx([0.5, 0.35, -0.15])
    assert answer.selected[PAIR].recovery is None


def test_mask_seeds_do_not_count_as_a_grid(tmp_path):
    """One cell of each operator, DARE with four seeds: nothing to be sensitive on, and its best is a mean."""
    operators = {"task_arithmetic": {"lambda": [0.5]}, "dare_ties": {"density": [0.5], "seeds": [0, 1, 2, 3]}}
    study = helpers.config.parse_study(helpers.content(".", operators=operators), "x")
    names = [point.name for stage in (1, 2) for point in helpers.points(study, stage)]
    right = {name: 100 for name in MODELS} | {n: 60 + 20 * int(n[-1]) if "seed" in n else 90 for n in names}
    table = {name: np.arange(200) < count for name, count in right.items()}
    answer = summary(build(tmp_path, {"t": table}, operators=operators, selection=SAME).folder)
    scores = answer.operators.operators["dare_ties"]
    assert not scores.swept and scores.points == 12 and scores.best.value == pytest.approx(0.45)
    assert answer.operators.differences["task_arithmetic - dare_ties"].best.value == pytest.approx(0)
    (line,) = [s.text for s in answer.verdict if s.about == "operators"]
    assert "Sensitivity" not in line


# ---- the file


def test_one_expert_alone_is_a_study(tmp_path):
    study = helpers.content(".", ("finance",), stages=[1], tasks=["t"], limit=None)
    right = {name: np.arange(200) < n for name, n in (("base", 50), ("finance", 80), (POINTS[0], 70))}
    helpers.synthetic(tmp_path, study, {"t": right})
    answer = summary(tmp_path)
    assert list(answer.combinations) == ["finance"] and answer.verdict


def test_a_summary_has_the_same_bytes_twice(tmp_path):
    folder = noisy(tmp_path / "out").folder
    for name in ("1.json", "2.json"):
        write_study_file(tmp_path / name, summary(folder).as_json())
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()


def test_the_recommended_model_is_selected_on_the_selection_items(tmp_path):
    """A merge that is best on the report items alone is not selected."""
    results = noisy(tmp_path)
    macro = {name: np.mean([results.selection[t].score(name) for t in "ab"]) for name in (*MODELS, *POINTS)}
    assert summary(tmp_path).ship.model == max(macro, key=macro.get)
