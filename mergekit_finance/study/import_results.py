"""`mergekit-finance import`: check the results of another lm-eval run against a study, task by task.

The run may be anybody's, with any backend. A task is imported if its version, its rows, its prompts and its
targets are those of the study, as the hashes in lm-eval's samples say. What does not match is named.
Targets are not compared between lm-eval 0.4 and 0.5, which write them in different ways.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mergekit_finance.errors import DataError, counted, first_line
from mergekit_finance.evaluation.columns import Columns
from mergekit_finance.evaluation.item_scores import item_scores
from mergekit_finance.files import JsonObject, is_name, parse_json, read_object, read_text, sha256_file
from mergekit_finance.study.analysis.phrases import task_list
from mergekit_finance.study.imported import Imported, ImportFile, folder_of, scores_of
from mergekit_finance.study.imported_scores import impossible_metric
from mergekit_finance.study.results import StudyResults

RESULTS = re.compile(r"results(_[0-9T.:-]+)?\.json")
SAMPLES = re.compile(r"samples_.*\.jsonl")
MOST_REASONS = 4  # in one line
MAX_SAMPLES = 2_000_000_000  # bytes of one file
MAX_BACKEND = 100  # characters
OF_TOKENIZER = "option_tokens"  # added to rows by the model's tokenizer; no prompt or target has it
PROMPT = "prompt_hash"
HASHES = {PROMPT: "prompts", "target_hash": "targets"}


class MismatchError(Exception):
    """Why a task is not imported."""


@dataclass(frozen=True)
class Run:
    """One lm-eval run: its file of results, with the samples beside it.

    Attributes:
        path: the file of results.
        content: of that file.
        runs: the number of runs of this model in the folder, of which this is the newest.
    """

    path: Path
    content: JsonObject
    runs: int = 1

    @property
    def backend(self) -> str:
        """lm-eval's name of the model class; empty if it is not stated, or is no name that can be shown."""
        config = self.content.get("config")
        name = config.get("model") if isinstance(config, Mapping) else None
        return name if is_name(name) and len(name) <= MAX_BACKEND else ""

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


def find_runs(place: Path) -> list[Run]:
    """Return the newest run of every model in a folder, or that of a file of results.

    lm-eval writes the runs of a model into one folder, named after the model.

    Raises:
        DataError: there is none, or the file of a newest run is damaged.
    """
    if place.is_file() and SAMPLES.fullmatch(place.name):
        raise DataError(
            f"{place}: is a file of samples. Name the results_<date>.json beside it, or the folder."
        )
    paths = (
        [place] if place.is_file() else [p for p in place.rglob("results*.json") if RESULTS.fullmatch(p.name)]
    )
    if not paths:
        raise DataError(
            f"{place}: no results of lm-eval here (results_<date>.json). Name the folder after --output_path."
        )
    by_folder: dict[Path, list[Path]] = {}
    for path in sorted(paths, key=lambda one: one.name, reverse=True):
        by_folder.setdefault(path.parent, []).append(path)
    return [run for folder in sorted(by_folder) for run in _newest_runs(by_folder[folder])]


def _newest_runs(paths: Sequence[Path]) -> list[Run]:
    """Return the newest run of every model among files of one folder, which are listed newest first.

    A file that does not say its model, or cannot be read, counts as an older run of the newest one's model.
    """
    newest = _read_run(paths[0])
    runs = {newest.model: newest}
    for path in paths[1:]:
        try:
            run = _read_run(path)
        except DataError:
            run = newest
        model = run.model if run.content.get("model_name") else newest.model
        runs[model] = replace(runs[model], runs=runs[model].runs + 1) if model in runs else run
    return list(runs.values())


def _read_run(path: Path) -> Run:
    try:
        return Run(path, read_object(path, links=True))
    except (OSError, ValueError, DataError) as error:
        raise DataError(f"{path}: cannot be read ({first_line(error)}). Name another file.") from error


def tasks_by_reason(refused: Mapping[str, str]) -> Iterator[str]:
    """Yield `TASK: REASON`, with one line for all tasks that have the same reason, most tasks first."""
    tasks: dict[str, list[str]] = {}
    for task, reason in refused.items():
        tasks.setdefault(reason, []).append(task)
    for reason, names in sorted(tasks.items(), key=lambda one: -len(one[1])):
        yield f"{names[0] if len(names) == 1 else f'{len(names)} tasks ({task_list(names)})'}: {reason}"


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
        reasons = [*tasks_by_reason(refused)]
        more = len(reasons) - MOST_REASONS
        shown = reasons[:MOST_REASONS] + ([f"and {counted(more, 'other reason')}"] if more > 0 else [])
        raise DataError(
            f"{run.path}: no task matches those of the study: {'; '.join(shown)}. Evaluate the same "
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
    if repeated := _contradictions(ours, of_filter, metric):
        raise MismatchError(
            f"its samples are damaged ({counted(repeated, 'row')} repeated with another {metric!r})"
        )
    base = results.columns("base")[task]
    try:
        columns = item_scores({task: scored}, {})[task]
        impossible = impossible_metric(results.all_tasks[task], base, columns)
        scored_task = scores_of(results, task, folder_of(results, "imported"), {"imported": columns})
        scored_task.score("imported")  # an aggregation of a plugin may refuse values
    except (ArithmeticError, AttributeError, DataError, LookupError, TypeError, ValueError) as error:
        raise MismatchError(
            f"its samples are damaged (the metric {metric!r} has an impossible value)"
        ) from error
    if impossible:
        name = metric if impossible == "score" else impossible
        raise MismatchError(f"its samples are damaged (the metric {name!r} has an impossible value)")
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


def _contradictions(ours: Sequence[JsonObject], theirs: Sequence[JsonObject], metric: str) -> int:
    """Return how many of our rows are repeated in the imported run with another score.

    A row with an `item_id` is repeated if there are more of it than the study has. Other rows are repeated
    only if their `doc_id` is the same too: the dataset itself may have equal rows.
    """
    expected = Counter(map(_row_key, ours))
    copies: dict[tuple[str, str], list[JsonObject]] = {}
    for row in theirs:
        document = row.get("doc")
        is_named = isinstance(document, dict) and "item_id" in document
        number = "" if is_named else str(row.get("doc_id"))
        copies.setdefault((_row_key(row), number), []).append(row)
    return sum(
        len(rows) > (1 if number else expected[key])
        and any(r.get(metric) != rows[0].get(metric) for r in rows)
        for (key, number), rows in copies.items()
        if key in expected
    )


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
