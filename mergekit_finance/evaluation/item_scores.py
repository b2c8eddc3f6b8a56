"""Take the scores of single items, on which the statistics are computed, from lm-eval's samples."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mergekit_finance.evaluation.columns import Columns

if TYPE_CHECKING:
    from pydantic import JsonValue

    from mergekit_finance.files import Json
    from mergekit_finance.hosts.lm_eval import Sample


def item_scores(samples: "Mapping[str, Sequence[Sample]]", values: Mapping[str, float]) -> dict[str, Columns]:
    """Return the columns of every task, tasks in alphabetical order.

    Args:
        samples: by task.
        values: the values of tasks that cannot be computed again from scores of items.
    """
    return {task: _columns(rows, values.get(task)) for task, rows in sorted(samples.items())}


def _columns(samples: "Sequence[Sample]", value: float | None) -> Columns:
    rows = sorted(samples, key=_position)
    ids = document_ids([(row["doc"], str(row["doc_hash"])) for row in rows])
    return Columns(
        items=[item for item, _ in ids],
        clusters=[cluster for _, cluster in ids],
        score=[_score(row, value is not None) for row in rows],
        correct=[_correct(row) for row in rows],
        options=[_options(row) for row in rows],
        value=value,
    )


def document_ids(documents: "Sequence[tuple[Json, str]]") -> list[tuple[str, str]]:
    """Return the item id and the cluster id of every document.

    Args:
        documents: each with its hash, which is its id if it has none. An item without a `cluster_id` is a
            cluster of its own.
    """
    ids = []
    for document, doc_hash in documents:
        fields = document if isinstance(document, Mapping) else {}
        item = str(fields.get("item_id", doc_hash))
        ids.append((item, str(fields.get("cluster_id", item))))
    return ids


def _score(row: "Sample", is_whole: bool) -> "JsonValue":
    """Return an item's score as the file has it: tuples become lists.

    Of a metric over all items at once, texts (of the reference and the answer) are left out: None.
    """
    score = _plain_score(row)
    return None if is_whole and '"' in json.dumps(score) else score


def _plain_score(row: "Sample") -> "JsonValue":
    score: JsonValue = json.loads(json.dumps(row["score"], default=_plain))
    return score


def _plain(value: object) -> "Json":
    """Return numpy's numbers and arrays as Python's: F1 has (gold, choice), the Brier score probabilities."""
    as_list = getattr(value, "tolist", None)
    if not callable(as_list):
        raise TypeError(f"a score has a {type(value).__name__}")
    plain: Json = as_list()
    return plain


def _position(row: "Sample") -> int:
    position = row["doc_id"]
    assert isinstance(position, int)
    return position


def _options(row: "Sample") -> int:
    requests = row["arguments"]
    count = len(requests) if isinstance(requests, Sequence) else 0
    return count if count > 1 else 0


def _correct(row: "Sample") -> float:
    correct = row.get("correct")
    return float(correct) if isinstance(correct, int | float) else _is_right(_plain_score(row))


def _is_right(score: "Json") -> float:
    """Return whether an item is right, for tasks without `correct`: 1.0 or 0.0.

    It is right if its score is one, or a pair of equal class numbers: (gold, choice), as F1 has them.
    """
    if isinstance(score, list):
        return float(len(score) == 2 and all(isinstance(c, int) for c in score) and score[0] == score[1])
    return float(isinstance(score, int | float) and score >= 1)
