"""The name, values and recipe of a point in index.json must agree."""

import pytest

from mergekit_finance.share.provenance import is_consistent
from mergekit_finance.study.points import Point, SourceModel, point_entry
from mergekit_finance.study.schema import PointEntry

VALUES = {
    "task_arithmetic": {"lambda": 0.4},
    "ties": {"density": 0.2, "lambda": 1.0},
    "dare_ties": {"density": 0.2, "lambda": 1.0, "seed": 3},
}


def stored(operator: str, stage: int = 2) -> dict:
    """Return a point as index.json has it."""
    sources = (SourceModel("finance", "./finance"), SourceModel("math", "./math"))[:stage]
    names = tuple(source.name for source in sources)
    point = Point(stage, names, operator, VALUES[operator], sources, "./base", "paper")
    return point_entry(point, "folder").as_json()


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("operator", VALUES)
def test_a_point_as_a_study_writes_it_is_consistent(operator: str, stage: int) -> None:
    assert is_consistent(PointEntry.model_validate(stored(operator, stage)))


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p["values"].update({"lambda": 0.9}),
        lambda p: p["values"].update(seed=4),
        lambda p: p["recipe"]["parameters"].update(seed=4),
        lambda p: p["recipe"].update(slices=[1]),
        lambda p: p["recipe"].pop("parameters"),
        lambda p: p["recipe"]["models"][0]["parameters"].pop("mask_id"),
        lambda p: p.update(operator="unknown"),
        lambda p: p.update(constituents=["./math"]),
        lambda p: p.update(name="another"),
    ],
)
def test_a_point_that_was_changed_is_not_consistent(change) -> None:
    point = stored("dare_ties")
    change(point)
    assert not is_consistent(PointEntry.model_validate(point))
