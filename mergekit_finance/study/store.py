"""The store: one folder for every model that was evaluated, named by a hash of all that made it.

    OUT/points/<name>-<hash>/results.json            lm-eval's results, without times and dates
                             samples_<task>.jsonl    lm-eval's samples (evaluation.samples: all)
                             scores.json             per task: items, clusters, scores, right or wrong
                             recipe.yml              of a merge: the plain recipe
                             key.json                what the hash is of
                             timings.json            how long it took, and when
                             files.json              sha256 of each of these but timings.json
    OUT/.locks/                                      who is at work on what; the system frees a dead one's

A folder is written under a temporary name and renamed: under its own name it is whole. What was altered since
is made again; times may be edited, nothing depends on them.
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergekit_finance.errors import DataError
from mergekit_finance.evaluation.harness import _write as write_host_files

if TYPE_CHECKING:
    from filelock import FileLock

VOLATILE = ("date", "start_time", "end_time", "total_evaluation_time_seconds", "lm_eval_version", "git_hash")


@dataclass(frozen=True)
class Store:
    """Results of one study's folder."""

    folder: Path

    def place(self, name: str, key: Mapping[str, Any]) -> Path:
        return self.folder / "points" / f"{name}-{digest(key)}"

    def done(self, place: Path) -> bool:
        return (place / "scores.json").is_file()

    def discard_damaged(self, place: Path, samples: bool) -> str:
        """Remove a folder whose files were altered or lost since; says what is wrong with it. One that
        another process is at work on is left to that process."""
        if not (place.exists() or place.is_symlink()):
            return ""
        with self._held(place.name) as mine:
            fault = _damage(place, samples) if mine else ""
            if fault:
                shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink()
            return fault

    @contextmanager
    def claim(self, place: Path, wait: bool = False) -> Iterator[bool]:
        """Whether this process may make `place` now. The lock dies with its holder, kill -9 included."""
        with self._held(place.name, wait) as mine:
            yield mine and not self.done(place)

    @contextmanager
    def _held(self, name: str, wait: bool = False) -> Iterator[bool]:
        """The lock of this name, if it is free or once it is."""
        from filelock import Timeout

        lock = self.lock(name)
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def lock(self, name: str) -> "FileLock":
        """The lock of this name in the folder."""
        from filelock import FileLock

        locks = self.folder / ".locks"
        with room(self.folder):
            locks.mkdir(parents=True, exist_ok=True)
        return FileLock(locks / f"{name}.lock")

    def write(
        self,
        place: Path,
        results: dict[str, Any],
        files: Mapping[str, str],
        timings: Mapping[str, Any],
        samples: bool,
    ) -> None:
        """Write all of a folder, then give it its name."""
        with room(self.folder):
            place.parent.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
            try:
                _fill(scratch, results, files, timings, samples)
                _json(scratch / SUMS, sums(scratch))
                os.chmod(scratch, 0o755)  # mkdtemp makes it private
                scratch.replace(place)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)

    def clean(self) -> None:
        """Remove what a killed process left half-written, if nobody is at work on it."""
        for scratch in (self.folder / "points").glob(".*-*.*"):
            name = scratch.name[1:].rsplit(".", 1)[0]
            with self.claim(self.folder / "points" / name) as mine:
                if mine or self.done(self.folder / "points" / name):
                    shutil.rmtree(scratch, ignore_errors=True)
        for path in self.folder.glob(".*.json.*"):
            if not _alive(path.suffix[1:]):
                path.unlink(missing_ok=True)

    def scores(self, place: Path) -> dict[str, Any]:
        return json.loads((place / "scores.json").read_text(encoding="utf-8"))

    def results(self, place: Path) -> dict[str, Any]:
        return json.loads((place / "results.json").read_text(encoding="utf-8"))


def _damage(place: Path, samples: bool) -> str:
    """What is wrong with a stored folder; nothing if it can be trusted."""
    try:
        key, scores, _, results, noted = (_mapping(place / f"{name}.json") for name in PARTS)
        columns = [{len(column) for column in table.values()} for table in scores.values()]
        tasks = set(results["results"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as fault:
        return f"{place.name} is damaged ({fault})"
    if not place.name.endswith(f"-{digest(key)}"):
        return f"{place.name} is damaged (key.json is of other results)"
    if not columns or any(len(c) != 1 for c in columns) or set(scores) != tasks:
        return f"{place.name} is damaged (scores.json)"
    lost = [task for task in scores if samples and not list(place.glob(f"samples_{task}*.jsonl"))]
    if lost:
        return f"{place.name} is damaged (samples of {lost[0]} are gone)"
    wanted = {"key.json", "scores.json", "results.json"} | ({"recipe.yml"} if "merge" in key else set())
    if not wanted <= set(noted):
        return f"{place.name} is damaged ({SUMS})"
    found = sums(place)
    altered = [name for name, sum_ in noted.items() if found.get(name) != sum_]
    return f"{place.name} is damaged ({altered[0]} is not as it was written)" if altered else ""


PARTS = ("key", "scores", "timings", "results", "files")
SUMS = "files.json"


def sums(folder: Path) -> dict[str, str]:
    """sha256 by name of the files that say what a model scored."""
    named = sorted(p for p in folder.iterdir() if p.is_file() and p.name not in (SUMS, "timings.json"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in named}


def _mapping(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} is no mapping")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} among its numbers")


def digest(key: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]


def _fill(
    folder: Path,
    results: dict[str, Any],
    files: Mapping[str, str],
    timings: Mapping[str, Any],
    samples: bool,
) -> None:
    logged = results["samples"] if samples else {}
    write_host_files(folder, {**results, "samples": logged})
    path = folder / "results.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    when = {name: found.pop(name) for name in VOLATILE if name in found}
    _name_task_files(found)
    _json(path, found)
    _json(folder / "timings.json", {**timings, **when})
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def _name_task_files(found: dict[str, Any]) -> None:
    """Task files by folder and name: where a machine keeps them says nothing of the results."""
    for config in found.get("configs", {}).values():
        metadata = config.get("metadata") or {}
        if source := metadata.get("config_source"):
            metadata["config_source"] = "/".join(Path(source).parts[-2:])


def _json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")


def _alive(pid: str) -> bool:
    """Whether the process that writes a temporary file is still there."""
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except OSError:
        pass
    return True


def write_json(path: Path, content: Any) -> None:
    """Written beside and renamed: never half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with room(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _json(temporary, content)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def room(folder: Path) -> Iterator[None]:
    """A full or closed disk is no fault of ours: one line, and what is finished stays."""
    try:
        yield
    except OSError as fault:
        if fault.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        remedy = "make room" if fault.errno in (errno.ENOSPC, errno.EDQUOT) else "make it writable"
        raise DataError(
            f"{folder}: cannot be written ({fault.strerror}); what is finished is kept: {remedy}, then run "
            "the same command again"
        ) from fault
