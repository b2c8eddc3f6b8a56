"""Data for the page's item browser: which answers are right, and texts where they may be shown."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

from mergekit_finance.errors import DataError
from mergekit_finance.files import Json, JsonObject
from mergekit_finance.report import labels
from mergekit_finance.study.read_files import AGAIN
from mergekit_finance.study.results import StudyResults

LOG = logging.getLogger(__name__)
MAX_PROMPT, MAX_ANSWER = 2400, 700  # characters


class DamagedSamplesError(DataError):
    """Samples of a task that are lost, incomplete or malformed: the page is built without its texts."""


class ItemText(TypedDict):
    """The texts of one item. `answers` are the distinct ones; `by` is each model's index into them."""

    prompt: str
    target: str
    answers: list[str]
    by: list[int]


class TaskData(TypedDict):
    """One task. Strings of 0 and 1 have one digit per item."""

    name: str
    label: str
    about: str
    items: list[str]
    chooses: str
    right: list[str]
    hashes: list[str]
    may: bool
    texts: list[ItemText]


class ModelData(TypedDict):
    """One model; `short` heads its column."""

    name: str
    label: str
    short: str
    merge: bool


class BrowserData(TypedDict):
    """The data that the page's script reads."""

    models: list[ModelData]
    tasks: list[TaskData]


def browser_data(results: StudyResults) -> BrowserData:
    """Return the data of the item browser, without texts: `add_texts` fills those in."""
    names = shown_models(results)
    return {
        "models": [_model(results, name) for name in names],
        "tasks": [_task(results, task, names) for task in results.task_names],
    }


def shown_models(results: StudyResults) -> list[str]:
    """Return the base, the experts, and the selected merge of every combination."""
    return [*results.singles, *results.chosen]


def _model(results: StudyResults, name: str) -> ModelData:
    point = results.summary.points.get(name)
    label = labels.point_name(point) if point else name
    short = labels.combination(point.combination) if point else name
    return {
        "name": name,
        "label": labels.without_direction_marks(label),
        "short": labels.without_direction_marks(short),
        "merge": point is not None,
    }


def _task(results: StudyResults, task: str, names: Sequence[str]) -> TaskData:
    return {
        "name": task,
        "label": labels.task_name(task),
        "about": labels.without_direction_marks(labels.task_group(results.summary.tasks[task])),
        "items": results.items(task),
        "chooses": _digits(results.is_selection_item(task)),
        "right": [_digits(results.correct(name, task)) for name in names],
        "hashes": [str(row.get("doc_hash", ""))[:12] for row in results.samples(task)],
        "may": results.text_allowed(task),
        "texts": [],
    }


def _digits(values: Sequence[bool]) -> str:
    return "".join("1" if value else "0" for value in values)


def add_texts(results: StudyResults, data: BrowserData, budget: int) -> None:
    """Add texts to `data`, one item of every task in turn, until `budget` bytes are used.

    Rows are in the order of a hash, so the items that have texts are a random sample. A task with damaged
    samples has no texts; one line names the first such file.
    """
    shown = [task for task in data["tasks"] if task["may"]]
    texts = _texts_by_task(results, [task["name"] for task in shown])
    for place in range(max(map(len, texts.values()), default=0)):
        for task in shown:
            of_task = texts.get(task["name"], [])
            if place < len(of_task) and place == len(task["texts"]):
                size = len(script_json(of_task[place]).encode("utf-8", "replace")) + 1
                if size <= budget:
                    budget -= size
                    task["texts"].append(of_task[place])


def _texts_by_task(results: StudyResults, tasks: Sequence[str]) -> dict[str, list[ItemText]]:
    """Return the texts of the tasks with intact samples; print a line about the other tasks.

    Samples that the study did not store are mentioned only if the text of every task was asked for.
    """
    stored = [task for task in tasks if any(path.exists() for path in _sample_files(results, task))]
    if tasks and not stored and results.with_text:
        LOG.warning(
            "%s: no samples are stored, so the page has no text of any item. Run the study again with "
            "`evaluation: {samples: all}`, the default.",
            results.folder,
        )
    texts, damage = {}, {}
    for task in stored:
        try:
            texts[task] = _texts(results, task)
        except DamagedSamplesError as error:
            damage[task] = str(error)
    if damage:
        names = ", ".join(labels.task_name(task) for task in damage)
        LOG.warning("%s. The page has no texts of %s. %s", next(iter(damage.values())), names, AGAIN)
    return texts


def _sample_files(results: StudyResults, task: str) -> list[Path]:
    """Return the samples of a task, one file for each shown model; the base's is the first."""
    return [results.sample_file(name, task) for name in shown_models(results)]


def script_json(content: BrowserData | ItemText) -> str:
    """Return JSON that cannot end its <script> element, whatever strings it contains."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _texts(results: StudyResults, task: str) -> list[ItemText]:
    """Return the texts of a task's items. Raises DamagedSamplesError in one line that names the file."""
    files, rows, count = _sample_files(results, task), results.samples(task), len(results.items(task))
    if len(rows) != count:
        raise DamagedSamplesError(f"{files[0]}: {len(rows)} of {count} items can be read")
    answers = []
    for name, path in zip(shown_models(results), files, strict=True):
        responses = responses_in(results.sample_lines(name, task))
        if len(responses) != count:
            raise DamagedSamplesError(f"{path}: {len(responses)} of {count} answers can be read")
        with _damage_in(path):
            answers.append([answer_text(*one).strip() for one in zip(rows, responses, strict=True)])
    with _damage_in(files[0]):
        return [_item_text(row, of_item) for row, *of_item in zip(rows, *answers, strict=True)]


@contextmanager
def _damage_in(path: Path) -> Iterator[None]:
    """Raise DamagedSamplesError for what parsing a sample of another format than lm-eval's raises."""
    try:
        yield
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise DamagedSamplesError(f"{path}: a sample is not in lm-eval's format") from error


def _item_text(row: JsonObject, answers: Sequence[str]) -> ItemText:
    clipped = [_clipped(answer, MAX_ANSWER) for answer in answers]
    distinct = list(dict.fromkeys(clipped))
    prompt = str(_requests(row)[0][0])
    return {
        "prompt": prompt if len(prompt) <= MAX_PROMPT else "…" + prompt[-MAX_PROMPT:],
        "target": _clipped(target(row), MAX_ANSWER),
        "answers": distinct,
        "by": [distinct.index(text) for text in clipped],
    }


def _clipped(text: str, max_length: int) -> str:
    return text if len(text) <= max_length else text[:max_length] + "…"


RESPONSES_KEY, NUMBER_KEY = '"filtered_resps":', '"doc_id":'


def responses_in(lines: Sequence[str]) -> list[Json]:
    """Return `filtered_resps` of every item, in the order of `doc_id`; unreadable lines are skipped.

    Finds the two keys without parsing the rest of the line, which would be slow. A quote inside a JSON string
    is preceded by a backslash, so text inside a string cannot be mistaken for these keys.
    """
    by_number: dict[int, Json] = {}
    decoder = json.JSONDecoder()
    for line in lines:
        try:
            number = decoder.raw_decode(line, _value_start(line, line.find(NUMBER_KEY), NUMBER_KEY))[0]
            start = _value_start(line, line.rfind(RESPONSES_KEY), RESPONSES_KEY)
            by_number.setdefault(int(number), decoder.raw_decode(line, start)[0])
        except (ValueError, TypeError, OverflowError, RecursionError):
            continue
    return [by_number[number] for number in sorted(by_number)]


def _value_start(line: str, key_start: int, key: str) -> int:
    """Return where the value of a key begins. Raises ValueError if the key is missing."""
    if key_start < 0:
        raise ValueError(key)
    place = key_start + len(key)
    while line[place : place + 1] == " ":
        place += 1
    return place


def _requests(row: JsonObject) -> list[tuple[Json, Json]]:
    """Return (prompt, continuation) of every request of a sample: one, or one per answer option."""
    padded = [[*_values(entry), "", ""] for entry in _values(row.get("arguments") or {})]
    return [(pair[0], pair[1]) for pair in padded] or [("", "")]


def _values(content: Json) -> list[Json]:
    """Return the values of an object or a list. Raises TypeError for anything else."""
    if isinstance(content, dict):
        return list(content.values())
    if isinstance(content, list):
        return content
    raise TypeError("neither an object nor a list")


def answer_text(row: JsonObject, response: Json) -> str:
    """Return what a model wrote, or the option that it considers most likely.

    Args:
        row: the item's sample, which has the options.
        response: the model's `filtered_resps`.
    """
    replies = response if isinstance(response, list) and response else [""]
    requests = _requests(row)
    if isinstance(replies[0], list) and len(replies) == len(requests) > 1:
        likelihoods = [_number(reply[0]) for reply in replies]
        return str(requests[likelihoods.index(max(likelihoods))][1])
    first = replies[0]
    return str(first[0] if isinstance(first, list) and first else first)


def _number(value: Json) -> float:
    try:
        return float(value) if isinstance(value, str | int | float) else float("-inf")
    except ValueError:
        return float("-inf")


def target(row: JsonObject) -> str:
    """Return the right answer; for a choice, its option."""
    document, requests = row.get("doc"), _requests(row)
    gold = document.get("gold_index") if isinstance(document, dict) else None
    if isinstance(gold, int) and len(requests) > 1 and 0 <= gold < len(requests):
        return str(requests[gold][1]).strip()
    return str(row.get("target", ""))
