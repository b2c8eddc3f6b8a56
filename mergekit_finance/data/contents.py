"""The rows of a mirror by subset, whether their prompts have demonstrations, and the tasks that use them."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from mergekit_finance.data.adapters import Row
from mergekit_finance.data.mirror import Mirror
from mergekit_finance.data.rows import Place, rows_of
from mergekit_finance.errors import DataError
from mergekit_finance.files import Json, load_yaml
from mergekit_finance.plugins.manager import task_folders


class Contents(NamedTuple):
    """The rows of one subset.

    Attributes:
        subset: Its name; "default" if the dataset has no subsets.
        rows: The number of test rows.
        is_zero_shot: Whether prompts have no demonstrations because train rows are missing.
        tasks: The tasks that use these rows, sorted.
    """

    subset: str
    rows: int
    is_zero_shot: bool
    tasks: list[str]


def contents(mirror: Mirror, dataset: str) -> list[Contents]:
    """Return the subsets of a dataset that a mirror has test rows of. All their rows are read.

    Raises:
        DataError: a file cannot be read, or a row is wrong.
    """
    subsets = [subset for name, subset in tasks_by_rows() if name == dataset] or ["default"]
    return [_contents(mirror, dataset, subset) for subset in subsets if mirror.has_test_rows(dataset, subset)]


def _contents(mirror: Mirror, dataset: str, subset: str) -> Contents:
    entries = mirror.entries(dataset, subset)
    places = [Place(mirror.path(name), name, e.adapter, e.split) for name, e in entries.items()]
    if absent := [place.shown for place in places if not place.path.is_file()]:
        raise DataError(f"{absent[0]}: missing")
    rows = [row for row in rows_of(places) if row.get("subset", subset) == subset]
    return Contents(subset, len(rows), lacks_demonstrations(rows), tasks_by_rows().get((dataset, subset), []))


def lacks_demonstrations(rows: Sequence[Row]) -> bool:
    """Return whether rows that should have demonstrations have none, and no complete prompt of their own."""
    return bool(rows) and all("shots" in row and not row["shots"] and not row.get("input") for row in rows)


@cache
def tasks_by_rows() -> dict[tuple[str, str], list[str]]:
    """Return the tasks of this package and of plugins by the dataset and subset of their rows."""
    tasks: dict[tuple[str, str], list[str]] = {}
    for path in sorted(path for folder in task_folders() for path in folder.rglob("*.yaml")):
        task = _task(path)
        rows = task.get("dataset_kwargs")
        if isinstance(rows, dict) and "fb_dataset" in rows:
            key = (str(rows["fb_dataset"]), str(rows.get("fb_subset", "default")))
            tasks.setdefault(key, []).append(str(task.get("task")))
    return tasks


def _task(path: Path) -> dict[str, Json]:
    """Return a task's YAML; lm-eval's tag `!function` is read as text, so that nothing is imported."""
    content = load_yaml(path.read_text(encoding="utf-8").replace("!function ", ""), str(path))
    return dict(content) if isinstance(content, dict) else {}
