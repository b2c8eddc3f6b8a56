"""A mirror: a folder of dataset files with a MANIFEST.json that lists each file and its SHA-256."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from mergekit_finance.errors import DataError
from mergekit_finance.files import atomic_path, atomic_write, is_folder, read_json, sha256_file
from mergekit_finance.plugins.api import Dataset, File

MANIFEST = "MANIFEST.json"
VARIABLE = "FINANCE_BENCH_DATA"
UNVERIFIED = "unverified"  # the registry's value if a file's checksum is not fixed
REMEDY = (
    "Make a mirror with `mergekit-finance data adopt FOLDER --mirror DIR` or `mergekit-finance data pull`."
)


class MirrorFile(BaseModel):
    """One file of a mirror.

    Attributes:
        dataset, subset, split: Which rows it holds; an empty `subset` means all subsets of the dataset.
        adapter: The adapter that reads it.
        sha256, size: Of the file when it was added; `size` in bytes.
        origin: The URL or file name that it came from.
        verified: Whether its checksum equals the one in the registry.
        source: The name of the registry's source that it was pulled from; empty for adopted files.
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
    files: dict[str, MirrorFile] = {}


def default_folder() -> Path:
    """Return the cache folder, which `data pull` fills when no mirror is named."""
    # Imported here to keep --help fast: huggingface_hub takes 0.2 s.
    from huggingface_hub.constants import HF_HOME

    return Path(HF_HOME) / "mergekit_finance"


class Mirror:
    """The mirror in `folder`; an empty or missing folder is an empty mirror.

    Attributes:
        folder: The mirror's folder.
        files: The manifest's entries by the file's path below the folder.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.files: dict[str, MirrorFile] = self._read()

    def _read(self) -> dict[str, MirrorFile]:
        path = self.folder / MANIFEST
        if not path.exists():
            return {}
        try:
            files = _Manifest.model_validate(read_json(path, links=True)).files
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: not the manifest of a mirror. {REMEDY}") from error
        for name in files:
            if not all(map(is_folder, name.split("/"))) or not name.isprintable():
                raise DataError(f"{path}: {name!r:.80} is not the path of a file in the mirror. {REMEDY}")
        return files

    @classmethod
    def existing(cls, folder: Path | str) -> "Mirror":
        """Open a mirror. Raises DataError if there is none in `folder`."""
        if not (Path(folder) / MANIFEST).is_file():
            raise DataError(f"{folder}: not a mirror, it has no {MANIFEST}. {REMEDY}")
        return cls(folder)

    def save(self) -> None:
        """Write the manifest atomically."""
        manifest = _Manifest(files=dict(sorted(self.files.items())))
        atomic_write(self.folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the mirror against changes by other processes, and read the manifest again."""
        from huggingface_hub.utils import WeakFileLock  # see the note in default_folder

        self.folder.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(self.folder / ".lock"):
            self.files = self._read()
            yield

    def path(self, name: str) -> Path:
        """Return the path of a file of the manifest. Raises DataError if it is outside the mirror."""
        try:
            path = (self.folder / name).resolve()
            inside = path.is_relative_to(self.folder.resolve())
            path.is_file()
            if path.is_symlink():  # which Python 3.13 returns where earlier ones raise RuntimeError
                raise OSError("links in a circle")
        except (OSError, RuntimeError) as error:  # links in a circle, a path that is too long
            raise DataError(f"{self.folder / MANIFEST}: {name!r:.80} cannot be read ({error})") from error
        if not inside:
            raise DataError(f"{self.folder / MANIFEST}: file name {name!r} is outside the mirror")
        return path

    def verify(self, name: str, progress: Callable[[int], object] | None = None) -> Path:
        """Compare a file's checksum with the manifest's and return the file's path.

        Args:
            name: The file's name in the manifest.
            progress: Called with the number of bytes of each block read.

        Raises:
            DataError: the file is missing or altered.
        """
        path, entry = self.path(name), self.files[name]
        remedy = f"Get it again: `mergekit-finance data pull {entry.dataset}` or `data adopt`."
        if not path.is_file():
            raise DataError(f"{path}: missing, but {MANIFEST} lists it. {remedy}")
        if path.stat().st_size != entry.size or sha256_file(path, progress) != entry.sha256:
            raise DataError(f"{path}: altered, its SHA-256 is not the one in {MANIFEST}. {remedy}")
        return path

    def entries(self, dataset: str, subset: str) -> dict[str, MirrorFile]:
        """Return the files that hold rows of a subset, by name."""
        return {n: e for n, e in self.files.items() if e.dataset == dataset and e.subset in (subset, "")}

    def has_test_rows(self, dataset: str, subset: str) -> bool:
        """Return whether the manifest lists test rows of a subset."""
        return any(entry.split == "test" for entry in self.entries(dataset, subset).values())

    def add(
        self, path: Path, dataset: Dataset, file: File, origin: str, *, source: str = "", move: bool = False
    ) -> str:
        """Copy a file into the mirror and list it; the manifest is not saved yet.

        Args:
            path: The file to copy, or to move if `move`.
            dataset, file: What it is, from the registry.
            origin: The URL or file name that it came from.
            source: The name of the source that it was pulled from; empty if it was adopted.
            move: Move it instead of copying.

        Returns:
            The file's name in the manifest.

        Raises:
            DataError: its checksum is not the registry's.
        """
        name = f"{dataset.name}/{file.path}"
        sha256 = sha256_file(path)
        if file.sha256 not in (UNVERIFIED, sha256):
            raise DataError(
                f"{path}: its SHA-256 is {sha256[:12]}…, the registry expects {file.sha256[:12]}…"
            )
        target = self.path(name)
        with atomic_path(target) as temporary:
            (shutil.move if move else shutil.copyfile)(path, temporary)
        self.files[name] = MirrorFile(
            dataset=dataset.name,
            subset=file.subset,
            split=file.split,
            adapter=file.adapter,
            sha256=sha256,
            size=target.stat().st_size,
            origin=origin,
            verified=file.sha256 != UNVERIFIED,
            source=source,
        )
        return name

    def unlist(self, names: Iterable[str]) -> None:
        """Remove files from the manifest; they stay on disk."""
        removed = set(names)
        self.files = {name: entry for name, entry in self.files.items() if name not in removed}
