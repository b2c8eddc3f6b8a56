"""Fetching files from the Hub or a pinned URL into a mirror."""

import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from mergekit_finance.data.mirror import VARIABLE, Mirror
from mergekit_finance.data.registry import Dataset, File, Source
from mergekit_finance.errors import DataError


def pull(known: Dataset, mirror: Mirror, source: str | None = None) -> list[str]:
    """Fetch one dataset's files from its named or first source. Returns their names in the mirror."""
    if not known.sources:
        raise DataError(f"{known.name}: the registry knows no source to pull it from")
    name = source or next(iter(known.sources))
    chosen = known.sources[name]
    names = []
    with tempfile.TemporaryDirectory() as scratch:
        for file in chosen.files:
            path = _fetch(known, chosen, file, Path(scratch))
            names.append(mirror.put(path, known, file, origin=chosen.address(file)))
    mirror.save()
    return names


def _fetch(known: Dataset, source: Source, file: File, scratch: Path) -> Path:
    try:
        return _from_hub(source, file) if source.kind == "hub" else _from_url(source, file, scratch)
    except Exception as fault:
        raise DataError(_explain(known, source, file, fault)) from fault


def _from_hub(source: Source, file: File) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(source.repo, file.path, repo_type="dataset", revision=source.revision))


def _from_url(source: Source, file: File, scratch: Path) -> Path:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        raise OSError("HF_HUB_OFFLINE is set")
    target = scratch / Path(file.path).name
    with urllib.request.urlopen(source.address(file), timeout=60) as answer:
        target.write_bytes(answer.read())
    return target


def _explain(known: Dataset, source: Source, file: File, fault: Exception) -> str:
    from huggingface_hub.errors import GatedRepoError

    address = source.address(file)
    if source.gate and isinstance(fault, GatedRepoError):
        return f"{known.name}: gated; accept the terms at {source.gate}, run `hf auth login`, then try again"
    gate = f" It is gated: accept the terms at {source.gate} and run `hf auth login`." if source.gate else ""
    reason = str(fault).strip().splitlines()[0] if str(fault).strip() else type(fault).__name__
    if isinstance(fault, urllib.error.HTTPError):
        reason = f"HTTP {fault.code}"
    return (
        f"{known.name}: could not fetch {address} ({reason[:160]}).{gate} "
        f"Offline? Set {VARIABLE} to a mirror, "
        'or use the sample rows: --metadata \'{"source": "sample"}\''
    )
