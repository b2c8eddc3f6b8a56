"""Datasets of one or two files on the local server, and raw rows to adopt."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.commands import HANG
from mergekit_finance.data import registry
from mergekit_finance.data.adopt import adopt
from mergekit_finance.data.mirror import Mirror
from mergekit_finance.plugins.api import Dataset

from .local_server import Site

COMMIT = "a" * 40
LATER = "b" * 40
GATE = "https://huggingface.co/datasets/owner/closed"
GATED = (401, {"X-Error-Code": "GatedRepo"})
# The files of a mirror during and after the download of `one_file_dataset`.
PARTIAL = {".incoming/d/rows.json.partial", ".incoming/d/rows.json.partial.json"}
WHOLE = {"MANIFEST.json", "d/rows.json"}
# The command with a registry read from a file in place of the built-in one.
PROGRAM = """
import sys
from mergekit_finance.data import registry
parsed = registry.parse_datasets(open(sys.argv.pop(1), encoding="utf-8").read(), "test.yml")
registry.datasets = lambda: {dataset.name: dataset for dataset in parsed}
from mergekit_finance.cli import main
main()
"""
Entries = Mapping[str, Any]


def rows(count: int = 300, word: str = "up") -> bytes:
    """Return rows of about a kilobyte each, in the layout of AdaptLLM/finance-tasks, one per line."""
    row = {"options": ["down", "up"], "gold_index": 1}
    lines = [
        json.dumps({"id": i, "input": f"{i} {word} " * 100 + "\nAnswer:", **row}) + "\n" for i in range(count)
    ]
    return "".join(lines).encode()


def entry(
    name: str,
    files: Iterable[Mapping[str, Any]],
    *,
    gate: str | None = None,
    kind: str = "url",
    repo: str = "owner/open",
    revision: str = COMMIT,
    **fields: Any,
) -> dict[str, Any]:
    """Return a registry entry with the source `main`; `files` are fields of `plugins.api.File`."""
    listed = [{"adapter": "adaptllm_choice", **file} for file in files]
    source = {"kind": kind, "repo": repo, "revision": revision, "gate": gate, "files": listed}
    about = {"title": name, "homepage": "h", "license": "MIT", "citation": "c", "text_may_be_shared": True}
    return {name: {**about, "sources": {"main": source}, **fields}}


def hub_entry(name: str, file: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a registry entry of one file on the Hub, at the branch `main`."""
    return entry(name, [file], kind="hub", **{"revision": "main", **fields})


def as_yaml(entries: Iterable[Entries]) -> str:
    """Return entries as the text of a registry file."""
    return yaml.safe_dump({k: v for each in entries for k, v in each.items()}, sort_keys=False)


def parse_entries(*entries: Entries) -> list[Dataset]:
    """Return the datasets of registry entries."""
    return registry.parse_datasets(as_yaml(entries), "test.yml")


def serve_file(
    site: Site, path: str = "rows.json", body: bytes | None = None, commit: str = COMMIT, **fields: Any
) -> dict[str, Any]:
    """Put a file on the server; return its fields of `plugins.api.File`."""
    address = f"/{commit}/{path}"
    site.files[address] = rows() if body is None else body
    return {"path": path, "url": site.url + address, **fields}


def one_file_dataset(
    site: Site,
    path: str = "rows.json",
    body: bytes | None = None,
    *,
    revision: str = COMMIT,
    gate: str | None = None,
    **fields: Any,
) -> Dataset:
    """Return a dataset `d` of one file on the server. With another revision its URL is not pinned."""
    file = serve_file(site, path, body, **fields)
    return parse_entries(entry("d", [file], revision=revision, gate=gate))[0]


def adoptable_dataset(site: Site, **fields: Any) -> Dataset:
    """Return a dataset that can be pulled as rows.json and adopted as mine.json."""
    mine = [{"path": "mine.json", "adapter": "adaptllm_choice"}]
    return parse_entries(entry("d", [serve_file(site, **fields)], adopts=mine))[0]


def adopt_rows(dataset: Dataset, mirror: Mirror, folder: Path) -> None:
    """Write five rows to FOLDER/mine.json and adopt them."""
    folder.mkdir()
    (folder / "mine.json").write_bytes(rows(5))
    adopt(folder, mirror, [dataset], lambda subset: None)


def register_only(monkeypatch: pytest.MonkeyPatch, *datasets: Dataset) -> None:
    """Replace the registry by these datasets."""
    monkeypatch.setattr(registry, "datasets", lambda: {d.name: d for d in datasets})


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def files_in(mirror: Mirror) -> set[str]:
    """Return all files below a mirror, except its lock."""
    paths = {p.relative_to(mirror.folder).as_posix() for p in mirror.folder.rglob("*") if p.is_file()}
    return paths - {".lock"}


def nothing_listed(mirror: Mirror) -> bool:
    """Return whether a mirror has no file under its final name and none in its manifest."""
    return files_in(mirror) <= PARTIAL and not Mirror(mirror.folder).files


def write_jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write records, one JSON object per line; creates the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")


def adopt_into(target: Path, folder: Path) -> list[str]:
    """Adopt all raw files of registered datasets below `folder` into the mirror `target`."""
    return adopt(folder, Mirror(target), registry.datasets().values(), lambda subset: None)


def start_command(
    tmp_path: Path, entries: Iterable[Entries], *args: object, env: Mapping[str, str] | None = None
) -> "subprocess.Popen[str]":
    """Start our command, with these registry entries, in a process of its own."""
    path = tmp_path / f"registry-{time.monotonic_ns()}.yml"
    path.write_text(as_yaml(entries), encoding="utf-8")
    home = {"HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN_PATH": str(tmp_path / "none")}
    clean = {k: v for k, v in os.environ.items() if k not in ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_CACHE")}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path), *map(str, args)],
        env={**clean, **home, **(env or {})}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < end, "the condition never held"
        time.sleep(0.02)
