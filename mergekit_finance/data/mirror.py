"""A mirror: a folder of dataset files with a MANIFEST.json that says what each is and its sha256."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from mergekit_finance.errors import DataError
from mergekit_finance.plugins.api import Dataset, File

MANIFEST = "MANIFEST.json"
VARIABLE = "FINANCE_BENCH_DATA"
REMEDY = "`mergekit-finance data adopt FOLDER --mirror DIR` or `mergekit-finance data pull` makes a mirror"


class Entry(BaseModel):
    """One file of a mirror. `verified` is false where no checksum was known beforehand.

    `source` names the registry's source that it was pulled from; it is empty for adopted files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    subset: str
    split: str
    adapter: str
    sha256: str
    size: int
    origin: str
    verified: bool
    source: str = ""


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


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A path beside `target` that becomes it when the block ends well, and is deleted otherwise."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


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
        text = _Manifest(files=dict(sorted(self.files.items()))).model_dump_json(indent=2)
        with _whole(self.folder / MANIFEST) as partial:
            partial.write_text(text + "\n", encoding="utf-8")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from changing the mirror; what they changed before is read anew."""
        from huggingface_hub.utils import WeakFileLock

        self.folder.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(self.folder / ".lock"):
            self.files = self._read()
            yield

    def path(self, name: str) -> Path:
        """Where a file of the manifest lies; a name that leads outside the mirror is refused."""
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise DataError(f"{self.folder / MANIFEST}: file name {name!r} leads outside the mirror")
        return path

    def verify(self, name: str, progress: Callable[[int], object] = lambda n: None) -> Path:
        """The path of one file, after its sha256 was compared with the manifest's."""
        path, entry = self.path(name), self.files[name]
        if not path.is_file():
            raise DataError(f"{path}: missing, though {MANIFEST} lists it. {_again(entry)}")
        if path.stat().st_size != entry.size or sha256(path, progress) != entry.sha256:
            raise DataError(f"{path}: altered, its sha256 is not the one in {MANIFEST}. {_again(entry)}")
        return path

    def of(self, dataset: str, subset: str) -> dict[str, Entry]:
        """The files that hold one subset's rows."""
        wanted = (subset, "")  # a file with subset "" holds them all
        return {n: e for n, e in self.files.items() if e.dataset == dataset and e.subset in wanted}

    def put(
        self, path: Path, dataset: Dataset, file: File, origin: str, *, source: str = "", move: bool = False
    ) -> str:
        """Copy (or move) a file in, under its final name only when whole, and list it."""
        name = f"{dataset.name}/{file.path}"
        found = sha256(path)
        if file.sha256 not in ("unverified", found):
            raise DataError(f"{path}: its sha256 is {found[:12]}…, the registry expects {file.sha256[:12]}…")
        target = self.path(name)
        with _whole(target) as partial:
            (shutil.move if move else shutil.copyfile)(path, partial)
        self.files[name] = Entry(
            dataset=dataset.name,
            subset=file.subset,
            split=file.split,
            adapter=file.adapter,
            sha256=found,
            size=target.stat().st_size,
            origin=origin,
            verified=file.sha256 != "unverified",
            source=source,
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
    if not found:
        return []
    with mirror.locked():
        for _dataset, pairs in found:
            mirror.forget(_dataset.name, {file.subset for file, _ in pairs})
        names = [mirror.put(path, d, file, origin=path.name) for d, pairs in found for file, path in pairs]
        mirror.save()
    return names


def _matches(folder: Path, dataset: Dataset) -> list[tuple[File, Path]]:
    """The files of the first layout of each (subset, split) that is there."""
    chosen: dict[tuple[str, str], list[tuple[File, Path]]] = {}
    for file in dataset.adopts:
        if pairs := _found(folder, file):
            chosen.setdefault((file.subset, file.split), pairs)
    return [pair for pairs in chosen.values() for pair in pairs]


def _found(folder: Path, file: File) -> list[tuple[File, Path]]:
    """A pattern with a star is all the files beside the first that fits; a plain one is that first."""
    paths = sorted(folder.rglob(file.path)) or sorted(_beside(folder, file.path))
    if "*" not in file.path:
        return [(file, path) for path in paths[:1]]
    parent = file.path.rpartition("/")[0]
    return [
        (file.model_copy(update={"path": f"{parent}/{path.name}" if parent else path.name}), path)
        for path in paths
        if path.parent == paths[0].parent
    ]


def _beside(folder: Path, path: str) -> list[Path]:
    """`fpb/test.jsonl` when the folder named is `fpb` itself."""
    candidate = folder.resolve().parent / path
    return [candidate] if candidate.is_file() and candidate.is_relative_to(folder.resolve()) else []
