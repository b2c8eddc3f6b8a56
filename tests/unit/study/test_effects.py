"""From arrays to summary.json: every number is computed by hand here too."""

import numpy as np
import pytest
from helpers import study as helpers

from mergekit_finance.statistics.bootstrap import bootstrap
from mergekit_finance.study.analysis import effects, predictors, verdict
from mergekit_finance.study.analysis import summary as analysis
from mergekit_finance.study.results import load_results
from mergekit_finance.study.schema import PredictorRow

MODELS = ("base", "finance", "math")
POINTS = ("stage1-finance-ta-lambda0.5", "stage1-math-ta-lambda0.5", "stage2-finance-math-ta-lambda0.5")
PAIR = POINTS[2]


def build(tmp_path, tables, tasks=None, **changes):
    study = helpers.content(".", tasks=list(tables), limit=None, **changes)
    helpers.synthetic(tmp_path, study, tables, tasks)
    return load_results(tmp_path, finished=False)


def shares(items, **right):
    """task -> scores of which the first are right: `right` per model, in items."""
    given = {name.replace("_", "-"): count for name, count in right.items()}
    chosen = {"base": 0, "finance": 0, "math": 0, "s1f": 0, "s1m": 0, "pair": 0} | given
    names = dict(zip((*MODELS, *POINTS), ("base", "finance", "math", "s1f", "s1m", "pair"), strict=True))
    return {full: np.arange(items) < chosen[short] for full, short in names.items()}


SAME = {"same_items": True}
NONE = {"skills": ["finance"]}


def test_gain_and_og_are_what_they_are_by_hand(tmp_path):
    tables = {"t": shares(200, base=40, finance=100, math=60, s1f=80, s1m=20, pair=120)}
    found = analysis.summary(build(tmp_path, tables, selection=SAME).folder).as_json()
    points = found["points"]
    assert points[PAIR]["gain_and_og"]["t"] == pytest.approx([0.6 - 0.4, 0.6 - 0.5])
    assert points[POINTS[0]]["gain_and_og"]["t"] == pytest.approx([0.4 - 0.35, 0.4 - 0.5])  # base is a parent
    row = found["selected"][PAIR]
    task = row["tasks"]["t"]
    assert task["gain"][0] == pytest.approx(0.2) and task["og"][0] == pytest.approx(0.1)
    assert task["constituents"] == {"finance": 0.5, "math": 0.3}
    macro = row["sets"]["macro"]
    assert macro["best_constituent"] == "finance" and macro["over_best_constituent"][0] == pytest.approx(0.1)
    assert macro["gain_raw"][0] == pytest.approx(0.6 - (0.2 + 0.5 + 0.3) / 3, abs=1e-6)
    assert macro["og_raw"][0] == pytest.approx(0.1)
    assert macro["gain"][1] <= 0.2 <= macro["gain"][2]


def test_macros_are_means_over_tasks_of_the_macro_alone(tmp_path):
    tables = {
        "a": shares(150, finance=75, math=30, pair=90),
        "b": shares(300, finance=60, math=90, pair=150),
        "kept": shares(150, base=150, pair=15),
    }
    tasks = {"kept": {"kind": "retention", "skills": []}}
    found = analysis.summary(build(tmp_path, tables, tasks, selection=SAME).folder).as_json()
    point = found["points"][PAIR]
    assert point["macro"][0] == pytest.approx((0.6 + 0.5) / 2) and point["retention"][0] == pytest.approx(0.1)
    gains = [0.6 - (0.5 + 0.2) / 2, 0.5 - (0.2 + 0.3) / 2]
    assert point["macro_gain"] == pytest.approx(np.mean(gains), abs=1e-6)
    sets = found["selected"][PAIR]["sets"]
    assert sets["macro"]["tasks"] == ["a", "b"] and sets["retention"]["tasks"] == ["kept"]
    # Macro-OG is the mean of the tasks' OG, each against its own best parent
    assert sets["macro"]["og"][0] == pytest.approx(np.mean([0.6 - 0.5, 0.5 - 0.3]))
    assert sets["macro"]["over_best_constituent"][0] == pytest.approx(0.55 - 0.35)


# ---- tests, and how many


def rows_of(tmp_path, tables, tasks=None, **changes):
    loaded = build(tmp_path, tables, tasks, selection=SAME, **changes)
    found = bootstrap(list(loaded.report.values()), 200, 0)
    rows = {name: effects.effects_of(loaded, found, name) for name in POINTS}
    effects.correct_tasks(rows, loaded)
    return {name: row.as_json() for name, row in rows.items()}


def test_benjamini_hochberg_is_within_a_stage_over_named_tasks_of_enough_clusters(tmp_path):
    tables = {
        "fin": shares(200, finance=80, math=80, pair=110),
        "both": shares(200, finance=80, math=80, pair=88),
        "small": shares(99, finance=0, math=0, pair=99),
        "japan": shares(200, finance=80, math=80, pair=110),
    }
    skills = {"fin": ["finance"], "both": ["finance", "math"], "small": ["finance"], "japan": ["japanese"]}
    rows = rows_of(tmp_path, tables, {t: {"skills": s} for t, s in skills.items()})
    pair = rows[PAIR]["tasks"]
    assert {t for t in pair if "q_og" in pair[t]} == {"fin", "both"}  # small is small, japan is not named
    p = {t: pair[t]["p_og"] for t in ("fin", "both")}
    assert pair["fin"]["q_og"] == pytest.approx(min(2 * p["fin"], p["both"]), abs=2e-6)
    assert pair["both"]["q_og"] == pytest.approx(p["both"], abs=2e-6)
    first = rows[POINTS[0]]["tasks"]  # of stage 1: fin alone is named for finance, and nothing for math
    assert [t for t in first if "q_og" in first[t]] == ["fin"]
    assert first["fin"]["q_og"] == pytest.approx(first["fin"]["p_og"], abs=2e-6)


def test_p_of_og_is_the_largest_one_sided_mcnemar_over_parents(tmp_path):
    from scipy.stats import binomtest

    pair = rows_of(tmp_path, {"t": shares(200, finance=80, math=60, pair=88)})[PAIR]["tasks"]["t"]
    assert pair["p_og"] == pytest.approx(binomtest(8, 8, alternative="greater").pvalue, abs=1e-6)


def test_what_is_named_comes_from_the_file_first(tmp_path):
    loaded = build(tmp_path, {"a": shares(100), "b": shares(100)}, named={"finance+math": "b"})
    assert effects.named_tasks(loaded, "finance+math") == ["b"] and effects.named_tasks(
        loaded, "finance"
    ) == ["a", "b"]


def test_one_experts_tests_are_about_retention_too(tmp_path):
    tasks = {"r": {"kind": "retention", "skills": []}}
    loaded = build(tmp_path, {"a": shares(100), "r": shares(100)}, tasks)
    assert effects.named_tasks(loaded, "finance") == ["a", "r"] and effects.named_tasks(
        loaded, "finance+math"
    ) == ["a"]


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
def test_a_verdict_is_a_word_for_the_numbers(tmp_path, counts, word):
    assert rows_of(tmp_path, {"t": shares(200, **counts)})[PAIR]["tasks"]["t"]["verdict"] == word


@pytest.mark.parametrize(("clusters", "word"), [(100, "outperforms"), (99, "too few items")])
def test_below_100_clusters_there_is_no_verdict(tmp_path, clusters, word):
    """Clusters, not items: 198 items of 99 headlines are 99."""
    tasks = {"t": {"clusters": [f"c{k // 2:03}" for k in range(2 * clusters)]}}
    rows = rows_of(tmp_path, {"t": shares(2 * clusters, finance=20, math=20, pair=180)}, tasks)
    assert rows[PAIR]["tasks"]["t"]["verdict"] == word and rows[PAIR]["tasks"]["t"]["clusters"] == clusters


# ---- predictors


def test_headroom_by_hand(tmp_path):
    """Of 8 items finance has 4 right, math 2 more where finance is wrong: 2/8, less chance."""
    right = {name: np.zeros(8) for name in (*MODELS, *POINTS)}
    right["finance"][:4] = 1
    right["math"][3:6] = 1
    free = build(tmp_path / "written", {"t": right}, selection=SAME)
    assert predictors.headroom(free, ["finance", "math"]) == pytest.approx(2 / 8)
    four = build(tmp_path / "choice", {"t": right}, {"t": {"options": 4}}, selection=SAME)
    assert predictors.chance(four, "t") == 0.25
    assert predictors.headroom(four, ["finance", "math"]) == pytest.approx(2 / 8 - 0.25 * 4 / 8)
    lucky = 1 - 0.75**2
    assert predictors.headroom(four, ["finance", "math", "base"]) == pytest.approx(2 / 8 - lucky * 4 / 8)


def test_seven_combinations_describe_and_say_what_would_be_needed():
    rows = [
        PredictorRow(
            combination="c", point="p", stage=2, l2=k, cosine=-k, headroom=0, macro_gain=k**3, macro_og=-k
        )
        for k in range(7)
    ]
    found = {(r.over, r.predictor, r.outcome): r for r in predictors.correlations(rows)}
    row = found["all", "l2", "macro_gain"]
    assert row.rho == 1 and row.n == 7 and row.exact
    assert row.needed == pytest.approx(0.786, abs=5e-4)
    assert row.p == pytest.approx(2 / 5040, abs=1e-6)  # two-sided, over all permutations
    assert found["all", "headroom", "macro_gain"].rho is None  # a constant says nothing


def test_pairs_are_shown_alone_too():
    rows = [
        PredictorRow(
            combination="c", point="p", stage=s, l2=k, cosine=k, headroom=k, macro_gain=k, macro_og=k
        )
        for k, s in enumerate((1, 2, 2, 2, 3))
    ]
    assert {r.over: r.n for r in predictors.correlations(rows)} == {"all": 5, "pairs": 3}


def test_one_expert_alone_is_a_study(tmp_path):
    study = helpers.content(".", ("finance",), stages=[1], tasks=["t"], limit=None)
    right = {name: np.arange(200) < n for name, n in (("base", 50), ("finance", 80), (POINTS[0], 70))}
    helpers.synthetic(tmp_path, study, {"t": right})
    found = analysis.summary(tmp_path).as_json()
    assert list(found["combinations"]) == ["finance"] and found["verdict"]


# ---- the file


def noisy(tmp_path, seed=0):
    rng = np.random.default_rng(seed)
    tables = {t: {name: rng.random(150) < 0.5 for name in (*MODELS, *POINTS)} for t in ("a", "b")}
    return build(tmp_path, tables)


def test_a_summary_has_the_same_bytes_twice(tmp_path):
    from mergekit_finance.study.store import write_json

    out = noisy(tmp_path / "out").folder
    for name in ("1.json", "2.json"):
        write_json(tmp_path / name, analysis.summary(out).as_json())
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()


def test_what_ships_is_chosen_on_the_selection_items(tmp_path):
    """A merge that is best on the report items alone is not chosen."""
    loaded = noisy(tmp_path)
    macro = {name: np.mean([loaded.selection[t].score(name) for t in "ab"]) for name in (*MODELS, *POINTS)}
    assert analysis.summary(tmp_path).as_json()["ship"]["model"] == max(macro, key=macro.get)


def test_the_verdict_says_ship_no_merge_where_none_is_better(tmp_path):
    tables = {"t": shares(200, finance=160, math=60, s1f=40, s1m=40, pair=50)}
    found = analysis.summary(build(tmp_path, tables, selection=SAME).folder).as_json()
    assert found["ship"]["model"] == "finance" and not found["ship"]["is_merge"]
    texts = [s["text"] for s in found["verdict"] if s["about"] == "ship"]
    assert texts[0].startswith("Ship no merge: finance is best")
    assert " worse than the best single model, finance" in texts[0] and "clearly" not in texts[0]
    assert "(chosen and measured on the same items)" in texts[0]


@pytest.mark.parametrize(
    "right, words",
    [
        ({"base": 20, "finance": 60, "math": 40, "pair": 120}, "they complement each other: +30.0 points"),
        ({"base": 118, "finance": 60, "math": 40, "pair": 120}, "above its constituents, but not clearly above the base: +30.0"),
        ({"base": 20, "finance": 120, "math": 40, "pair": 60}, "against the mean of the constituents (Gain), -30.0 points"),
        ({"base": 20, "finance": 119, "math": 40, "pair": 120}, "no clear effect: +0.5 points"),
        ({"base": 190, "finance": 119, "math": 40, "pair": 120}, "no clear effect on what the best constituent has, and below the base: +0.5"),
    ],
)  # fmt: skip
def test_the_verdict_on_a_pair_is_against_its_constituents_and_the_base(tmp_path, right, words):
    found = analysis.summary(build(tmp_path, {"t": shares(200, **right)}, selection=SAME).folder).as_json()
    (said,) = [s["text"] for s in found["verdict"] if s["about"] == "complementarity"]
    assert words in said and "over the best constituent, finance" in said


def test_the_verdict_names_what_outperforms_only_where_something_does(tmp_path):
    tables = {"t": shares(200, finance=60, math=40, pair=190), "u": shares(200, finance=60, math=40, pair=20)}
    found = analysis.summary(build(tmp_path, tables, selection=SAME).folder).as_json()
    (said,) = [s["text"] for s in found["verdict"] if s["about"] == "complementarity"]
    assert said.endswith("; outperforms all of its constituents on t.")


def test_the_verdict_compares_operators_in_words(tmp_path):
    operators = {"task_arithmetic": {"lambda": [0.2, 0.8]}, "ties": {"density": [0.2, 0.8]}}
    names = [f"{group}-{tail}" for group in ("stage1-finance", "stage1-math", "stage2-finance-math") for tail in
             ("ta-lambda0.2", "ta-lambda0.8", "ties-density0.2-lambda1.0", "ties-density0.8-lambda1.0")]  # fmt: skip
    right = {name: 100 for name in MODELS} | {
        n: 190 if n.endswith("ta-lambda0.8") else 20 if "ta-" in n else 90 for n in names
    }
    table = {name: np.arange(200) < count for name, count in right.items()}
    found = analysis.summary(
        build(tmp_path, {"t": table}, operators=operators, selection=SAME).folder
    ).as_json()
    (said,) = [s["text"] for s in found["verdict"] if s["about"] == "operators"]
    assert said.startswith(
        "Task Arithmetic (λ 0.2 to 0.8) against TIES (density 0.2 to 0.8, λ 1): better at its best (+50.0 points"
    )
    assert "more sensitive (its score spreads +85.0 points [" in said


def test_seeds_are_no_grid(tmp_path):
    """One cell of each operator, DARE with four seeds: nothing to be sensitive on, and its best is a mean."""
    operators = {"task_arithmetic": {"lambda": [0.5]}, "dare_ties": {"density": [0.5], "seeds": [0, 1, 2, 3]}}
    names = [
        p.name
        for p in helpers.points(helpers.config.parse(helpers.content(".", operators=operators), "x"), 1)
    ]
    names += [
        p.name
        for p in helpers.points(helpers.config.parse(helpers.content(".", operators=operators), "x"), 2)
    ]
    right = {name: 100 for name in MODELS} | {n: 60 + 20 * int(n[-1]) if "seed" in n else 90 for n in names}
    table = {name: np.arange(200) < count for name, count in right.items()}
    found = analysis.summary(
        build(tmp_path, {"t": table}, operators=operators, selection=SAME).folder
    ).as_json()
    claim = found["operators"]
    assert not claim["operators"]["dare_ties"]["swept"] and claim["operators"]["dare_ties"]["points"] == 12
    assert claim["operators"]["dare_ties"]["best"][0] == pytest.approx(0.45)
    assert claim["differences"]["task_arithmetic - dare_ties"]["best"][0] == pytest.approx(0)
    (said,) = [s["text"] for s in found["verdict"] if s["about"] == "operators"]
    assert "sensitive" not in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "they complement each other"),
        ({"over_best_raw": [-0.2, -0.3, -0.1]}, "not clearly above the experts as they are"),
        ({"over_best_constituent": [-0.2, -0.3, -0.1]}, "below the best constituent"),
        ({"over_best_constituent": [-0.2, -0.3, -0.1], "gain": [-0.1, -0.2, -0.05]}, "they interfere"),
        (
            {
                "over_best_constituent": [-0.2, -0.3, -0.1],
                "gain": [-0.1, -0.2, -0.05],
                "holm_below_mean": 0.05,
            },
            "below the best constituent",
        ),
        (
            {"holm_over_all_models": 0.05},
            "above its constituents, but not clearly once the other combinations are allowed for",
        ),
        ({"clusters": 99}, "too few items for a verdict"),
    ],
)
def test_the_word_for_an_effect(changes, words):
    up = [0.2, 0.1, 0.3]
    tested = {
        "over_best_constituent": up,
        "over_base": up,
        "over_best_raw": up,
        "gain": up,
        "clusters": 100,
        "holm_over_all_models": 0.01,
        "holm_below_mean": 0.01,
    } | changes
    assert words in verdict._effect(tested, "complementarity")


def test_recovery_is_said_with_intervals_and_only_where_something_was_lost(tmp_path):
    tables = {
        "t": shares(200, finance=100, math=60, s1f=80, s1m=20),
        "kept": shares(200, base=150, finance=50, math=150, s1f=120, s1m=30),
    }
    tasks = {"kept": {"kind": "retention", "skills": []}}
    found = analysis.summary(build(tmp_path, tables, tasks, selection=SAME).folder).as_json()
    numbers = found["selected"][POINTS[0]]["recovery"]
    assert [numbers[k][0] for k in ("lost", "recovered", "over_base")] == pytest.approx([0.5, 0.35, -0.15])
    said = {s["text"].split(" (")[0]: s["text"] for s in found["verdict"] if s["about"] == "recovery"}
    assert (
        "+35.0 points [" in said["base + finance"]
        and "of the 50.0 points of retention that CPT had lost" in said["base + finance"]
    )
    assert "no loss of retention by CPT is clear (+0.0 points [" in said["base + math"]
    assert "the merge: against the base -60.0 points [" in said["base + math"]


def test_what_was_not_named_is_not_said_to_interfere_or_gain(tmp_path):
    """Its interval is one of many: no claim without a q."""
    tables = {
        "j": shares(200, finance=140, math=140, pair=60),
        "k": shares(200, finance=100, math=40, pair=100),
    }
    rows = rows_of(tmp_path, tables, {t: {"skills": ["japanese"]} for t in tables})[PAIR]["tasks"]
    assert rows["j"]["gain"][2] < 0 and rows["j"]["verdict"] == "below the best"
    assert rows["k"]["gain"][1] > 0 and rows["k"]["verdict"] == "no clear difference"


def test_clusters_that_tasks_share_count_once(tmp_path):
    same = {"clusters": [f"c{k}" for k in range(60)], "dataset": "d"}
    tables = {"direct": shares(60, pair=9), "cot": shares(60, pair=9), "other": shares(70, pair=9)}
    rows = rows_of(tmp_path, tables, {"direct": same, "cot": same})
    assert rows[PAIR]["sets"]["macro"]["clusters"] == 130


def test_clusters_of_two_datasets_are_never_the_same(tmp_path):
    """Row numbers of two datasets coincide, and mean nothing together."""
    numbers = {"clusters": [str(k) for k in range(60)]}
    tables = {"one": shares(60, pair=9), "other": shares(60, pair=9)}
    tasks = {"one": numbers | {"dataset": "a"}, "other": numbers | {"dataset": "b"}}
    assert rows_of(tmp_path, tables, tasks)[PAIR]["sets"]["macro"]["clusters"] == 120


@pytest.mark.parametrize(
    "gap, words",
    [
        ([0.06, 0.02, 0.1], "Ship x: on the other items its macro is clearly better than"),
        ([-0.12, -0.3, 0.06], "No merge is clearly worth shipping: x is best on the items that choose, but on the other items its macro"),
        ([-0.12, -0.3, -0.06], "No merge is clearly worth shipping: x is best on the items that choose, but on the other items its macro"),
    ],
)  # fmt: skip
def test_what_to_ship_is_advice_only_where_the_other_items_bear_it_out(gap, words):
    ship = {"model": "x", "is_merge": True, "best_merge": "x", "best_single": "finance", "merge_over_single": gap, "clusters": 100, "retention_over_base": [-0.1, -0.2, 0.0]}  # fmt: skip
    ((_, said),) = verdict._ship({"ship": {"retention_over_base": None} | ship, "selection": {"split": True}})
    assert said.startswith(words) and "its retention against the base: -10.0 points [-20.0, +0.0]" in said


@pytest.mark.parametrize(
    ("gap", "words"),
    [([-0.1, -0.2, 0.1], "Ship no merge: finance is best on the items that choose; the best merge, x: on the"),
     ([0.1, 0.05, 0.2], "No clear advice: finance is best on the items that choose, but the best merge is x: on the")],
)  # fmt: skip
def test_ship_no_merge_is_no_advice_where_the_other_items_say_otherwise(gap, words):
    ship = {"model": "finance", "is_merge": False, "best_merge": "x", "best_single": "finance", "merge_over_single": gap, "clusters": 100}  # fmt: skip
    ((_, said),) = verdict._ship({"ship": {"retention_over_base": None} | ship, "selection": {"split": True}})
    assert said.startswith(words)


def test_few_items_advise_nothing():
    ship = {"model": "x", "is_merge": True, "best_merge": "x", "best_single": "finance", "merge_over_single": [0.06, 0.02, 0.1], "clusters": 99}  # fmt: skip
    ((_, said),) = verdict._ship({"ship": {"retention_over_base": None} | ship, "selection": {"split": True}})
    assert said.startswith(
        "Too few items to advise (99 clusters): x is best on the items that choose; of the best"
    )


def test_holm_is_over_the_combinations_of_a_stage(tmp_path):
    """Stage 1 has two combinations, stage 2 one; every claim of a set is corrected among its own."""
    tables = {"t": shares(200, base=40, finance=60, math=40, s1f=90, s1m=60, pair=120)}
    found = analysis.summary(build(tmp_path, tables, selection=SAME).folder).as_json()
    sets = [found["selected"][p]["sets"]["macro"] for p in POINTS]
    low, high = sorted(s["p_over_all_models"] for s in sets[:2])
    assert sorted(s["holm_over_all_models"] for s in sets[:2]) == pytest.approx(
        sorted([min(1, 2 * low), max(min(1, 2 * low), high)])
    )
    assert sets[2]["holm_over_all_models"] == sets[2]["p_over_all_models"] < 0.01 < sets[2]["holm_below_mean"]


def test_a_cell_of_several_masks_says_which_is_reported():
    values = [{"density": 0.5, "lambda": 1.0, "seed": seed} for seed in (0, 1, 2)]
    points = {
        f"p{k}": {"combination": ["a"], "operator": "dare_ties", "values": v} for k, v in enumerate(values)
    }
    assert (
        verdict._how({"points": points}, "p0") == "DARE-TIES, density 0.5, λ 1, mask seed 0, the first of 3"
    )
    assert verdict._how({"points": {"p0": points["p0"]}}, "p0") == "DARE-TIES, density 0.5, λ 1"


def test_what_study_yml_names_is_what_the_sentence_is_about(tmp_path):
    """a is of the pair's skills and better, b is not and worse."""
    tables = {
        "a": shares(200, finance=60, math=40, pair=120),
        "b": shares(200, base=90, finance=160, math=40, pair=100),
    }
    tasks = {"a": {"skills": ["finance"]}, "b": {"skills": ["japanese"]}}
    for named, words in (({}, "+30.0 points ["), ({"finance+math": "b"}, "-30.0 points [")):
        found = analysis.summary(
            build(tmp_path / str(len(named)), tables, tasks, selection=SAME, named=named).folder
        ).as_json()
        (said,) = [s["text"] for s in found["verdict"] if s["about"] == "complementarity"]
        assert f"{words}" in said.split(" over the best constituent")[0]
        assert ("1 task named in study.yml" if named else "1 task of their skills") in said


def test_a_pairs_sentence_says_og_too(tmp_path):
    """Better over both tasks together than either expert, worse in each than the expert of it."""
    tables = {"a": shares(200, finance=180, math=10, pair=150), "b": shares(200, finance=10, math=180, pair=150)}  # fmt: skip
    found = analysis.summary(build(tmp_path, tables, selection=SAME).folder).as_json()
    (said,) = [s["text"] for s in found["verdict"] if s["about"] == "complementarity"]
    assert "they complement each other: +27.5 points [" in said and "; against the best of each task, -15.0 points [" in said  # fmt: skip


def test_a_difference_that_is_the_same_everywhere_has_no_interval_and_promises_no_power(tmp_path):
    assert verdict.interval([0.0, 0.0, 0.0]) == "+0.0 points [the same on every item]"
    pair = rows_of(tmp_path, {"t": shares(200, finance=80, math=80, pair=80)})[PAIR]
    assert "mde" not in pair["tasks"]["t"] and "mde" not in pair["sets"]["macro"]


@pytest.mark.parametrize(("clusters", "few"), [(99, True), (100, False)])
def test_recovery_on_few_clusters_says_so(tmp_path, clusters, few):
    tables = {"t": shares(200, finance=100), "kept": shares(clusters, base=90, finance=30, s1f=60)}
    tasks = {"kept": {"kind": "retention", "skills": []}}
    found = analysis.summary(build(tmp_path, tables, tasks, selection=SAME).folder).as_json()
    said = next(s["text"] for s in found["verdict"] if s["about"] == "recovery")
    assert (", on 99 clusters, too few for a verdict" in said) is few


def test_what_rounds_to_nothing_has_no_minus():
    assert verdict.interval([-0.0004, -0.031, 0.0002]) == "+0.0 points [-3.1, +0.0]"
    assert verdict.signed(-0.004, 2) == "+0.00"


def test_sentences_are_wrapped_only_where_a_width_is_given(tmp_path):
    found = analysis.summary(noisy(tmp_path).folder)
    whole, wrapped = verdict.text(found), verdict.text(found, 72)
    table = len(whole.split("\n\n")[0])
    assert max(map(len, wrapped[table:].splitlines())) <= 72 < max(map(len, whole[table:].splitlines()))
    assert wrapped[table:].split() == whole[table:].split()
