"""A mirror: a folder of dataset files with a MANIFEST.json that says what each is and its sha256."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from mergekit_finance.data.registry import Dataset, File
from mergekit_finance.errors import DataError

MANIFEST = "MANIFEST.json"
VARIABLE = "FINANCE_BENCH_DATA"
REMEDY = "`mergekit-finance data adopt FOLDER --mirror DIR` or `mergekit-finance data pull` makes a mirror"


class Entry(BaseModel):
    """One file of a mirror. `verified` is false where no checksum was known beforehand."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    subset: str
    split: str
    adapter: str
    sha256: str
    size: int
    origin: str
    verified: bool


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    files: dict[str, Entry] = {}


def default_folder() -> Path:
    """The cache that `data pull` fills when no mirror is named."""
    from huggingface_hub.constants import HF_HOME

    return Path(HF_HOME) / "mergekit_finance"


def sha256(path: Path, progress: Callable[[int], object] = lambda n: None) -> str:
    """The file's sha256, read in blocks; `progress` is told the bytes of each."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            progress(len(block))
    return digest.hexdigest()


class Mirror:
    """A mirror at `folder`; an empty or missing folder is an empty mirror."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.files: dict[str, Entry] = self._read()

    def _read(self) -> dict[str, Entry]:
        path = self.folder / MANIFEST
        if not path.exists():
            return {}
        try:
            return _Manifest.model_validate_json(path.read_text(encoding="utf-8")).files
        except (ValidationError, UnicodeDecodeError) as fault:
            raise DataError(f"{path}: not a mirror's manifest. {REMEDY}") from fault

    @classmethod
    def existing(cls, folder: Path | str) -> "Mirror":
        """The mirror at `folder`, which must be one."""
        if not (Path(folder) / MANIFEST).is_file():
            raise DataError(f"{folder}: no {MANIFEST} there, so it is not a mirror. {REMEDY}")
        return cls(folder)

    def save(self) -> None:
        """Write the manifest whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = _Manifest(files=dict(sorted(self.files.items()))).model_dump_json(indent=2)
        temporary = self.folder / f".{MANIFEST}.{os.getpid()}"
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(self.folder / MANIFEST)

    def path(self, name: str) -> Path:
        """Where a file of the manifest lies; a name that leads outside the mirror is refused."""
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise DataError(f"{self.folder / MANIFEST}: file name {name!r} leads outside the mirror")
        return path

    def verify(self, name: str) -> Path:
        """The path of one file, after its sha256 was compared with the manifest's."""
        path, entry = self.path(name), self.files[name]
        if not path.is_file():
            raise DataError(f"{path}: missing, though {MANIFEST} lists it. {_again(entry)}")
        if path.stat().st_size != entry.size or sha256(path) != entry.sha256:
            raise DataError(f"{path}: altered, its sha256 is not the one in {MANIFEST}. {_again(entry)}")
        return path

    def of(self, dataset: str, subset: str) -> dict[str, Entry]:
        """The files that hold one subset's rows."""
        wanted = (subset, "")  # a file with subset "" holds them all
        return {n: e for n, e in self.files.items() if e.dataset == dataset and e.subset in wanted}

    def put(self, source: Path, dataset: Dataset, file: File, origin: str, *, move: bool = False) -> str:
        """Copy (or move) a file in, under its final name only when whole, and list it."""
        name = f"{dataset.name}/{file.path}"
        found = sha256(source)
        if file.sha256 not in ("unverified", found):
            raise DataError(
                f"{source}: its sha256 is {found[:12]}…, the registry expects {file.sha256[:12]}…"
            )
        target = self.path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        (shutil.move if move else shutil.copyfile)(source, partial)
        partial.replace(target)
        self.files[name] = Entry(
            dataset=dataset.name,
            subset=file.subset,
            split=file.split,
            adapter=file.adapter,
            sha256=found,
            size=target.stat().st_size,
            origin=origin,
            verified=file.sha256 != "unverified",
        )
        return name

    def forget(self, dataset: str, subsets: Iterable[str]) -> None:
        """Drop what the manifest lists of these subsets: newly adopted files replace it."""
        gone = [n for subset in subsets for n in self.of(dataset, subset)]
        self.files = {n: e for n, e in self.files.items() if n not in gone}


def _again(entry: Entry) -> str:
    return f"Make it again: `mergekit-finance data adopt` or `data pull {entry.dataset}`"


def adopt(
    folder: Path, mirror: Mirror, datasets: Iterable[Dataset], progress: Callable[[str], object]
) -> list[str]:
    """Find raw files below `folder`, check every row, copy them into the mirror. Returns their names."""
    from mergekit_finance.data.loader import rows_of

    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found = [(dataset, pairs) for dataset in datasets if (pairs := _matches(folder, dataset))]
    for _dataset, pairs in found:  # all rows are read before the first byte is written
        for subset in sorted({file.subset for file, _ in pairs}):
            progress(f"{_dataset.name} {subset}".strip())
            rows_of([(path, str(path), f.adapter, f.split) for f, path in pairs if f.subset == subset])
    for _dataset, pairs in found:
        mirror.forget(_dataset.name, {file.subset for file, _ in pairs})
    names = [
        mirror.put(path, dataset, file, origin=path.name) for dataset, pairs in found for file, path in pairs
    ]
    if names:
        mirror.save()
    return names


def _matches(folder: Path, dataset: Dataset) -> list[tuple[File, Path]]:
    """The first layout of each (subset, split) that is there; `folder` may be the dataset's own."""
    chosen: dict[tuple[str, str], tuple[File, Path]] = {}
    for file in dataset.adopts:
        paths = sorted(folder.rglob(file.path)) or sorted(_beside(folder, file.path))
        if paths:
            chosen.setdefault((file.subset, file.split), (file, paths[0]))
    return list(chosen.values())


def _beside(folder: Path, path: str) -> list[Path]:
    """`fpb/test.jsonl` when the folder named is `fpb` itself."""
    candidate = folder.resolve().parent / path
    return [candidate] if candidate.is_file() and candidate.is_relative_to(folder.resolve()) else []
