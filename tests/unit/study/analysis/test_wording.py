"""The words of the verdict: number formats, sentences, and the table that the command prints."""

import numpy as np
import pytest
from helpers.synthetic import MODELS, PAIR, RETENTION, SAME, build, lines, noisy_summary, shares

from mergekit_finance.study.analysis import advice_wording, phrases, verdict, wording
from mergekit_finance.study.analysis.summary import summary
from mergekit_finance.study.schema import AdviceKind, Effect, EffectKind, PointResult, Sentence


@pytest.mark.parametrize(
    ("numbers", "sign", "text"),
    [
        ([0.281, 0.156, 0.406], False, "28.1 [15.6, 40.6]"),
        ([-0.047, -0.109, 0.0], False, "-4.7 [-10.9, 0.0]"),
        ([-0.0004, -0.031, 0.0002], False, "0.0 [-3.1, 0.0]"),  # what rounds to zero has no minus
        ([0.281, -0.0001, 0.406], True, "+28.1 [0.0, +40.6]"),  # nor a plus
        ([0.0, 0.0, 0.0], False, "0.0 (the same in every resample)"),
    ],
)
def test_an_interval_in_points(numbers, sign, text):
    assert phrases.interval_in_words(numbers, sign) == text


def test_a_number_that_rounds_to_zero_has_no_sign():
    assert phrases.number(-0.004, 2, sign=True) == phrases.number(0.004, 2, sign=True) == "0.00"
    assert phrases.number(0.5, 2, sign=True) == "+0.50" and phrases.number(-0.5, 2) == "-0.50"


@pytest.mark.parametrize(
    ("kind", "stage", "word"),
    [
        (EffectKind.ABOVE_ALL, 1, "recovery"),
        (EffectKind.ABOVE_ALL, 2, "complementarity"),
        (EffectKind.ABOVE_ALL, 3, "emergence"),
        (EffectKind.NOT_ABOVE_BASE, 3, "above constituents, not above base"),
    ],
)
def test_the_word_for_an_effect(kind, stage, word):
    effect = Effect(kind=kind, tested="own")
    assert wording.effect_word(effect, stage) == wording.short_effect_word(effect, stage) == word


def test_an_effect_on_too_few_items_is_inconclusive():
    effect = Effect(kind=EffectKind.TOO_FEW_ITEMS, tested="own")
    assert wording.effect_word(effect, 2) == "inconclusive (fewer than 100 clusters)"
    assert wording.short_effect_word(effect, 2) == "inconclusive"


def test_a_borderline_effect_lists_the_possible_effects():
    between = [EffectKind.ABOVE_ALL, EffectKind.NO_EFFECT]
    effect = Effect(kind=EffectKind.BORDERLINE, tested="own", between=between)
    assert (
        wording.effect_word(effect, 3)
        == 'borderline ("emergence" or "no clear effect", depending on the random seed)'
    )
    assert wording.short_effect_word(effect, 3) == "borderline"


@pytest.mark.parametrize(
    ("right", "words"),
    [
        ({"base": 20, "finance": 60, "math": 40, "pair": 120}, "complementarity. 30.0 ["),
        ({"base": 118, "finance": 60, "math": 40, "pair": 120}, "above constituents, not above base. 30.0 ["),
        ({"base": 20, "finance": 120, "math": 40, "pair": 100}, "below best constituent. -10.0 ["),
        ({"base": 20, "finance": 120, "math": 100, "pair": 20}, "interference. -45.0 ["),
        ({"base": 20, "finance": 119, "math": 40, "pair": 120}, "no clear effect. 0.5 ["),
        ({"base": 190, "finance": 119, "math": 40, "pair": 120}, "no clear effect, below base. 0.5 ["),
    ],
)
def test_a_pair_is_compared_with_its_best_constituent_and_the_base(tmp_path, right, words):
    study_summary = summary(build(tmp_path, {"t": shares(200, **right)}, selection=SAME).folder)
    (line,) = lines(study_summary, "complementarity")
    assert words in line and "vs best constituent (finance)" in line and " vs base" in line


def test_interference_shows_the_difference_that_decided_it(tmp_path):
    right = {"base": 20, "finance": 120, "math": 100, "pair": 20}
    study_summary = summary(build(tmp_path, {"t": shares(200, **right)}, selection=SAME).folder)
    (line,) = lines(study_summary, "complementarity")
    assert "interference. -45.0 [" in line and "] vs the mean of the constituents (Gain), -50.0 [" in line
    assert "finance + math: below the mean of its constituents on t." in lines(study_summary, "interference")


def test_tasks_that_are_outperformed_are_named_only_where_there_are_some(tmp_path):
    tables = {"t": shares(200, finance=60, math=40, pair=190), "u": shares(200, finance=60, math=40, pair=20)}
    study_summary = summary(build(tmp_path / "some", tables, selection=SAME).folder)
    assert lines(study_summary, "complementarity")[0].endswith(" Outperforms all constituents on t.")
    none = noisy_summary(tmp_path / "none")
    assert "utperforms" not in lines(none, "complementarity")[0]


def test_the_sentence_is_about_what_study_yml_names(tmp_path):
    """a is of the pair's skills and better, b is not and worse."""
    tables = {
        "a": shares(200, finance=60, math=40, pair=120),
        "b": shares(200, base=90, finance=160, math=40, pair=100),
    }
    tasks = {"a": {"skills": ["finance"]}, "b": {"skills": ["japanese"]}}
    for named_in_study, number, which in (
        ({}, "30.0 [", "1 task of their skills"),
        ({"finance+math": "b"}, "-30.0 [", "1 task named in study.yml"),
    ):
        folder = build(
            tmp_path / str(len(named_in_study)), tables, tasks, selection=SAME, named=named_in_study
        ).folder
        (line,) = lines(summary(folder), "complementarity")
        assert f". {number}" in line.split(" vs best constituent")[0] and which in line


def test_og_is_called_the_best_constituent_per_task(tmp_path):
    """Better over both tasks together than either expert, worse in each than the expert of it."""
    tables = {
        "a": shares(200, finance=180, math=10, pair=150),
        "b": shares(200, finance=10, math=180, pair=150),
    }
    (line,) = lines(summary(build(tmp_path, tables, selection=SAME).folder), "complementarity")
    assert "complementarity. 27.5 [" in line
    assert ", OG -15.0 [" in line and "] vs best constituent per task; 2 tasks" in line


def test_recovery_has_intervals_and_notes_when_nothing_was_lost(tmp_path):
    tables = {
        "t": shares(200, finance=100, math=60, s1f=80, s1m=20),
        "kept": shares(200, base=150, finance=50, math=150, s1f=120, s1m=30),
    }
    study_summary = summary(build(tmp_path, tables, {"kept": RETENTION}, selection=SAME).folder)
    sentences = dict(line.split(": ", 1) for line in lines(study_summary, "recovery"))
    finance, math = sentences["base + finance, retention"], sentences["base + math, retention"]
    assert finance.startswith("lost 50.0 (items: +0 -100), recovered 35.0 [")
    assert "] (items: +70 -0), vs base -15.0 [" in finance and "] (items: +0 -30), 200 clusters." in finance
    assert sentences["base + finance, tasks of its skill"].startswith(
        "40.0 (expert 50.0, base 0.0), OG -10.0 ["
    )
    assert math.startswith(
        "no clear loss by continual pre-training (0.0 (the same in every resample)), vs base -60.0 ["
    )
    assert (
        sentences["base + finance, retention and tasks of its skill together"] == "recovery."
    )  # 50.0 on average, base and expert 37.5


@pytest.mark.parametrize(
    ("skills", "kept", "named", "words"),
    [
        ([], False, {}, "1 task of the macro average"),
        (["finance"], False, {}, "tasks of its skill alone"),
        ([], True, {}, "retention alone"),
        (["finance"], True, {"finance": "t"}, "1 task named in study.yml"),
    ],
)
def test_a_merge_with_the_base_names_the_tasks_that_were_tested(tmp_path, skills, kept, named, words):
    tables = {"t": shares(200, finance=100, s1f=90)}
    tasks = {"t": {"skills": skills}}
    if kept:
        tables["kept"], tasks["kept"] = shares(200, base=90, finance=30, s1f=60), RETENTION
    folder = build(tmp_path, tables, tasks, selection=SAME, named=named).folder
    last = [line for line in lines(summary(folder), "recovery") if line.startswith("base + finance")][-1]
    assert last.startswith(f"base + finance, {words}: ")


@pytest.mark.parametrize(("clusters", "size"), [(99, "99 clusters (inconclusive)"), (100, "100 clusters.")])
def test_recovery_on_few_clusters_is_inconclusive(tmp_path, clusters, size):
    tables = {"t": shares(200, finance=100), "kept": shares(clusters, base=90, finance=30, s1f=60)}
    study_summary = summary(build(tmp_path, tables, {"kept": RETENTION}, selection=SAME).folder)
    assert size in lines(study_summary, "recovery")[0]


def test_operators_are_compared_in_words(tmp_path):
    operators = {"task_arithmetic": {"lambda": [0.2, 0.8]}, "ties": {"density": [0.2, 0.8]}}
    groups = ("stage1-finance", "stage1-math", "stage2-finance-math")
    tails = ("ta-lambda0.2", "ta-lambda0.8", "ties-density0.2-lambda1.0", "ties-density0.8-lambda1.0")
    names = [f"{group}-{tail}" for group in groups for tail in tails]
    right = {name: 100 for name in MODELS} | {
        n: 190 if n.endswith("ta-lambda0.8") else 20 if "ta-" in n else 90 for n in names
    }
    table = {name: np.arange(200) < count for name, count in right.items()}
    study_summary = summary(build(tmp_path, {"t": table}, operators=operators, selection=SAME).folder)
    (line,) = lines(study_summary, "operators")
    assert line.startswith(
        "Task Arithmetic (λ 0.2 to 0.8) vs TIES (density 0.2 to 0.8, λ 1). Best score: higher (50.0 ["
    )
    assert " Sensitivity to hyperparameters: higher (spread over the grid 85.0 [" in line


def test_a_grid_of_gradients_and_filters_is_no_range(tmp_path):
    """They have no order, so `0.6 to [mlp 0.4, else 0.8]` would mean nothing."""
    operators = {"task_arithmetic": {"lambda": [0.2, 0.8]}, "ties": {"density": [0.2, 0.8]}}
    groups = ("stage1-finance", "stage1-math", "stage2-finance-math")
    tails = ("ta-lambda0.2", "ta-lambda0.8", "ties-density0.2-lambda1.0", "ties-density0.8-lambda1.0")
    names = [*MODELS, *(f"{group}-{tail}" for group in groups for tail in tails)]
    table = {name: np.arange(200) < 100 for name in names}
    study_summary = summary(build(tmp_path, {"t": table}, operators=operators, selection=SAME).folder)
    for name, point in study_summary.points.items():
        if "ta-lambda0.8" in name:
            point.values["lambda"] = [{"filter": "mlp", "value": 0.4}, {"value": 0.8}]
        if "ties-density0.8" in name:
            point.values["density"] = [0, 0.5, 1]
    study_summary.verdict = []
    (line,) = [one.text for one in wording.verdict_sentences(study_summary) if one.about == "operators"]
    assert line.startswith(
        "Task Arithmetic (λ 0.2, [mlp 0.4, else 0.8]) vs TIES (density 0.2, [0, 0.5, 1], λ 1). Best score: "
    )


def test_a_cell_of_several_masks_names_the_reported_one(tmp_path):
    study_summary = noisy_summary(tmp_path)
    points = [
        PointResult.model_validate(
            study_summary.points[PAIR].as_json()
            | {"operator": "dare_ties", "values": {"density": 0.5, "lambda": 1.0, "seed": seed}}
        )
        for seed in (0, 1, 2)
    ]
    study_summary.points = {f"p{k}": point for k, point in enumerate(points)}
    assert phrases.how(study_summary, "p0") == "DARE-TIES, density 0.5, λ 1, mask seed 0, the first of 3"
    study_summary.points = {"p0": points[0]}
    assert phrases.how(study_summary, "p0") == "DARE-TIES, density 0.5, λ 1"


def test_predictors_are_one_sentence(tmp_path):
    (line,) = lines(noisy_summary(tmp_path), "similarity")
    assert line.startswith(
        "Spearman's ρ with Macro-Gain over 3 combinations (too few for any to be significant): L2 distance "
    )
    assert "cosine " in line and "complementarity headroom " in line and line.count("p = ") == 3


# ---- what to ship


def advised(tmp_path, split=True, **changes):
    """A summary with numbers about what to ship put in."""
    study_summary = noisy_summary(tmp_path)
    ship = {"model": "x", "is_merge": True, "best_merge": "x", "best_single": "finance", "clusters": 100}
    ship |= {"macro": [0.5, 0.4, 0.6], "merge_over_single": [0.06, 0.02, 0.1]}
    ship |= {"retention_over_base": [-0.01, -0.02, 0.01], "ranges": {}}
    study_summary.shipped = type(study_summary.ship).model_validate(ship | changes)
    study_summary.selection.split = split
    return study_summary


SINGLE = {"model": "finance", "is_merge": False}


NUMBERS = "The selected merge is x: +6.0 [+2.0, +10.0] vs the best single model (finance)"
COST = {"retention_over_base": [-0.114, -0.2, -0.05]}
BOTH_COSTS = {"retention_over_base": [-0.1, -0.2, -0.05], "retention_over_single": [-0.2, -0.3, -0.1]}


@pytest.mark.parametrize(
    ("changes", "short", "numbers"),
    [
        ({}, "Ship x: it gains 6.0 points over your finance expert, and nothing is significantly lost.", f"{NUMBERS}, retention -1.0 [-2.0, +1.0] vs base (95 % intervals, 100 clusters: items from one source count as one)."),
        (COST, "Ship x at a cost: gains 6.0 over finance, loses 11.4 of retention.", f"{NUMBERS}, but it loses 11.4 [5.0, 20.0] points of retention vs base (95 % intervals, 100 clusters: items from one source count as one)."),
        (BOTH_COSTS, "Ship x at a cost: gains 6.0 over finance, loses 20.0 of retention.", f"{NUMBERS}, but it loses 10.0 [5.0, 20.0] points of retention vs base and 20.0 [10.0, 30.0] points of retention vs finance (95 % intervals, 100 clusters: items from one source count as one)."),
        ({"merge_over_single": [-0.12, -0.3, 0.06]}, "Keep your finance expert: no merge is clearly better; the selected merge, x, differs by -12.0 [-30.0, +6.0] points.", "The selected merge is x: -12.0 [-30.0, +6.0] vs the best"),
        (SINGLE | {"merge_over_single": [-0.1, -0.2, 0.1]}, "Keep your finance expert, the best model; the selected merge, x, differs by -10.0 [-20.0, +10.0] points.", "The selected merge is x: -10.0 [-20.0, +10.0] vs"),
        (SINGLE | {"merge_over_single": [0.1, 0.05, 0.2]}, "Keep your finance expert for now: it was selected; x is better by 10.0 points on report items.", "The selected merge is x: +10.0 ["),
        ({"clusters": 99}, "Keep your finance expert for now: 99 independent items are too few to tell whether x is better.", f"{NUMBERS}, retention -1.0 [-2.0, +1.0] vs base (95 % intervals, 99 clusters: items from one source count as one)."),
        ({"ranges": {"merge_over_single": (-0.01, 0.03, 0.1, 0.1)}}, "Keep your finance expert for now: whether x is better (+6.0 [+2.0, +10.0] points) depends on the random seed.", f'{NUMBERS}, retention -1.0 [-2.0, +1.0] vs base (95 % intervals, 100 clusters: items from one source count as one). The advice is "ship the merge" or "no merge is clearly better", depending on the random seed. To decide, raise resamples in study.yml, or the number of items.'),
        ({"retention_over_base": None}, "Ship x: it gains 6.0 points over your finance expert; retention was not measured.", f"{NUMBERS}, retention not measured (95 % intervals, 100 clusters: items from one source count as one)."),
    ],
)  # fmt: skip
def test_advice_in_words(tmp_path, changes, short, numbers):
    """The sentence for the top of the page is a part of every longer text."""
    study_summary = advised(tmp_path, **changes)
    assert advice_wording.short_advice(study_summary) == short
    assert advice_wording.advice_sentences(study_summary).startswith(f"{short} {numbers}")
    assert Sentence(
        about="ship", text=advice_wording.advice_sentences(study_summary)
    ) in wording.verdict_sentences(study_summary.model_copy(update={"verdict": []}))
    for_others = advice_wording.advice_for_point(study_summary, "x")
    assert for_others == f"{short.replace('your', 'the')} {advice_wording.advice_numbers(study_summary)}"
    other = advice_wording.advice_for_point(study_summary, "y")
    assert other == f"This point was chosen by hand. Advice of the whole study: {for_others}"


@pytest.mark.parametrize(
    ("changes", "look"),
    [
        ({}, "yes"),
        ({"split": False}, "unclear"),
        ({"retention_over_base": [-0.114, -0.2, -0.05]}, "unclear"),
        ({"merge_over_single": [0.02, -0.1, 0.1]}, "no"),
        (SINGLE | {"merge_over_single": [0, -1, 0]}, "no"),
        ({"clusters": 9}, "no"),
    ],
)  # fmt: skip
def test_the_look_of_advice(tmp_path, changes, look):
    assert advice_wording.advice_look(advised(tmp_path, **changes)) == look


def test_selection_on_the_report_items_is_a_footnote(tmp_path):
    tables = {"t": shares(200, finance=160, math=60, s1f=40, s1m=40, pair=50)}
    study_summary = summary(build(tmp_path, tables, selection=SAME).folder)
    assert study_summary.ship.model == "finance" and study_summary.ship.advice.kind is AdviceKind.NO_MERGE
    (line,) = lines(study_summary, "ship")
    assert line.startswith("Keep your finance expert, the best model") and "same items" not in line
    notes = lines(study_summary, "caution")
    assert any("selected and evaluated on the same items (optimistic), by " in note for note in notes)
    assert wording.verdict_text(study_summary).count("same items") == 1


@pytest.mark.parametrize(
    ("clusters", "text"),
    [
        ([100, 300], ""),
        (
            [99],
            "1 of 1 task has fewer than 100 independent items (clusters) to report on: scores are shown without a verdict.",
        ),
        (
            [99, 99, 100],
            "2 of 3 tasks have fewer than 100 independent items (clusters) to report on: scores are shown without a verdict.",
        ),
    ],
)
def test_tasks_with_too_few_clusters_are_counted(clusters, text):
    assert wording.too_few_clusters(clusters) == text


# ---- what the command prints


def test_the_table_has_a_row_per_combination(tmp_path):
    study_summary = noisy_summary(tmp_path)
    header, *rows = wording.overview_rows(study_summary)
    assert header[0] == "stage" and header[-1] == "effect"
    assert [row[1] for row in rows] == ["base + finance", "base + math", "finance + math"]
    words = [
        wording.short_effect_word(verdict.effect(study_summary, name), row.stage)
        for name, row in study_summary.combinations.items()
    ]
    assert sorted(row[-1] for row in rows) == sorted(words)


def test_sentences_are_wrapped_only_where_a_width_is_given(tmp_path):
    study_summary = noisy_summary(tmp_path)
    whole, wrapped = wording.verdict_text(study_summary), wording.verdict_text(study_summary, 72)
    assert whole.index("Cluster: an item, or several items from one source.") < whole.index(" clusters")
    assert max(map(len, wrapped.splitlines())) <= 72 < max(map(len, whole.splitlines()))  # tables, too
    sentences, as_given = (text.split("\n\n", 1)[1] for text in (wrapped, whole))
    assert sentences.split() == as_given.split()


def test_sentences_are_written_for_a_summary_of_format_1(tmp_path):
    study_summary = noisy_summary(tmp_path)
    stored = study_summary.verdict
    for row in study_summary.combinations.values():
        row.effect = None
    study_summary.ship.advice = None
    assert (
        wording.verdict_sentences(study_summary) == stored
        and wording.verdict_sentences(study_summary) is not stored
    )


def test_a_task_without_its_demonstrations_is_named(tmp_path):
    tables = {"t": shares(200, base=20, finance=60, math=40, pair=120)}
    for name, info in {"with": {}, "without": {"is_zero_shot": True}}.items():
        read = summary(build(tmp_path / name, tables, {"t": info}, selection=SAME).folder)
        notes = [line for line in lines(read, "caution") if "without demonstrations" in line]
        assert notes == (
            ["Evaluated without demonstrations (0-shot), because there are no train rows: t."] if info else []
        )


def test_a_difference_that_no_item_changes_has_no_interval():
    assert phrases.difference((0.0, 0.0, 0.0)) == "0.0 points in every resample"
    assert phrases.difference((0.012, -0.004, 0.028), "points of the objective") == (
        "+1.2 [-0.4, +2.8] points of the objective"
    )
