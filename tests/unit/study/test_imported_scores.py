"""Which scores of an imported model are possible, by the task's aggregation and the base's items."""

import pytest

from mergekit_finance.study.imported_scores import impossible_metric
from mergekit_finance.study.schema import Columns, TaskInfo


def columns(score, correct=1.0, options=0):
    """One item."""
    return Columns(items=["a"], clusters=["a"], score=[score], correct=[correct], options=[options])


@pytest.mark.parametrize(
    ("aggregation", "of_base", "options", "possible", "impossible"),
    [
        ("mean", 0.5, 0, (0, 1, 0.25, True), (7, -1, "1", [1], None)),
        ("mean", 40.0, 0, (30.0, 0), (41.0, -1)),  # a task of lm-eval's own, in another unit
        ("weighted_f1", [1, 0], 3, ([1, 2], [1, -1]), ([0, 0], [1, 3], [1, "q"], [1], 1, [5, "q"])),
        ("weighted_f1", ["up", "down"], 0, (["up", "up"],), (["up", "q"], ["down", "up"])),
        ("macro_f1_two_class", [-1, 0], 2, ([-1, 1],), ([-1, 2], [0, 0])),
        ("headline_mean_f1", [4, 1, 0], 2, ([4, 1, 1],), ([5, 1, 1], [4, 1, 2], [4, 1])),
        ("corpus_entity_f1", [0, 1, 2], 0, ([2, 3, 2],), ([3, 3, 2], [0, 0, 3], [1, 0, 2], [0.5, 1, 2])),
        ("matthews_corrcoef", [1, 0], 0, ([0, 1],), (1, [1, "q"], {"a": 1})),
    ],
)
def test_scores_that_a_task_can_give(aggregation, of_base, options, possible, impossible):
    info, base = TaskInfo(kind="tasks", dataset="d", aggregation=aggregation), columns(of_base, 1.0, options)
    assert [impossible_metric(info, base, columns(score)) for score in possible] == [""] * len(possible)
    assert {impossible_metric(info, base, columns(score)) for score in impossible} == {"score"}


def test_right_answers_are_shares():
    info, base = TaskInfo(kind="tasks", dataset="d", aggregation="mean"), columns(1)
    assert [impossible_metric(info, base, columns(1, correct)) for correct in (0.0, 1.0, 7.0)] == [
        "",
        "",
        "correct",
    ]
