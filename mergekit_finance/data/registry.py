"""The dataset registry: every dataset with its sources, pinned revisions, checksums, license and citation.

The built-in entries are in registry.yml beside this module; plugins add theirs with the hook
`finance_datasets`.
"""

from functools import cache
from pathlib import Path

from pydantic import ValidationError

from mergekit_finance.errors import DataError, RecipeError, did_you_mean, first_problem
from mergekit_finance.files import load_yaml
from mergekit_finance.plugins.api import Dataset
from mergekit_finance.plugins.manager import datasets


def parse_datasets(text: str, origin: str) -> list[Dataset]:
    """Parse registry entries: a YAML mapping of dataset names to the fields of `plugins.api.Dataset`.

    Args:
        text: The YAML text.
        origin: The name of its file in error messages.

    Raises:
        DataError: the text is not YAML, or an entry is wrong.
    """
    try:
        entries = load_yaml(text, origin) or {}
    except RecipeError as error:
        raise DataError(error.message, id=error.id) from error
    if not isinstance(entries, dict):
        raise DataError(f"{origin}: must be a mapping of dataset names to their fields.")
    parsed = []
    for name, fields in entries.items():
        if not isinstance(fields, dict):
            raise DataError(f"{origin}: dataset {name!r}: must be a mapping of fields.")
        try:
            parsed.append(Dataset.model_validate({"name": name, **fields}))
        except ValidationError as error:
            raise DataError(f"{origin}: dataset {name!r}: {first_problem(error)}") from error
    return parsed


@cache
def builtin_datasets() -> tuple[Dataset, ...]:
    """Return the datasets of registry.yml."""
    path = Path(__file__).with_name("registry.yml")
    return tuple(parse_datasets(path.read_text(encoding="utf-8"), path.name))


def dataset(name: str) -> Dataset:
    """Return a dataset by name. Raises DataError if there is none of this name."""
    by_name = datasets()
    if name not in by_name:
        raise DataError(f"unknown dataset {name!r}. {did_you_mean(name, by_name)}")
    return by_name[name]
