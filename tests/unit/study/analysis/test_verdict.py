"""Effects, advice, and borderline verdicts."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.synthetic import MODELS, PAIR, POINTS, RETENTION, SAME, build, noisy, shares

from mergekit_finance.study.analysis import verdict
from mergekit_finance.study.analysis.summary import answer, summary
from mergekit_finance.study.schema import AdviceKind, EffectKind, TaskSet

UP, DOWN = [0.2, 0.1, 0.3], [-0.2, -0.3, -0.1]


def task_set(**changes):
    """A set of tasks whose effect is ABOVE_ALL, with changes."""
    content = {
        "tasks": ["t"], "score": UP, "og": UP, "best_constituent": "finance", "over_best_constituent": UP,
        "over_base": UP, "over_best_raw": UP, "gain": UP, "clusters": 100,
        "holm_over_all_models": 0.01, "holm_below_mean": 0.01,
    }  # fmt: skip
    return TaskSet.model_validate(content | changes)


# ---- one combination


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, EffectKind.ABOVE_ALL),
        ({"over_base": [0.1, -0.1, 0.2]}, EffectKind.NOT_ABOVE_BASE),
        ({"over_best_raw": DOWN}, EffectKind.NOT_ABOVE_EXPERTS),
        ({"holm_over_all_models": 0.05}, EffectKind.NOT_AFTER_CORRECTION),
        ({"over_best_constituent": [0.1, 0.0, 0.2]}, EffectKind.NO_EFFECT),
        ({"over_best_constituent": [0.1, 0.0, 0.2], "over_base": DOWN}, EffectKind.BELOW_BASE),
        ({"over_best_constituent": DOWN}, EffectKind.BELOW_BEST),
        ({"over_best_constituent": DOWN, "gain": DOWN}, EffectKind.INTERFERENCE),
        ({"over_best_constituent": DOWN, "gain": DOWN, "holm_below_mean": 0.05}, EffectKind.BELOW_BEST),
        ({"clusters": 99}, EffectKind.TOO_FEW_ITEMS),
    ],
)
def test_the_kind_of_an_effect(changes, kind):
    assert verdict.effect_of(task_set(**changes), "own").kind is kind


def test_beating_one_constituent_alone_is_not_a_success(tmp_path):
    """Above both experts and not above the base: neither complementarity nor emergence."""
    tables = {"t": shares(200, base=118, finance=60, math=40, pair=120)}
    study_summary = summary(build(tmp_path, tables, selection=SAME).folder)
    assert verdict.effect(study_summary, "finance+math").kind is EffectKind.NOT_ABOVE_BASE


def test_an_effect_is_about_the_named_tasks_else_the_skills_else_the_macro(tmp_path):
    tables = {"a": shares(200, finance=60, math=40, pair=120), "b": shares(200, finance=160, pair=100)}
    skills = {"a": {"skills": ["finance"]}, "b": {"skills": ["japanese"]}}
    cases = [({}, skills, "own", ["a"]), ({"finance+math": "b"}, skills, "named", ["b"])]
    cases.append(({}, {task: {"skills": ["japanese"]} for task in "ab"}, "macro", ["a", "b"]))
    for k, (named_in_study, tasks, name, expected) in enumerate(cases):
        study_summary = summary(
            build(tmp_path / str(k), tables, tasks, selection=SAME, named=named_in_study).folder
        )
        assert verdict.effect(study_summary, "finance+math").tested == name
        assert study_summary.selected[PAIR].sets[name].tasks == expected


def test_a_summary_of_format_1_is_decided_by_its_numbers(tmp_path):
    tables = {"t": shares(200, base=20, finance=60, math=40, pair=120)}
    study_summary = summary(build(tmp_path, tables, selection=SAME).folder)
    stored = study_summary.combinations["finance+math"].effect, study_summary.ship.advice
    assert None not in stored
    study_summary.combinations["finance+math"].effect = study_summary.ship.advice = None
    assert (verdict.effect(study_summary, "finance+math"), verdict.advice(study_summary)) == stored


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0.1, 0.1, 0.1, 0.1], EffectKind.ABOVE_ALL),
        ([0.1, 0.1, 0.1, -0.1], EffectKind.ABOVE_ALL),  # three of four
        ([0.1, 0.1, -0.1, -0.1], EffectKind.NOT_REPEATED),
        ([0.1, -0.1], EffectKind.NOT_REPEATED),
    ],
)
def test_an_effect_stands_if_three_quarters_of_the_training_seeds_agree(tmp_path, values, kind):
    tables = {"t": shares(200, base=20, finance=60, math=40, pair=120)}
    first = summary(build(tmp_path, tables, selection=SAME).folder)
    studies = [first.model_copy(deep=True) for _ in values]
    for study, value in zip(studies, values, strict=True):
        row = study.selected[PAIR].sets["own"]
        row.over_best_constituent = row.over_best_constituent._replace(value=value)
    assert verdict.over_seeds(studies, "finance+math").kind is kind


def test_no_clear_effect_needs_no_agreement_of_seeds(tmp_path):
    first = summary(noisy(tmp_path).folder)
    assert verdict.over_seeds([first, first], "finance+math") == verdict.effect(first, "finance+math")


# ---- borderline


def nearly_above(tmp_path, data):
    """A pair whose lower bound over its best constituent is 0 but for the error of 1000 resamples."""
    rng = np.random.default_rng(data)
    sizes = rng.integers(1, 9, size=160)  # uneven clusters: the replicates are nearly continuous
    clusters = np.repeat([f"c{k:03}" for k in range(160)], sizes)
    expert = np.repeat(rng.random(160) < 0.5, sizes).astype(float)
    other = np.repeat(rng.random(160), sizes)
    scores = {name: np.zeros(len(clusters)) for name in (*MODELS, *POINTS)}
    scores["finance"] = expert
    scores[PAIR] = np.where(expert == 0, other < 0.125, other >= 0.025).astype(float)
    tasks = {"t": {"clusters": clusters.tolist()}}
    return build(tmp_path, {"t": scores}, tasks, selection=SAME, resamples=1000)


@pytest.mark.parametrize("data", [9, 10])
def test_a_verdict_that_the_seed_can_change_is_borderline_under_every_seed(tmp_path, data):
    results = nearly_above(tmp_path, data)
    studies = [results.study.model_copy(update={"seed": seed}) for seed in range(8)]
    answers = [answer(replace(results, study=study), results.similarity) for study in studies]
    rows = [study_summary.selected[PAIR].sets["own"] for study_summary in answers]
    # the interval alone gives both, by the seed
    assert {row.over_best_constituent.side for row in rows} == {"above", "unclear"}
    effects = [verdict.effect(study_summary, "finance+math") for study_summary in answers]
    assert {effect.kind for effect in effects} == {EffectKind.BORDERLINE}
    assert all(EffectKind.NO_EFFECT in effect.between for effect in effects)


def test_a_verdict_that_no_seed_can_change_is_not_borderline():
    ranges = {"over_best_constituent": (0.05, 0.15, 0.25, 0.35)}
    assert verdict.effect_of(task_set(ranges=ranges), "own").kind is EffectKind.ABOVE_ALL


def test_a_bound_within_its_error_of_0_makes_a_borderline_effect():
    ranges = {"over_best_constituent": (-0.001, 0.004, 0.25, 0.35)}
    effect = verdict.effect_of(task_set(over_best_constituent=[0.2, 0.002, 0.3], ranges=ranges), "own")
    assert effect.kind is EffectKind.BORDERLINE
    assert effect.between == [EffectKind.ABOVE_ALL, EffectKind.NO_EFFECT]


def test_a_bound_that_decides_nothing_makes_nothing_borderline():
    """Gain is just above 0; an effect above the best constituent does not depend on it."""
    ranges = {"gain": (-0.001, 0.004, 0.25, 0.35)}
    assert (
        verdict.effect_of(task_set(gain=[0.2, 0.002, 0.3], ranges=ranges), "own").kind is EffectKind.ABOVE_ALL
    )


def test_a_p_within_its_error_of_alpha_makes_a_borderline_effect():
    ranges = {"holm_over_all_models": (0.041, 0.052)}
    for p in (0.046, 0.051):
        effect = verdict.effect_of(task_set(holm_over_all_models=p, ranges=ranges), "own")
        assert effect.kind is EffectKind.BORDERLINE
        assert set(effect.between) == {EffectKind.ABOVE_ALL, EffectKind.NOT_AFTER_CORRECTION}


def test_stored_ranges_hold_the_ends_that_other_seeds_give(tmp_path):
    """300 resamples: the ends of 40 seeds, against the range of the first."""
    tables = {"t": shares(200, base=20, finance=60, math=40, pair=100)}
    rows = []
    for seed in range(40):
        changes = {"selection": SAME, "resamples": 300, "seed": seed, "stages": [2]}
        results = build(tmp_path / str(seed), tables, **changes)
        rows.append(summary(results.folder).selected[PAIR].sets["own"])
    low, high, *_ = rows[0].ranges["over_best_constituent"]
    lows = [row.over_best_constituent.low for row in rows]
    assert len(set(lows)) > 5 and np.mean([low <= value <= high for value in lows]) >= 0.95


# ---- what to ship


STORED = []


def _summary_of_a_gain(tmp_path):
    """A summary, computed once, that a test may change."""
    if not STORED:
        tables = {"t": shares(200, finance=100, pair=150), "kept": shares(200, base=150, pair=150)}
        STORED.append(summary(build(tmp_path, tables, {"kept": RETENTION}, selection=SAME).folder))
    return STORED[0].model_copy(deep=True)


def advised(tmp_path, split=True, **changes):
    """A study's summary with numbers about what to ship put in; nothing decided."""
    study_summary = _summary_of_a_gain(tmp_path)
    ship = {"model": PAIR, "is_merge": True, "best_merge": PAIR, "best_single": "finance", "clusters": 100}
    ship |= {"macro": UP, "merge_over_single": UP, "retention_over_base": [0.0, -0.1, 0.1], "ranges": {}}
    study_summary.shipped = type(study_summary.ship).model_validate(ship | changes)
    study_summary.selection.split = split
    return study_summary


SINGLE = {"model": "finance", "is_merge": False}


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, AdviceKind.SHIP),
        ({"retention_over_base": DOWN}, AdviceKind.SHIP_AT_A_COST),
        ({"retention_over_single": DOWN}, AdviceKind.SHIP_AT_A_COST),
        ({"merge_over_single": [0.1, 0.0, 0.2]}, AdviceKind.NOT_CLEAR),
        ({"merge_over_single": DOWN}, AdviceKind.NOT_CLEAR),
        (SINGLE | {"merge_over_single": [-0.1, -0.2, 0.1]}, AdviceKind.NO_MERGE),
        (SINGLE | {"merge_over_single": UP}, AdviceKind.CONTRADICTION),
        (SINGLE | {"merge_over_single": UP, "split": False}, AdviceKind.NO_MERGE),
        ({"clusters": 99}, AdviceKind.TOO_FEW_ITEMS),
        ({"ranges": {"merge_over_single": (-0.01, 0.2, 0.3, 0.3)}}, AdviceKind.BORDERLINE),
        ({"retention_over_base": [-0.1, -0.2, -0.01], "ranges": {"retention_over_base": (-0.2, -0.2, -0.02, 0.01)}}, AdviceKind.BORDERLINE),
    ],
)  # fmt: skip
def test_the_kind_of_advice(tmp_path, changes, kind):
    assert verdict.advice(advised(tmp_path, **changes)).kind is kind


def test_a_merge_that_loses_retention_is_never_a_plain_ship(tmp_path):
    """Measured: better in its tasks than any model, and 40 points of retention lost."""
    tables = {"t": shares(200, base=20, finance=60, math=40, pair=160), "kept": shares(200, base=150, finance=140, math=140, pair=70)}  # fmt: skip
    study_summary = summary(build(tmp_path, tables, {"kept": RETENTION}, selection=SAME).folder)
    assert (
        study_summary.ship.model == PAIR and verdict.advice(study_summary).kind is AdviceKind.SHIP_AT_A_COST
    )


def test_advice_on_the_items_that_selected_is_marked_optimistic(tmp_path):
    assert verdict.advice(advised(tmp_path / "a", split=False)).optimistic
    assert not verdict.advice(advised(tmp_path / "b", split=True)).optimistic
