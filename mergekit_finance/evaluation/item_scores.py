"""Take the scores of single items, on which the statistics are computed, from lm-eval's samples."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mergekit_finance.evaluation.columns import Columns

if TYPE_CHECKING:
    from mergekit_finance.files import Json
    from mergekit_finance.hosts.lm_eval import Sample


def item_scores(samples: "Mapping[str, Sequence[Sample]]") -> dict[str, Columns]:
    """Return the columns of every task, tasks in alphabetical order."""
    return {task: _columns(rows) for task, rows in sorted(samples.items())}


def _columns(samples: "Sequence[Sample]") -> Columns:
    rows = sorted(samples, key=_position)
    docs = [row["doc"] if isinstance(row["doc"], Mapping) else {} for row in rows]
    items = [str(doc.get("item_id", row["doc_hash"])) for doc, row in zip(docs, rows, strict=True)]
    return Columns(
        items=[*items],
        clusters=[str(doc.get("cluster_id", item)) for doc, item in zip(docs, items, strict=True)],
        score=[json.loads(json.dumps(row["score"])) for row in rows],  # tuples become lists, as in the file
        correct=[_correct(row) for row in rows],
        options=[_options(row) for row in rows],
    )


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
    return float(correct) if isinstance(correct, int | float) else _is_right(row["score"])


def _is_right(score: "Json") -> float:
    """Return whether an item is right, for tasks without `correct`: 1.0 if its score is one, else 0.0."""
    return float(isinstance(score, int | float) and score >= 1)
