"""The store: one folder for every model that was evaluated, named by a hash of everything that made it.

    OUT/points/<name>-<hash>/results.json            lm-eval's results, without times and dates
                             samples_<task>.jsonl    lm-eval's samples (evaluation.samples: all)
                             scores.json             per task: items, clusters, scores, right or wrong
                             recipe.yml              of a merge: the plain recipe
                             key.json                the key that the hash is of
                             timings.json            how long it took, and when
                             files.json              sha256 of each of these but timings.json
    OUT/.locks/                                      one file lock per folder that is being written

A folder is written under a temporary name and renamed, so a folder under its own name is complete. A folder
whose files were altered or lost is evaluated again; timings may be edited, nothing depends on them.
"""

import errno
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from filelock import FileLock, Timeout

from mergekit_finance.errors import DataError
from mergekit_finance.evaluation.keys import FORMAT, digest
from mergekit_finance.evaluation.measurement import Measurement
from mergekit_finance.files import Json, atomic_path, file_name, sha256_file
from mergekit_finance.files import write_json as write_file
from mergekit_finance.hosts.lm_eval import Results
from mergekit_finance.hosts.lm_eval_output import write_results
from mergekit_finance.study.read_files import AGAIN, optional_object, read_object, read_scores
from mergekit_finance.study.schema import Columns

VOLATILE = ("date", "start_time", "end_time", "total_evaluation_time_seconds", "lm_eval_version", "git_hash")
SUMS = "files.json"
PARTS = ("key", "timings", "results", "files")  # and scores


@dataclass(frozen=True)
class Store:
    """The stored results below one output folder."""

    folder: Path

    @property
    def points(self) -> Path:
        """The folder that holds one folder per evaluated model."""
        return self.folder / "points"

    def place(self, name: str, key: Mapping[str, Json]) -> Path:
        """Return the folder of the results with this key."""
        return self.points / f"{file_name(name)}-{digest(key)}"

    def done(self, place: Path) -> bool:
        """Return whether results are stored in a folder."""
        return (place / "scores.json").is_file()

    def discard_damaged(self, place: Path, samples: bool) -> str:
        """Remove a folder whose files were altered or lost.

        Args:
            place: the folder. One that another process is writing is left alone.
            samples: whether samples must be there.

        Returns:
            What is wrong with it, or "" if it can be used or is not there.
        """
        if not (place.exists() or place.is_symlink()):
            return ""
        with self._held(place.name) as mine:
            damage = _damage(place, samples) if mine else ""
            if damage:
                shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink()
            return damage

    @contextmanager
    def claim(self, place: Path, wait: bool = False) -> Iterator[bool]:
        """Yield whether this process may write `place` now. The lock is released when its process ends."""
        with self._held(place.name, wait) as mine:
            yield mine and not self.done(place)

    @contextmanager
    def _held(self, name: str, wait: bool = False) -> Iterator[bool]:
        """Hold the lock of this name if it is free, or with `wait` once it is."""
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

    def lock(self, name: str) -> FileLock:
        """Return the lock of this name in the folder, not yet held."""
        locks = self.folder / ".locks"
        with disk_errors(self.folder):
            locks.mkdir(parents=True, exist_ok=True)
        return FileLock(locks / f"{name}.lock")

    def write(
        self,
        place: Path,
        measured: Measurement,
        key: Mapping[str, Json],
        timings: Mapping[str, float],
        *,
        samples: bool = True,
        recipe: str | None = None,
    ) -> None:
        """Write a complete folder under a temporary name, then rename it.

        Args:
            place: the folder, which must not exist.
            measured: lm-eval's results with samples, and the items of every task.
            key: what `place` is named after.
            timings: seconds by what was done.
            samples: whether to keep lm-eval's samples.
            recipe: the plain recipe of a merge, as YAML.
        """
        with disk_errors(self.folder), atomic_path(place) as scratch:
            scratch.mkdir()
            _write_host_files(scratch, measured.results, timings, samples)
            _write_plain(
                scratch / "scores.json",
                {task: rows.as_json() for task, rows in measured.scores.items()},
                indent=None,
            )
            _write_plain(scratch / "key.json", key)
            if recipe is not None:
                (scratch / "recipe.yml").write_text(recipe, encoding="utf-8")
            _write_plain(scratch / SUMS, sums(scratch))

    def publish(self, files: Mapping[str, Json]) -> None:
        """Write files of the output folder together, so that they are always of one run."""
        with self.lock("publish"):
            for name, content in files.items():
                write_json(self.folder / name, content)

    def mention_older_results(self, say: Callable[[str], None]) -> None:
        """Print one line if the folder holds results that an older version stored, which no key matches."""
        older = [*self.folder.glob("models/*-*/results.json")]  # where `run` stored them
        for path in self.points.glob("[!.]*/key.json"):
            try:
                key = read_object(path)
                older += [path] if key and key.get("format") != FORMAT else []
            except DataError:
                pass  # damaged: evaluated again when its turn comes
        if older:
            say(
                f"{self.folder}: results of an older version are not used ({len(older)} models, such as "
                f"{older[0].parent.relative_to(self.folder)}). Their folders can be deleted."
            )

    def remove_scratch(self, place: Path) -> None:
        """Remove what a killed process left of `place` under temporary names. Call it with the lock held."""
        for scratch in place.parent.glob(".*"):
            if (scratch / place.name).exists():
                shutil.rmtree(scratch, ignore_errors=True)

    def clean(self) -> None:
        """Remove what a killed process left half-written, if no other process is writing it."""
        for scratch in self.points.glob(".*"):
            names = [path.name for path in scratch.iterdir()] if scratch.is_dir() else []
            for name in names or self._lock_names(scratch.name[1:].rsplit(".", 1)[0]):
                with self._held(name) as mine:
                    if mine or self.done(self.points / name):
                        shutil.rmtree(scratch, ignore_errors=True)
        leftovers = list(self.folder.glob(".*.json.*"))
        if leftovers:
            with self._held("publish") as mine:
                for path in leftovers if mine else ():
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def _lock_names(self, start: str) -> list[str]:
        """Return the names of folders whose lock files begin with `start`."""
        return [path.stem for path in (self.folder / ".locks").glob("*.lock") if path.name.startswith(start)]

    def results(self, place: Path) -> Results:
        """Read lm-eval's stored results, without samples."""
        return cast(Results, read_object(place / "results.json"))

    def scores(self, place: Path) -> dict[str, Columns]:
        """Read the items of every task."""
        return read_scores(place / "scores.json")

    def seconds(self, folders: Iterator[str]) -> dict[str, float]:
        """Sum the stored timings of some folders, by what was done (`merge`, `evaluate`)."""
        total = {"merge": 0.0, "evaluate": 0.0}
        for name in folders:
            timings = optional_object(self.points / name / "timings.json")
            for what in total:
                seconds = timings.get(what)
                total[what] += seconds if isinstance(seconds, int | float) else 0.0  # may have been edited
        return total


def sums(folder: Path) -> dict[str, str]:
    """Return sha256 by name of the files that hold what a model scored."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.name not in (SUMS, "timings.json"))
    return {path.name: sha256_file(path) for path in files}


def _damage(place: Path, samples: bool) -> str:
    """Return what is wrong with a stored folder, or "" if it can be trusted."""
    try:
        key, _, results, noted = (read_object(place / f"{name}.json") for name in PARTS)
        scores = read_scores(place / "scores.json")
    except DataError as error:
        return f"{place.name} is damaged ({str(error).removesuffix(AGAIN).rstrip(' .')})"
    tasks = results.get("results")
    if not place.name.endswith(f"-{digest(key)}"):
        return f"{place.name} is damaged (key.json is of other results)"
    if not scores or not isinstance(tasks, Mapping) or set(scores) != set(tasks):
        return f"{place.name} is damaged (scores.json)"
    lost = [task for task in scores if samples and not list(place.glob(f"samples_{task}*.jsonl"))]
    if lost:
        return f"{place.name} is damaged (samples of {lost[0]} are missing)"
    required = {"key.json", "scores.json", "results.json"} | ({"recipe.yml"} if "merge" in key else set())
    if not required <= set(noted):
        return f"{place.name} is damaged ({SUMS})"
    actual = sums(place)
    altered = [name for name, checksum in noted.items() if actual.get(name) != checksum]
    return f"{place.name} is damaged ({altered[0]} is not as it was written)" if altered else ""


def _write_host_files(folder: Path, results: Results, timings: Mapping[str, float], samples: bool) -> None:
    """Write lm-eval's files, with everything that differs between two runs moved to timings.json."""
    arguments = results["config"]["model_args"]
    assert isinstance(arguments, Mapping)
    stored_samples = results["samples"] if samples else {}
    everything: Results = {**results, "samples": stored_samples}
    write_results(folder, everything, stored_samples, {name: str(value) for name, value in arguments.items()})
    path = folder / "results.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    volatile = {name: content.pop(name) for name in VOLATILE if name in content}
    for config in content.get("configs", {}).values():
        metadata = config.get("metadata") or {}
        if task_file := metadata.get("config_source"):  # by folder and name: paths differ between machines
            metadata["config_source"] = "/".join(Path(task_file).parts[-2:])
    _write_plain(path, content)
    _write_plain(folder / "timings.json", {**timings, **volatile})


def _write_plain(path: Path, content: object, indent: int | None = 1) -> None:
    """Write JSON into a folder that is not published yet."""
    separators = None if indent else (",", ":")
    text = json.dumps(content, indent=indent, separators=separators, sort_keys=True, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def write_json(path: Path, content: Json) -> None:
    """Write a file of the study atomically, keys sorted."""
    with disk_errors(path.parent):
        write_file(path, json.loads(json.dumps(content, sort_keys=True)), indent=1)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn a full or read-only disk into one line; everything stored before is kept."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        remedy = "Make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Make it writable"
        raise DataError(
            f"{folder}: cannot be written ({error.strerror}); finished work is kept. {remedy}, then run "
            "the same command again."
        ) from error
