"""Write a similarity result as a JSON file, and render it as a short table."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from mergekit_finance.errors import ModelError, counted
from mergekit_finance.files import write_output
from mergekit_finance.models.facts import short_name
from mergekit_finance.similarity.measured import Similarity


def check_target(path: Path) -> None:
    """Check, before weights are read, that `write_similarity` can write to a path.

    Raises:
        ModelError: the nearest existing parent is not a folder, or is not writable.
    """
    nearest = next(p for p in path.absolute().parents if p.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        problem = "cannot be written to" if nearest.is_dir() else "is not a directory"
        raise ModelError(f"-o {path}: {nearest} {problem}. Choose another file.", id="output.not-writable")


def write_similarity(similarity: Similarity, path: Path) -> None:
    """Write a result as JSON, atomically. A pipe or a device is not replaced but written to.

    Raises:
        ModelError: the file cannot be written.
        ValueError: a number is NaN or infinite.
    """
    text = json.dumps(similarity.as_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        write_output(path, text)
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be written ({error.strerror or error}). Choose another file.",
            id="output.not-writable",
        ) from error


def similarity_rows(similarity: Similarity) -> list[list[str]]:
    """Return the header, then one row for each pair of models, over all tensors."""
    total, base = similarity.total, similarity.base
    labels = _labels([base, *similarity.models])
    vectors = {(p.a, p.b): p for p in total.task_vector_pairs}
    rows = [["pair", "L2", "cosine", "equal", "cosine of tau", "sign conflicts", "|tau|/|base|"]]
    for pair in total.pairs:
        vector_pair = vectors.get((pair.a, pair.b))
        relative_norm = total.task_vectors[pair.b].relative_norm if pair.a == base else None
        rows.append(
            [
                f"{labels[pair.a]} - {labels[pair.b]}",
                _number(pair.l2, ".6g"),
                _number(pair.cosine, ".6f"),
                _number(pair.equal, ".2%"),
                _number(vector_pair.cosine if vector_pair else None, ".4f"),
                _number(vector_pair.sign_conflicts if vector_pair else None, ".2%"),
                _number(relative_norm, ".4g"),
            ]
        )
    return rows


def similarity_table(similarity: Similarity) -> str:
    """Return how much was compared, and the rows as a table."""
    rows = similarity_rows(similarity)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    return "\n".join([similarity_head(similarity), *lines])


def similarity_head(similarity: Similarity) -> str:
    """Return how much was compared."""
    total = similarity.total
    return f"{counted(total.elements, 'element')} in {counted(len(similarity.tensors), 'tensor')}"


def _labels(names: Sequence[str]) -> dict[str, str]:
    """Return short names, unless two models share one."""
    short = [short_name(name) for name in names]
    return dict(zip(names, short if len(set(short)) == len(short) else names, strict=True))


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
