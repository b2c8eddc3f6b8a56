"""The store: one folder of scores per evaluated model, named by a hash of everything that can change them.

    OUT/answers/                                     the answers that scores are computed from: see `answers`
    OUT/points/<name>-<hash>/results.json            lm-eval's results, without times and dates
                             samples_<task>.jsonl    lm-eval's samples (evaluation.samples: all)
                             scores.json             per task: items, clusters, scores, right or wrong
                             recipe.yml              of a merge: the plain recipe
                             key.json                the input of the hash
                             timings.json            durations and dates
                             files.json              sha256 of each of these files except timings.json
    OUT/.locks/                                      claims of running processes: see `claims`

A folder is written under a temporary name and renamed when it is complete. If files of a folder were altered
or lost, they are computed again from the model's answers. Nothing depends on timings.json.
"""

import errno
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from mergekit_finance.errors import DataError, counted
from mergekit_finance.evaluation.answer_store import AnswerStore
from mergekit_finance.evaluation.keys import FORMAT
from mergekit_finance.evaluation.measurement import Measurement
from mergekit_finance.files import Json, atomic_path, file_name, is_scratch, sha256_file, write_json
from mergekit_finance.hosts.lm_eval import Results
from mergekit_finance.hosts.lm_eval_output import write_results
from mergekit_finance.study.claims import TAKEN, Claims, claims_in
from mergekit_finance.study.read_files import AGAIN, optional_model, read_model, read_object, read_scores
from mergekit_finance.study.schema import Columns, Key, Timings

LOG = logging.getLogger(__name__)
VOLATILE = ("date", "start_time", "end_time", "total_evaluation_time_seconds", "lm_eval_version", "git_hash")
SUMS = "files.json"
PARTS = ("timings", "results", "files")  # read as objects; key and scores as typed models


@dataclass(frozen=True)
class Store:
    """The stored results below one output folder."""

    folder: Path

    @property
    def points(self) -> Path:
        """The folder that holds one folder per evaluated model."""
        return self.folder / "points"

    @property
    def answers(self) -> AnswerStore:
        """The answers of all models, from which their results are computed."""
        return AnswerStore(self.folder / "answers")

    def place(self, name: str, key: Key) -> Path:
        """Return the folder of the results with this key."""
        return self.points / f"{file_name(name)}-{key.digest}"

    def done(self, place: Path) -> bool:
        """Return whether results are stored in a folder."""
        return (place / "scores.json").is_file()

    def stored(self, places: Iterable[Path]) -> list[Path]:
        """Return those of some folders in which results are stored.

        The folder above them is listed first: a network disk may report for a while that a new file is
        missing, unless its folder has just been opened.
        """
        names = set(os.listdir(self.points)) if self.points.is_dir() else set()
        return [place for place in places if place.name in names and self.done(place)]

    def discard_damaged(self, place: Path, samples: bool) -> str:
        """Remove a folder whose files were altered or lost.

        Args:
            place: the folder; it is skipped while another process is writing it.
            samples: whether samples are required.

        Returns:
            A description of the damage, or "" if the folder is intact or does not exist.
        """
        if not (place.exists() or place.is_symlink()) or not _damage(place, samples):
            return ""
        with self.hold(place.name, wait=False) as acquired:
            damage = _damage(place, samples) if acquired else ""  # another process may have replaced it
            if damage:
                shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink()
            return damage

    @property
    def claims(self) -> Claims:
        """The claims of this process below the output folder."""
        return claims_in(self.folder / ".locks")

    @contextmanager
    def claim(self, place: Path, max_deaths: int | None = None) -> Iterator[bool]:
        """Claim `place` and yield whether this process may write it. The claim ends with the process.

        Raises:
            TooManyDeathsError: `max_deaths` processes died with this claim.
        """
        with self.hold(place.name, False, max_deaths) as acquired:
            yield acquired and not self.stored([place])

    @contextmanager
    def hold(self, name: str, wait: bool = True, max_deaths: int | None = None) -> Iterator[bool]:
        """Hold the claim of a name, and yield whether it was acquired; `wait` waits until it is free."""
        with disk_errors(self.folder):
            claim = self.claims.wait_for(name) if wait else self.claims.acquire(name, max_deaths)
        try:
            yield claim is not None
        finally:
            if claim:
                self.claims.release(claim)

    def write(
        self,
        place: Path,
        measured: Measurement,
        key: Key,
        timings: Timings,
        *,
        samples: bool = True,
        recipe: str | None = None,
    ) -> None:
        """Write a complete folder under a temporary name, then rename it, unless it is stored by now.

        Two processes may evaluate one model if one of them was suspended for long: the first result stays.

        Args:
            place: the folder.
            measured: lm-eval's results with samples, and the items of every task.
            key: the key whose hash is in the name of `place`.
            timings: seconds by step.
            samples: whether to store lm-eval's samples.
            recipe: the plain recipe of a merge, as YAML.
        """
        self._warn_if_lost(place.name)
        with disk_errors(self.folder), self._unless_stored(place), atomic_path(place) as scratch:
            scratch.mkdir()
            _write_host_files(scratch, measured.results, timings, samples)
            _write_plain(
                scratch / "scores.json",
                {task: rows.as_json() for task, rows in measured.scores.items()},
                indent=None,
            )
            _write_plain(scratch / "key.json", key.as_json())
            if recipe is not None:
                (scratch / "recipe.yml").write_text(recipe, encoding="utf-8")
            _write_plain(scratch / SUMS, sums(scratch))

    def _warn_if_lost(self, name: str) -> None:
        """Print one line if another process has taken over this process's claim of a name."""
        claim = self.claims.held.get(name)
        if claim and claim.lost():
            LOG.warning(
                "%s: this process was suspended, and another one evaluates the model, too; the result that "
                "is stored first stays",
                name,
            )

    @contextmanager
    def _unless_stored(self, place: Path) -> Iterator[None]:
        """Suppress the error of a rename to a folder that another process has stored."""
        try:
            yield
        except OSError as error:
            if error.errno not in TAKEN or not self.done(place):
                raise

    def publish(self, files: Mapping[str, Json]) -> None:
        """Write files of the output folder under a claim, so that all are from the same run."""
        with self.hold("publish"):
            self.write_files(files)

    def write_files(self, files: Mapping[str, Json]) -> None:
        """Write files of the output folder. The caller must hold the claim `publish`."""
        for name, content in files.items():
            write_study_file(self.folder / name, content)

    def mention_older_results(self, say: Callable[[str], None]) -> None:
        """Print one line if the folder contains results of an older version, which cannot be reused."""
        older = [*self.folder.glob("models/*-*/results.json")]  # the folders of older versions of `run`
        for path in self.points.glob("[!.]*/key.json"):
            try:
                key = read_model(Key, path)
                older += [path] if key.model_fields_set and key.format != FORMAT else []
            except DataError:
                pass  # damaged: `discard_damaged` handles it
        if older:
            say(
                f"{self.folder}: results of an older version are not used "
                f"({counted(len(older), 'model')}, such as "
                f"{older[0].parent.relative_to(self.folder)}). Their folders can be deleted."
            )

    def remove_scratch(self, place: Path) -> None:
        """Remove temporary folders that a killed process left for `place`. The caller must hold the claim."""
        for scratch in place.parent.glob(".*"):
            if (scratch / place.name).exists():
                shutil.rmtree(scratch, ignore_errors=True)

    def clean(self) -> None:
        """Remove temporary files and claims of killed processes. Those of living processes are kept."""
        answers = self.answers.folder
        scratches = [*self.points.glob(".*"), *self.folder.glob(".*.json.*")]
        scratches += [*answers.glob(".*"), *answers.glob("*/.*")]
        scratches = [path for path in scratches if is_scratch(path)]
        if scratches or self.claims.folder.exists():
            with disk_errors(self.folder):
                self._clean(scratches)

    def _clean(self, scratches: Sequence[Path]) -> None:
        self.claims.clean()
        taken = self.claims.taken()
        for scratch in scratches:
            if not any(self._belongs(scratch, name) for name in taken):
                shutil.rmtree(scratch) if scratch.is_dir() else scratch.unlink(missing_ok=True)

    def _belongs(self, scratch: Path, name: str) -> bool:
        """Return whether a temporary folder of `atomic_path` holds what the claim `name` protects."""
        parent = scratch.parent
        if parent == self.points:
            return scratch.name[1:].rsplit(".", 1)[0] == name[:60]
        if parent.parent == self.answers.folder:
            return parent.name == name
        return name == "publish" or parent == self.answers.folder  # batch_size.json, of any worker

    def results(self, place: Path) -> Results:
        """Return lm-eval's stored results, without samples."""
        return cast(Results, read_object(place / "results.json"))

    def scores(self, place: Path) -> dict[str, Columns]:
        """Return the items of every task with their scores."""
        return read_scores(place / "scores.json")

    def seconds(self, folders: Iterator[str]) -> Timings:
        """Return the summed timings of some folders. A file that was edited or lost counts as 0 seconds."""
        paths = [self.points / name / "timings.json" for name in folders]
        stored = [optional_model(Timings, path) or Timings() for path in paths]
        return Timings(
            merge=sum((one.merge for one in stored), 0.0), evaluate=sum((one.evaluate for one in stored), 0.0)
        )


def sums(folder: Path) -> dict[str, str]:
    """Return the sha256 of a folder's files by name, without timings.json and files.json."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.name not in (SUMS, "timings.json"))
    return {path.name: sha256_file(path) for path in files}


def _damage(place: Path, samples: bool) -> str:
    """Return what is wrong with a stored folder, or "" if it is intact."""
    try:
        key = read_model(Key, place / "key.json")
        _, results, recorded = (read_object(place / f"{name}.json") for name in PARTS)
        scores = read_scores(place / "scores.json")
    except DataError as error:
        return f"{place.name} is damaged ({str(error).removesuffix(AGAIN).rstrip(' .')})"
    tasks = results.get("results")
    if not place.name.endswith(f"-{key.digest}"):
        return f"{place.name} is damaged (key.json belongs to other results)"
    if not scores or not isinstance(tasks, Mapping) or set(scores) != set(tasks):
        return f"{place.name} is damaged (scores.json)"
    without_samples = [task for task in scores if samples and not list(place.glob(f"samples_{task}*.jsonl"))]
    if without_samples:
        return f"{place.name} is damaged (samples of {without_samples[0]} are missing)"
    required = {"key.json", "scores.json", "results.json"} | ({"recipe.yml"} if key.is_merge else set())
    if not required <= set(recorded):
        return f"{place.name} is damaged ({SUMS})"
    actual = sums(place)
    altered = [name for name, checksum in recorded.items() if actual.get(name) != checksum]
    return f"{place.name} is damaged ({altered[0]} was altered or is missing)" if altered else ""


def _write_host_files(folder: Path, results: Results, timings: Timings, samples: bool) -> None:
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
        if task_file := metadata.get("config_source"):  # keep folder and name; paths differ between machines
            metadata["config_source"] = "/".join(Path(task_file).parts[-2:])
    _write_plain(path, content)
    _write_plain(folder / "timings.json", {**timings.as_json(), **volatile})


def _write_plain(path: Path, content: object, indent: int | None = 1) -> None:
    """Write JSON into a folder that is not published yet."""
    separators = None if indent else (",", ":")
    text = json.dumps(content, indent=indent, separators=separators, sort_keys=True, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def write_study_file(path: Path, content: Json) -> None:
    """Write a file of the study atomically, with sorted keys."""
    with disk_errors(path.parent):
        write_json(path, json.loads(json.dumps(content, sort_keys=True)), indent=1)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Raise a one-line DataError if the disk is full or read-only. Results stored before are kept."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        remedy = "Make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Make it writable"
        raise DataError(
            f"{folder}: cannot be written ({error.strerror}); finished work is kept. {remedy}, then run "
            "the same command again.",
            id="output.not-writable",
        ) from error
