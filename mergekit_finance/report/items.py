"""What the item browser shows: right and wrong of every item, and texts where they may be shown."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mergekit_finance.report import files, labels
from mergekit_finance.report.stored import Stored

LONGEST_PROMPT, LONGEST_ANSWER = 2400, 700
Text = dict[str, Any]


def browser(stored: Stored) -> dict[str, Any]:
    """{models, tasks}: the page's script builds the item browser from it. No texts yet."""
    names = shown(stored)
    return {
        "models": [_model(stored, name) for name in names],
        "tasks": [_task(stored, task, names) for task in stored.tasks],
    }


def shown(stored: Stored) -> list[str]:
    """Base, experts, and the selected merge of every combination."""
    return [*stored.singles, *stored.chosen]


def _model(stored: Stored, name: str) -> dict[str, Any]:
    point = stored.points.get(name)
    return {
        "name": name,
        "label": labels.straight(labels.point(point) if point else name),
        "short": labels.straight(labels.combination(point["combination"]) if point else name),
        "merge": bool(point),
    }


def _task(stored: Stored, task: str, names: Sequence[str]) -> dict[str, Any]:
    known = stored.summary["tasks"][task]
    return {
        "name": task,
        "label": labels.task(task),
        "about": labels.straight(labels.skills(known)),
        "items": stored.items(task),
        "chooses": _bits(stored.chooses(task)),
        "right": [_bits(stored.right(name, task)) for name in names],
        "hashes": [str(row.get("doc_hash", ""))[:12] for row in stored.samples(task)],
        "may": stored.text_allowed(task),
        "texts": [],
    }


def _bits(values: Sequence[bool]) -> str:
    return "".join("1" if value else "0" for value in values)


def spend(stored: Stored, content: Mapping[str, Any], budget: int) -> None:
    """Item by item over all tasks, texts go in until the budget of bytes is spent. Rows are in hash order, so
    what is left out is random."""
    texts = {task: _texts(stored, task) for task in stored.tasks if stored.text_allowed(task)}
    for place in range(max(map(len, texts.values()), default=0)):
        for task in content["tasks"]:
            own = texts.get(task["name"], ())
            if place < len(own) and place == len(task["texts"]):
                size = len(escaped(own[place]).encode("utf-8", "replace")) + 1
                if size <= budget:
                    budget -= size
                    task["texts"].append(own[place])


def escaped(content: Any) -> str:
    """JSON that cannot end its <script> element, whatever strings it holds."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _texts(stored: Stored, task: str) -> list[Text]:
    """Per item: prompt, target, the different answers, and which of them each model gave."""
    first = stored.samples(task)
    replies = [replies_of(stored.folder(name), task) for name in shown(stored)]
    if not first or any(len(column) != len(first) for column in replies):
        return []
    try:
        return [_text(row, of_item) for row, of_item in zip(first, zip(*replies, strict=True), strict=True)]
    except (ValueError, TypeError, LookupError, RecursionError):
        return []  # not what lm-eval writes: no texts, and the page all the same


def _text(row: Mapping[str, Any], replies: Sequence[Any]) -> Text:
    answers = [_cut(answer(row, reply).strip(), LONGEST_ANSWER) for reply in replies]
    different = list(dict.fromkeys(answers))
    prompt = str(_arguments(row)[0][0])
    return {
        "prompt": prompt if len(prompt) <= LONGEST_PROMPT else "…" + prompt[-LONGEST_PROMPT:],
        "target": _cut(target(row), LONGEST_ANSWER),
        "answers": different,
        "by": [different.index(text) for text in answers],
    }


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + "…"


KEY, NUMBER = '"filtered_resps":', '"doc_id":'


def replies_of(folder: Path, task: str) -> list[Any]:
    """`filtered_resps` of every item, in the rows' order. A quote inside a JSON string has a backslash
    before it, so these keys are found without parsing the rest of a line, which would take long."""
    found: dict[int, Any] = {}
    decoder = json.JSONDecoder()
    for line in files.lines(folder / f"samples_{task}.jsonl"):
        value, number = line.rfind(KEY), line.find(NUMBER)
        try:
            place = int(decoder.raw_decode(line, _past(line, number, NUMBER))[0])
            found.setdefault(place, decoder.raw_decode(line, _past(line, value, KEY))[0])
        except (ValueError, TypeError, OverflowError, RecursionError):
            continue  # text is an extra: half a line costs texts, not the report
    return [found[place] for place in sorted(found)]


def _past(line: str, start: int, key: str) -> int:
    """Where the value of a key begins. Raises ValueError where there is no such key."""
    if start < 0:
        raise ValueError(key)
    place = start + len(key)
    while line[place : place + 1] == " ":
        place += 1
    return place


def _arguments(row: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """(prompt, continuation) of every request: one, or one an option."""
    found = row.get("arguments") or {}
    asked = found.values() if isinstance(found, Mapping) else found
    pairs = [tuple(a.values()) if isinstance(a, Mapping) else tuple(a) for a in asked]
    return [(*pair, "", "")[:2] for pair in pairs] or [("", "")]


def answer(row: Mapping[str, Any], found: Any) -> str:
    """What the model wrote, or the option that it held most likely. `row`: the same item's sample, for its
    options; `found`: the model's `filtered_resps`."""
    replies = found if isinstance(found, list) and found else [""]
    options = _arguments(row)
    if isinstance(replies[0], list) and len(replies) == len(options) > 1:
        likely = max(range(len(replies)), key=lambda i: _number(replies[i][0]))
        return str(options[likely][1])
    first = replies[0]
    return str(first[0] if isinstance(first, list) and first else first)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("-inf")


def target(row: Mapping[str, Any]) -> str:
    """The right answer; of a choice its option."""
    doc, asked = row.get("doc"), _arguments(row)
    gold = doc.get("gold_index") if isinstance(doc, Mapping) else None
    if isinstance(gold, int) and len(asked) > 1 and 0 <= gold < len(asked):
        return str(asked[gold][1]).strip()
    return str(row.get("target", ""))
