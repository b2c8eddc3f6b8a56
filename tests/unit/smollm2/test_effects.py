"""Differences of merges from their constituents and the base, on cases computed by hand."""

import numpy as np
import pytest
from helpers.smollm2_scores import columns, info, right, study
from helpers.smollm2_study import data, effects, points, settings

SETTING = ("task_arithmetic", (("lambda", 0.4),))
OTHER = ("task_arithmetic", (("lambda", 0.2),))
ARC, MATH, FPB = "finance_bench_retention_arc", "finance_bench_probe_m", "finance_bench_fpb"


def small(answers, tasks=(MATH,), chosen=("math",), setting=SETTING):
    """Scores of models: name or combination -> right answers on `tasks`."""
    scores = data.Scores(settings=dict.fromkeys(chosen, setting), tasks={task: info(task) for task in tasks})
    for name, of_tasks in answers.items():
        model = data.Model(name)
        if isinstance(name, tuple):
            *combination, cell = name
            model = data.Model(
                "-".join([*combination, str(cell[1])]), tuple(combination), cell[0], dict(cell[1])
            )
        scores.add(model, dict(zip(tasks, map(right, of_tasks), strict=True)))
    scores.selecting = {task: np.zeros(len(scores.columns[task]["base"].items), dtype=bool) for task in tasks}
    return scores


def test_a_difference_is_the_mean_over_the_merges_of_a_kind():
    scores = small(
        {
            "base": [[0, 0, 0, 0]], "math_a": [[1, 1, 0, 0]], "math_b": [[1, 0, 0, 0]],
            ("math_a", SETTING): [[1, 1, 1, 0]], ("math_b", SETTING): [[1, 1, 1, 1]], ("math_a", OTHER): [[0, 0, 0, 0]],
        }
    )  # fmt: skip
    effect = effects.effects(scores)["math"]
    assert effect.tasks == [MATH] and effect.clusters == 4 and len(effect.members) == 2
    assert effect.score == 0.875 and effect.base == 0.0
    over_expert, over_base = effect.differences["math"], effect.differences["base"]
    assert over_expert.of_items.value == pytest.approx((0.25 + 0.75) / 2)
    assert over_expert.by_set == pytest.approx({"a": 0.25, "b": 0.75}) and over_expert.repeats
    assert over_expert.without_one == pytest.approx((0.25, 0.75))
    assert over_base.of_experts.value == pytest.approx(0.875)
    # contributions of the four items: 0, 1/2, 1, 1/2 (each / 4): the sum is reached where all three signs are +
    assert over_expert.p == pytest.approx(1 / 8, abs=0.02)
    assert effect.p == effect.p_constituents == max(over_expert.p, over_base.p) == effect.p_holm


def test_an_effect_needs_all_comparisons_both_seeds_and_holms_correction():
    rng = np.random.default_rng(0)
    weak, strong = ([list(rng.random(60) < share)] for share in (0.2, 0.9))
    good = {
        "base": weak,
        "math_a": weak,
        "math_b": weak,
        ("math_a", SETTING): strong,
        ("math_b", SETTING): strong,
    }
    assert effects.effects(small(good))["math"].word == "above all"
    assert effects.effects(small(good | {"base": strong}))["math"].word == "no clear effect"
    not_repeated = good | {("math_b", SETTING): weak}
    assert effects.effects(small(not_repeated))["math"].word == "no clear effect"
    worse = good | {("math_a", SETTING): weak, ("math_b", SETTING): weak, "math_a": strong, "math_b": strong}
    assert effects.effects(small(worse))["math"].word == "below a constituent"


def test_pairs_are_compared_with_each_of_their_own_experts():
    names = ("math_a", "math_b", "finance_a", "finance_b")
    members = [(f, m) for f in ("finance_a", "finance_b") for m in ("math_a", "math_b")]
    answers = {"base": [[0, 0]], **dict.fromkeys(names, [[0, 1]])}
    answers |= {"finance_b": [[1, 1]], **{(*member, SETTING): [[1, 1]] for member in members}}
    effect = effects.effects(small(answers, chosen=("finance+math",)))["finance+math"]
    values = {role: one.of_items.value for role, one in effect.differences.items()}
    assert values == pytest.approx({"finance": 0.25, "math": 0.5, "base": 1.0})
    assert set(effect.constituents) == {"finance", "math"}
    closest = effects.closest_model(small(answers, chosen=("finance+math",)), effect)
    assert closest.name == "finance_b" and closest.difference.of_items.value == 0.0 and closest.p == 1.0


def test_bits_per_byte_have_the_sign_turned():
    task = "smollm2_text_math"
    scores = data.Scores(settings={"math": SETTING}, tasks={task: info(task)})
    for model, likelihood in ((data.Model("base"), -80.0), (data.Model("math_a"), -60.0)):
        scores.add(model, {task: columns([[likelihood * np.log(2), 40]] * 4, [0.0] * 4)})
    merged = data.Model("m", ("math_a",), *SETTING[:1], dict(SETTING[1]))
    scores.add(merged, {task: columns([[-40 * np.log(2), 40]] * 4, [0.0] * 4)})
    scores.selecting = {task: np.zeros(4, dtype=bool)}
    effect = effects.effects(scores, in_bits=True)["math"]
    assert effect.score == pytest.approx(-1.0) and effect.base == pytest.approx(-2.0)
    assert effect.differences["math"].of_items.value == pytest.approx(0.5)


def test_gain_and_og_of_single_merges():
    scores = small({"base": [[1, 0, 0, 0]], "math_a": [[1, 1, 1, 0]], ("math_a", SETTING): [[1, 1, 0, 0]]})
    found = effects.outcomes(scores, "math", [MATH])
    assert found["macro_gain"] == {("math_a",): pytest.approx(0.5 - (0.25 + 0.75) / 2)}
    assert found["macro_og"] == {("math_a",): pytest.approx(0.5 - 0.75)}


def test_flips_are_means_over_merges():
    scores = small(
        {
            "base": [[1, 1, 0, 0]], "math_a": [[0, 0, 1, 1]], "math_b": [[0, 0, 0, 0]],
            ("math_a", SETTING): [[1, 0, 1, 0]], ("math_b", SETTING): [[0, 0, 0, 1]],
        }
    )  # fmt: skip
    members = effects.members_at_settings(scores, "math")
    against_base = effects.flip_share(scores, members, [MATH], base=True)
    assert (against_base.gained, against_base.lost, against_base.items) == (0.25, 0.375, 4)
    against_expert = effects.flip_share(scores, members, [MATH], base=False)
    assert (against_expert.gained, against_expert.lost) == (0.25, 0.125)


def test_the_setting_is_chosen_on_the_selection_items_only():
    answers = {
        "base": [[0] * 10], "math_a": [[0] * 10],
        ("math_a", SETTING): [[1, 0, 0] + [1] * 7], ("math_a", OTHER): [[1, 1, 0] + [0] * 7],
    }  # fmt: skip
    scores = small(answers)
    scores.selecting = {MATH: np.array([True] * 3 + [False] * 7)}
    assert settings.choose(scores) == {"math": OTHER}
    scores.selecting = {MATH: np.array([False] * 3 + [True] * 7)}
    assert settings.choose(scores) == {"math": SETTING}


def test_mask_seeds_are_averaged_before_a_setting_is_chosen():
    def dare(seed):
        return "dare_ties", (("density", 0.5), ("lambda", 1.0), ("seed", seed))

    answers = {"base": [[0] * 4], ("math_a", SETTING): [[1, 1, 0, 0]]}
    answers |= {("math_a", dare(0)): [[1, 1, 1, 0]], ("math_a", dare(1)): [[0, 0, 0, 0]]}
    scores = small(answers)
    scores.selecting = {MATH: np.ones(4, dtype=bool)}
    assert settings.choose(scores) == {"math": SETTING}


def test_tasks_of_a_kind_need_its_skills_only():
    scores = study(items=4, kinds="a")
    assert settings.named_tasks(scores, "math") == [MATH, ARC]
    assert settings.named_tasks(scores, "finance+math") == [FPB, "finance_bench_convfinqa", MATH]
    assert len(settings.named_tasks(scores, "finance+math+japanese")) == 5
    assert settings.text_tasks(scores, "finance") == ["smollm2_text_finance", "smollm2_text_general"]
    assert settings.text_tasks(scores, "finance+math") == ["smollm2_text_finance", "smollm2_text_math"]


def test_merges_of_a_kind_and_representatives():
    family = points.Family(
        "b", {f"{d}_{k}": f"{d}{k}" for k in "abc" for d in ("finance", "math", "japanese")}
    )
    counts = {kind: len(family.members(kind)) for kind in points.KINDS}
    assert list(counts.values()) == [3, 3, 3, 9, 9, 9, 27]
    point = family.grid([SETTING], ["finance+math"])[0]
    assert (
        point.combination == ("finance_a", "math_a") and point.name == "stage2-finance_a-math_a-ta-lambda0.4"
    )
    assert points.Family("b", {"math_a": "m"}).grid([SETTING]) == [
        points.Family("b", {"math_a": "m"}).point(("math_a",), SETTING)
    ]
    assert len({p.name for p in family.grid([*points.FIRST, *points.MORE])}) == 15 * 7


def test_an_effect_of_merges_of_one_seed_is_not_repeated():
    weak, strong = [[0, 0, 0, 1] * 15], [[1, 1, 1, 0] * 15]
    scores = small({"base": weak, "math_a": weak, ("math_a", SETTING): strong})
    effect = effects.effects(scores)["math"]
    assert effect.word == "not repeated" and effect.p_holm < 0.05
