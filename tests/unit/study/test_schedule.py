"""Which model a process tries next, beside others on the same folder."""

from mergekit_finance.study.schedule import MissingModel, ranked

MISSING = [MissingModel(*one) for one in [("base", "base"), ("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b"), ("b3", "b")]]  # fmt: skip


def order(taken=(), open_group=""):
    return [one.name for one in ranked(MISSING, dict(taken), open_group)]


def test_a_process_alone_takes_models_in_the_order_of_the_study():
    assert order() == ["base", "a1", "a2", "b1", "b2", "b3"]


def test_the_group_that_is_open_comes_first():
    assert order(open_group="b") == ["b1", "b2", "b3", "base", "a1", "a2"]


def test_a_group_that_nobody_has_begun_comes_before_one_that_somebody_has():
    assert order({"base": 0, "a1": 0}) == ["b1", "b2", "b3", "a2", "a1", "base"][:4] + ["base", "a1"]


def test_of_groups_that_are_begun_the_one_with_most_left_is_shared():
    assert order({"base": 0, "a1": 0, "b1": 0})[:3] == ["b2", "b3", "a2"]


def test_claimed_models_come_last_and_those_that_killed_their_owners_at_the_very_end():
    assert order({"base": 2, "b3": 0}, open_group="a")[-2:] == ["b3", "base"]
