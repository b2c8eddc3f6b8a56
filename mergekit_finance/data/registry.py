"""The dataset registry: sources with pinned revisions, checksums, license, citation, gate.

The built-in entries are in registry.yml beside this module; plugins add theirs with the hook
`finance_datasets`.
"""

from functools import cache
from pathlib import Path

import yaml
from pydantic import ValidationError

from mergekit_finance.errors import DataError, did_you_mean
from mergekit_finance.plugins.api import Dataset
from mergekit_finance.plugins.manager import datasets


def parse(text: str, origin: str) -> list[Dataset]:
    """Registry entries from YAML text; `origin` names it in errors."""
    found = []
    for name, fields in (yaml.safe_load(text) or {}).items():
        try:
            found.append(Dataset(name=name, **fields))
        except (ValidationError, TypeError) as fault:
            raise DataError(f"{origin}: dataset {name!r}: {_first(fault)}") from fault
    return found


def _first(fault: Exception) -> str:
    if not isinstance(fault, ValidationError):
        return str(fault)
    error = fault.errors()[0]
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"


@cache
def builtin_datasets() -> tuple[Dataset, ...]:
    path = Path(__file__).with_name("registry.yml")
    return tuple(parse(path.read_text(encoding="utf-8"), path.name))


def dataset(name: str) -> Dataset:
    """One dataset by name."""
    known = datasets()
    if name not in known:
        raise DataError(f"unknown dataset {name!r}. {did_you_mean(name, known)}")
    return known[name]


def as_table() -> list[dict[str, str]]:
    """Return name, title, license and sources of every dataset, for `mergekit-finance data list`."""
    return [
        {"dataset": d.name, "title": d.title, "license": d.license, "sources": ", ".join(d.sources)}
        for d in datasets().values()
    ]
