"""`mergekit-finance import`: check the results of another lm-eval run against a study, task by task.

The run may be anybody's, with any backend. A task is imported if its version, its rows, its prompts and its
targets are those of the study, as the hashes in lm-eval's samples say. What does not match is named.
Targets are not compared between lm-eval 0.4 and 0.5, which write them in different ways.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mergekit_finance.errors import DataError, first_line
from mergekit_finance.evaluation.columns import Columns
from mergekit_finance.evaluation.item_scores import item_scores
from mergekit_finance.files import JsonObject, parse_json, read_object, read_text, sha256_file
from mergekit_finance.study.imported import Imported, ImportFile, scores_of
from mergekit_finance.study.results import StudyResults

RESULTS = re.compile(r"results(_[0-9T.:-]+)?\.json")
MAX_SAMPLES = 2_000_000_000  # bytes of one file
OF_TOKENIZER = "option_tokens"  # added to rows by the model's tokenizer; no prompt or target has it
PROMPT = "prompt_hash"
HASHES = {PROMPT: "prompts", "target_hash": "targets"}


class MismatchError(Exception):
    """Why a task is not imported."""


@dataclass(frozen=True)
class Run:
    """One lm-eval run: its file of results, with the samples beside it."""

    path: Path
    content: JsonObject

    @property
    def backend(self) -> str:
        """lm-eval's name of the model class."""
        config = self.content.get("config")
        return str(config.get("model", "")) if isinstance(config, Mapping) else ""

    @property
    def model(self) -> str:
        """The model's name in lm-eval's results."""
        return str(self.content.get("model_name") or self.path.parent.name)

    def version(self, task: str) -> str:
        """The version of a task."""
        versions = self.content.get("versions")
        return str(versions.get(self.name_of(task), "")) if isinstance(versions, Mapping) else ""

    def name_of(self, task: str) -> str:
        """Return the name of a task in this run. lm-eval 0.5 names tasks of a group `group::task`."""
        scores = self.content.get("results")
        names = scores if isinstance(scores, Mapping) else ()
        return next((name for name in names if name.rpartition("::")[2] == task), task)

    @property
    def lm_eval_version(self) -> str:
        """The version of lm-eval that evaluated the model; empty if it is not stated."""
        return str(self.content.get("lm_eval_version") or "")

    def samples(self, task: str) -> list[JsonObject]:
        """Return the samples of a task. Raises MismatchError: there are none, or they cannot be read."""
        date = RESULTS.fullmatch(self.path.name)
        name = self.name_of(task)
        try:
            path = self.path.with_name(f"samples_{name}{(date and date[1]) or ''}.jsonl")
            lines = read_text(path, max_bytes=MAX_SAMPLES, links=True).split("\n")
            rows = [parse_json(line) for line in lines if line.strip()]
        except FileNotFoundError as error:
            scores = self.content.get("results")
            if isinstance(scores, Mapping) and name not in scores:
                raise MismatchError("this run did not evaluate it") from error
            raise MismatchError("no samples (run lm_eval with --log_samples)") from error
        except (OSError, ValueError, DataError) as error:
            raise MismatchError(f"samples cannot be read ({first_line(error)})") from error
        return [row for row in rows if isinstance(row, dict)]


def find_run(place: Path) -> Run:
    """Return the newest run in a folder, or that of a file of results.

    Raises:
        DataError: there is none, or its file is damaged.
    """
    paths = (
        [place] if place.is_file() else [p for p in place.rglob("results*.json") if RESULTS.fullmatch(p.name)]
    )
    if not paths:
        raise DataError(
            f"{place}: no results of lm-eval here (results_<date>.json). Name the folder after --output_path."
        )
    path = max(paths, key=lambda one: (one.name, str(one)))
    try:
        return Run(path, read_object(path, links=True))
    except (OSError, ValueError, DataError) as error:
        raise DataError(f"{path}: cannot be read ({first_line(error)}). Name another file.") from error


def checked(results: StudyResults, run: Run, name: str) -> Imported:
    """Return the tasks of a run that match those of a study.

    Raises:
        DataError: no task does.
    """
    columns: dict[str, Columns] = {}
    refused: dict[str, str] = {}
    for task in results.task_names:
        try:
            columns[task] = _columns(results, run, task)
        except MismatchError as error:
            refused[task] = str(error)
    if not columns:
        first = next(iter(refused.items()))
        raise DataError(
            f"{run.path}: no task matches those of the study: {first[0]}: {first[1]}. Evaluate the same "
            "tasks, rows and prompts, with --log_samples."
        )
    file = ImportFile(
        name=name,
        backend=run.backend,
        source=str(run.path),
        sha256=sha256_file(run.path),
        tasks=list(columns),
        refused=refused,
    )
    return Imported(file, columns)


def _columns(results: StudyResults, run: Run, task: str) -> Columns:
    """Return the items of a task in the study's order. Raises MismatchError."""
    ours = results.samples(task)
    if not ours:
        raise MismatchError("the study keeps no samples of it (`evaluation.samples: all`)")
    theirs = run.samples(task)
    expected = results.all_tasks[task].version
    if run.version(task) != expected:
        raise MismatchError(f"version {run.version(task) or 'unknown'}, and the study has {expected}")
    of_filter = [row for row in theirs if row.get("filter", "none") == ours[0].get("filter", "none")]
    our_version = results.key("base").all_versions.get("lm-eval", "")
    has_equal_targets = _write_equal_targets(our_version, run.lm_eval_version)
    matched = _matched(ours, of_filter, list(HASHES) if has_equal_targets else [PROMPT])
    metric = _metric(ours, matched)
    scored = [{**row, "score": row[metric], "doc_id": k} for k, row in enumerate(matched) if metric in row]
    if len(scored) < len(ours):
        raise MismatchError(f"no metric {metric!r} in its samples")
    try:
        columns = item_scores({task: scored}, {})[task]
        scores_of(results, task, {"imported": columns})
    except (ValueError, TypeError, KeyError, DataError) as error:
        raise MismatchError(
            f"its samples are damaged (the metric {metric!r} has an impossible value)"
        ) from error
    base = results.columns("base")[task]
    return columns.model_copy(
        update={"items": base.items, "clusters": base.clusters, "options": base.options}
    )


def _write_equal_targets(ours: str, theirs: str) -> bool:
    """Return whether two versions of lm-eval write the same target for the same row.

    Since 0.5, the target of a choice is the number of the option where 0.4 writes its text. Versions that are
    not stated count as equal.
    """
    releases = {tuple(version.split(".")[:2]) for version in (ours, theirs) if version}
    return len(releases) < 2


def _matched(
    ours: Sequence[JsonObject], theirs: Sequence[JsonObject], hashes: Sequence[str]
) -> list[JsonObject]:
    """Return, for each of our rows, the matching row of the imported run.

    Args:
        hashes: which of `HASHES` must be equal.

    Raises:
        MismatchError: rows, prompts or targets differ.
    """
    by_row: dict[str, list[JsonObject]] = {}
    for row in theirs:
        by_row.setdefault(_row_key(row), []).append(row)
    matched, missing = [], 0
    for row in ours:
        candidates = by_row.get(_row_key(row))
        missing += not candidates
        matched += [candidates.pop(0)] if candidates else []
    if missing:
        raise MismatchError(f"{missing} of {len(ours)} rows are missing or differ")
    for key in hashes:
        if different := sum(a.get(key) != b.get(key) for a, b in zip(ours, matched, strict=True)):
            hint = " (chat template, few-shot examples?)" if key == PROMPT else ""
            raise MismatchError(f"the {HASHES[key]} of {different} of {len(ours)} rows differ{hint}")
    return matched


def _row_key(row: JsonObject) -> str:
    """Return what identifies a row: lm-eval's hash, or of our tasks the content that no tokenizer adds to."""
    document = row.get("doc")
    if not isinstance(document, dict) or OF_TOKENIZER not in document and "item_id" not in document:
        return str(row.get("doc_hash"))
    return json.dumps({k: v for k, v in document.items() if k != OF_TOKENIZER}, sort_keys=True)


def _metric(ours: Sequence[JsonObject], theirs: Sequence[JsonObject]) -> str:
    """Return the metric that is the score of a task: `score` itself, or the one with our score's values.

    Raises:
        MismatchError: several have our score's values, and they differ in the imported rows.
    """
    names = ours[0].get("metrics")
    listed = [str(name) for name in names] if isinstance(names, list) else []
    if "score" in listed:
        return "score"
    equal = [name for name in listed if all(row.get(name) == row.get("score") for row in ours)]
    if any(row.get(name) != row.get(equal[0]) for name in equal[1:] for row in theirs):
        raise MismatchError(f"it is not known which of {', '.join(equal)} is the study's score")
    return equal[0] if equal else "score"
