"""The dataset registry: sources with pinned revisions, checksums, licence, citation, gate.

The built-in entries are in registry.yml beside this module; plugins add theirs with the hook
`finance_datasets`.
"""

from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mergekit_finance.errors import DataError, did_you_mean


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class File(_Model):
    """One file of a source.

    `path` is its name inside the source and, below the dataset's folder, inside a mirror. `adapter`
    turns its records into rows (adapters.py). `subset` and `split` say which rows they are; a file
    with several subsets leaves `subset` empty and its adapter sorts them.
    """

    path: str
    adapter: str
    subset: str = "default"
    split: str = "test"
    sha256: str = "unverified"
    url: str | None = None


class Source(_Model):
    """One place where a dataset can be had."""

    kind: Literal["hub", "url"]
    repo: str
    revision: str
    files: tuple[File, ...]
    gate: str | None = None

    def address(self, file: File) -> str:
        """The file's address, with its pinned revision."""
        if file.url:
            return file.url
        if self.kind == "hub":
            return f"hf://datasets/{self.repo}@{self.revision}/{file.path}"
        return f"https://raw.githubusercontent.com/{self.repo}/{self.revision}/{file.path}"


class Dataset(_Model):
    """What is known of one dataset. `text_may_be_shared` governs reports and shared results."""

    name: str
    title: str
    homepage: str
    licence: str
    citation: str
    text_may_be_shared: bool
    sources: dict[str, Source] = Field(default_factory=dict)
    # Raw files that people have already: file name patterns, searched below the adopted folder.
    adopts: tuple[File, ...] = ()


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


def datasets() -> dict[str, Dataset]:
    """Every plugin's datasets by name; the first of a name wins."""
    from mergekit_finance.plugins.manager import manager

    found: dict[str, Dataset] = {}
    for dataset in manager().collect("finance_datasets"):
        found.setdefault(dataset.name, dataset)
    return found


def dataset(name: str) -> Dataset:
    """One dataset by name."""
    known = datasets()
    if name not in known:
        raise DataError(f"unknown dataset {name!r}. {did_you_mean(name, known)}")
    return known[name]


def as_table() -> list[dict[str, Any]]:
    """Name, licence and sources of every dataset, for `mergekit-finance data list`."""
    return [
        {"dataset": d.name, "title": d.title, "licence": d.licence, "sources": ", ".join(d.sources)}
        for d in datasets().values()
    ]
