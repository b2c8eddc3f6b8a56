"""The items that a plan of a study counts, and its file."""

from mergekit_finance.study.cost import Plan
from mergekit_finance.study.schema.stored import PlanFile


def test_a_limit_bounds_the_items_of_every_task_separately():
    plan = Plan({1: 2}, 3, 0, {"a": 10, "b": 4}, {"a": 10, "b": 4}, None, 0, 1)
    assert [plan.items_at(limit) for limit in (1, 5, 20)] == [2, 9, 14]


def test_a_stored_plan_reads_back_as_written():
    content = {"study": {"base": "b"}, "budget": 2.5, "asked_limit": None, "limit": 7}
    assert PlanFile.model_validate(content).as_json() == content
