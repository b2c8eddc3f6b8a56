"""A study's combinations, points and recipes, and the models that a chain merges."""

from itertools import combinations

import pytest
import yaml
from helpers import study as helpers

from mergekit_finance.recipe import load as recipe
from mergekit_finance.study import config
from mergekit_finance.study import worker as work
from mergekit_finance.study.points import SourceModel, groups, points, start, starts

GRIDS = {
    "task_arithmetic": {"lambda": [0.4, 1.0]},
    "ties": {"density": [0.2, 0.6]},
    "dare_ties": {"density": 0.5, "seeds": [0, 1]},
}


def study(experts=3, **changes):
    names = [f"e{k}" for k in range(experts)]
    changes = {"stages": [s for s in (1, 2, 3) if s <= experts], "operators": GRIDS} | changes
    return config.parse_study(helpers.content(".", tuple(names), **changes), "study.yml")


def points_of(study_):
    return [p for stage in study_.stages for p in points(study_, stage)]


@pytest.mark.parametrize(("experts", "counts"), [(1, [1]), (2, [2, 1]), (3, [3, 3, 1]), (4, [4, 6, 4])])
def test_stages_are_all_combinations_of_their_size(experts, counts):
    parsed = study(experts)
    for stage, count in zip(parsed.stages, counts, strict=True):
        distinct = dict.fromkeys(p.combination for p in points(parsed, stage))
        assert list(distinct) == list(combinations(parsed.experts, stage)) and len(distinct) == count
    assert len(points_of(parsed)) == sum(counts) * 6


def test_point_names_hold_all_hyperparameters_and_are_unique():
    names = [p.name for p in points_of(study(4))]
    assert len(set(names)) == len(names)
    assert "stage2-e0-e2-dare-ties-density0.5-lambda1.0-seed1" in names
    assert "stage1-e3-ta-lambda0.4" in names


def test_stage_one_counts_the_base_as_a_constituent():
    parsed = study(2)
    assert points(parsed, 1)[0].constituents == ("./base", "./e0")
    assert points(parsed, 2)[0].constituents == ("./e0", "./e1")


@pytest.mark.parametrize("semantics", ["paper", "mergekit"])
def test_every_recipe_passes_the_recipe_checks(tiny, tmp_path, semantics):
    parsed = config.parse_study(
        helpers.content(tiny, helpers.EXPERTS, stages=[1, 2, 3], operators=GRIDS, semantics=semantics),
        "study.yml",
    )
    for point in points_of(parsed):
        path = tmp_path / f"{point.name}.yml"
        path.write_text(yaml.safe_dump(point.recipe(), sort_keys=False))
        checked = recipe.load_recipe(path)
        assert checked.base == parsed.base and list(checked.experts) == [s.reference for s in point.sources]


def test_a_chain_merges_the_selected_models_of_the_stage_before():
    parsed = study(3, chain="best")
    pairs = {
        pair: SourceModel("-".join(pair), f"./selected/{'-'.join(pair)}")
        for pair in combinations(parsed.experts, 2)
    }
    point = points(parsed, 3, pairs)[0]
    assert [s.name for s in point.sources] == ["e0-e1", "e0-e2", "e1-e2"]
    assert point.constituents == tuple(s.reference for s in pairs.values())
    assert point.base == "./base" and point.combination == ("e0", "e1", "e2")


def test_one_session_sweeps_a_combination_and_operator():
    sweeps = groups(points_of(study(2)))
    assert len(sweeps) == 9 and all(len({p.group for p in group}) == 1 for group in sweeps.values())


def test_jobs_are_models_then_the_points_group_by_group():
    parsed = study(2, operators={"task_arithmetic": {}})
    jobs = work.jobs(["a", "b"], groups(points(parsed, 1)))
    assert [job.reference for job in jobs] == ["a", "b"] + [""] * 20
    assert [job.group for job in jobs[2:]] == sorted(job.group for job in jobs[2:])
    assert len({job.point.name for job in jobs[2:]}) == 20 and len({job.group for job in jobs[2:]}) == 2


def test_a_start_point_is_the_files_or_the_middle_of_the_grid():
    parsed = study(
        2, operators={"ties": {"density": [0.2, 0.4, 0.6], "start": {"density": 0.2}}, "task_arithmetic": {}}
    )
    assert start(parsed, "ties") == {"density": 0.2, "lambda": 1.0}
    assert start(parsed, "task_arithmetic") == {"lambda": 0.6}
    assert len(list(starts(parsed))) == 2 * 3


@pytest.mark.parametrize("operator", GRIDS)
def test_the_order_of_experts_changes_no_byte_of_a_merge(tiny, operator):
    """Paper semantics; a mask belongs to its expert's name, not to its place."""
    from mergekit_finance.merging.session import MergeSession

    merged = []
    for experts in (("finance", "math", "japanese"), ("japanese", "finance", "math")):
        grid = {operator: GRIDS[operator]}
        parsed = config.parse_study(helpers.content(tiny, experts, stages=[3], operators=grid), "study.yml")
        with MergeSession.open(points(parsed, 3)[1].recipe()) as session:
            merged.append({name: t.clone() for name, t in session.model.named_parameters()})
    assert all(tensor.equal(merged[1][name]) for name, tensor in merged[0].items())
