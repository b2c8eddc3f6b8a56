"""Take the scores of single items, on which the statistics are computed, from lm-eval's samples."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from mergekit_finance.files import Json
    from mergekit_finance.hosts.lm_eval import Sample


class Columns(TypedDict):
    """The items of one task, one entry an item in each list, in the order of the task's rows.

    Attributes:
        items: item ids.
        clusters: cluster ids; items of one cluster are not independent.
        score: the item's value of the metric `score`, which the task's aggregation turns into its score.
        correct: 1.0 for a right answer, else 0.0.
        options: how many options there were to choose from; 0 if the answer is generated.
    """

    items: list[str]
    clusters: list[str]
    score: "list[Json]"
    correct: list[float]
    options: list[int]


def item_scores(samples: "Mapping[str, Sequence[Sample]]") -> dict[str, Columns]:
    """Return the columns of every task, tasks in alphabetical order."""
    return {task: _columns(rows) for task, rows in sorted(samples.items())}


def _columns(rows: "Sequence[Sample]") -> Columns:
    columns = Columns(items=[], clusters=[], score=[], correct=[], options=[])
    for row in sorted(rows, key=_position):
        doc = row["doc"] if isinstance(row["doc"], Mapping) else {}
        item = str(doc.get("item_id", row["doc_hash"]))
        requests, score, correct = row["arguments"], row["score"], row.get("correct")
        count = len(requests) if isinstance(requests, Sequence) else 0
        columns["items"].append(item)
        columns["clusters"].append(str(doc.get("cluster_id", item)))
        columns["score"].append(score)
        columns["options"].append(count if count > 1 else 0)
        columns["correct"].append(float(correct) if isinstance(correct, int | float) else _is_right(score))
    return columns


def _position(row: "Sample") -> int:
    position = row["doc_id"]
    assert isinstance(position, int)
    return position


def _is_right(score: "Json") -> float:
    """Return whether an item is right, for tasks without `correct`: 1.0 if its score is one, else 0.0."""
    return float(isinstance(score, int | float) and score >= 1)
