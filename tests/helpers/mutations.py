"""Damage valid documents: keys, values and types first, then characters and bytes.

Every choice is made by a random.Random, which is Hypothesis's own in tests, so that it can make a failing case
smaller.
"""

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

import yaml

NUMBERS: list[Any] = [
    0, 1, -1, 2, 3, 0.5, -0.5, 1.5, 1e-300, 5e-324, 1e308, -1e308, 1e30, 10**9, 10**12, 2**31, 2**32, 2**63, 2**64,
    -(2**63) - 1, 10**30, 10**99, float("nan"), float("inf"), float("-inf"), -0.0,
]  # fmt: skip
TEXTS: list[Any] = [
    "", " ", "x", "\n", "a\nb", "\x00", "a\x00b", "\x1b[31m", "\x1b]0;x\x07", "\x9b2J", "\u202e", "\u2028", "日本語", "é" * 150,
    "x" * 300, "x" * 5000, "9" * 400, "9" * 5000, "../../x", "..", ".", "/", "/etc/passwd", "/dev/zero", "~", "~nobody/x", "a/b",
    "a/b@c", "a+b", "a@b", "./x", "1", "-1", "0x10", "1e5", "1e999", "nan", "inf", "yes", "null", "<b>x</b>", "`x`", "|",
    "[x](y)", "{x}", "{{ x }}", "{% for %}", "%s", "{0}", "$HOME", "float32", "int8", "cuda", "cpu", "meta", "auto", "base",
    "union", "mean", "a:b", "a,b", "💥", "\ufeff", "\u3000", "２０２４", "\ud800",
]  # fmt: skip
OTHERS: list[Any] = [
    None, True, False, [], {}, [[]], [{}], [None], {"": None}, {"a": 1}, {"a": {"a": {"a": 1}}}, [0], [1, "a"], ["x"], [[1], [2]],
    [0.5, 0.5], [{"filter": "mlp", "value": 0.5}], [{"value": 0.5}], {"model": "x"}, {"path": "x", "revision": 1},
]  # fmt: skip
HOSTILE = NUMBERS + TEXTS + OTHERS
KEYS = ["", " ", "x", "model", "models", "name", "value", "filter", "base_model", "parameters", "lambda", "tasks", "__class__", "\x1b[0m", "é", "a.b", "1", "null", "x" * 300]  # fmt: skip
YAML_BITS = [
    "&a ", "*a", "*b", "<<: *a", "<<: {a: 1}", "!!int ", "!!python/name:os.system ", "!x ", "---\n", "...\n", "\t", "? ", ": ", "- ",
    "[", "]", "{", "}", "'", '"', "|", ">", "%", "#", "\ufeff", "\x00", "\x1b", "\r", "\n", "9" * 5000, "[" * 400, "- " * 200, "~", "=",
    "2020-01-01", ".nan", ".inf", "0b_", "1:30", "\\", "@", ",",
]  # fmt: skip
JSON_BITS = [
    "[", "]", "{", "}", '"', ",", ":", "NaN", "Infinity", "-", "1e999", "9" * 5000, "[" * 3000, '{"a":' * 3000, "\\ud800", "\\u0000",
    "\\", "\x00", "null", "true", '"a":1,', "\ufeff", "\n", "1.", "0",
]  # fmt: skip
TEXT_BITS = ["\x00", "\x1b[2J", "\n", "\r", "\u202e", "9" * 5000, "(" * 3000, "{{", "}}", "{%", "%}", "x" * 300, "\ud800", " ", "\\", '"']  # fmt: skip


class Damage:
    """Damages documents; with `harmless` it only chooses among valid inputs and does not change them."""

    def __init__(self, random: Random, harmless: bool = False) -> None:
        self.random = random
        self._random = None if harmless else random

    def pick(self, choices: Any) -> Any:
        """Return one of several values."""
        return choices[self.random.randrange(len(choices))]

    def often(self, share: int = 2) -> bool:
        """Return True once in so many times; never where nothing is damaged."""
        return self._random is not None and self._random.randrange(share) == 0

    def yaml(self, text: str) -> bytes:
        """Return YAML with one to three faults."""
        if self._random is None:
            return text.encode()
        return damaged_text(self._random, text, yaml.safe_load, dump_yaml, YAML_BITS)

    def json(self, text: str) -> bytes:
        """Return JSON with one to three faults."""
        if self._random is None:
            return text.encode()
        return damaged_text(self._random, text, json.loads, json.dumps, JSON_BITS)

    def value(self, document: Any) -> Any:
        """Return a value with faults inside it."""
        return copy.deepcopy(document) if self._random is None else edits(self._random, document)

    def text(self, text: str, bits: list[str] = TEXT_BITS) -> str:
        """Return a text with faults."""
        return text if self._random is None else text_edit(self._random, text, bits)

    def bytes(self, data: bytes) -> bytes:
        """Return bytes with faults."""
        return data if self._random is None else byte_edit(self._random, data)


def places(document: Any) -> list[tuple[Any, Any]]:
    """Return (container, key or index) of every value below the top."""
    spots, todo = [], [document]
    while todo:
        part = todo.pop()
        items = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        for key, value in list(items):
            spots.append((part, key))
            todo.append(value)
    return spots


def hostile(random: Random, document: Any, old: Any = None) -> Any:
    """Return a value that may do harm: a constant of this file, or another part of the document.

    `old` is what it replaces. Half of the values have its type: they pass more checks.
    """
    kind = random.randrange(10)
    if kind < 4 and isinstance(old, int | float) and not isinstance(old, bool):
        return NUMBERS[random.randrange(len(NUMBERS))]
    if kind < 4 and isinstance(old, str):
        return TEXTS[random.randrange(len(TEXTS))]
    if kind < 6:
        spots = places(document)
        container, key = spots[random.randrange(len(spots))] if spots else ([document], 0)
        return copy.deepcopy(container[key])
    if kind == 6:
        return nested(random.choice((1, 2, 5, 50, 98, 101, 120)))
    if kind == 7:
        return [copy.deepcopy(HOSTILE[random.randrange(len(HOSTILE))]) for _ in range(random.randrange(4))]
    return copy.deepcopy(HOSTILE[random.randrange(len(HOSTILE))])


def nested(levels: int) -> Any:
    """Return lists, or for an odd number of levels mappings, inside each other."""
    value: Any = 1
    for _ in range(levels):
        value = {"a": value} if levels % 2 else [value]
    return value


def edit(random: Random, document: Any) -> Any:
    """Change one place of a document; the document itself may be replaced."""
    spots = places(document)
    if not spots or random.randrange(40) == 0:
        return hostile(random, document)
    container, key = spots[random.randrange(len(spots))]
    kind = random.randrange(12)
    if kind < 6:
        container[key] = hostile(random, document, container[key])
    elif kind == 6:
        container.pop(key)
    elif kind == 7 and isinstance(container, dict):
        container[KEYS[random.randrange(len(KEYS))]] = container.pop(key)
    elif kind == 8 and isinstance(container, dict):
        container[KEYS[random.randrange(len(KEYS))]] = hostile(random, document)
    elif kind == 9 and isinstance(container, list):
        container.extend(copy.deepcopy([container[key]] * random.choice((1, 2, 300))))
    elif kind == 10:
        other_container, other_key = spots[random.randrange(len(spots))]
        container[key], other_container[other_key] = (
            copy.deepcopy(other_container[other_key]),
            copy.deepcopy(container[key]),
        )
    elif isinstance(container[key], str):
        container[key] = text_edit(random, container[key], YAML_BITS)
    else:
        container[key] = random.choice(([container[key]], {"a": container[key]}, str(container[key])))
    return document


def edits(random: Random, document: Any) -> Any:
    """Return a copy of a document with one to three places changed."""
    document = copy.deepcopy(document)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        document = edit(random, document)
    return document


def text_edit(random: Random, text: str, bits: list[str]) -> str:
    """Insert, delete, repeat or replace a part of a text."""
    start = random.randrange(len(text) + 1)
    end = min(len(text), start + random.choice((0, 0, 1, 3, 30)))
    bit = bits[random.randrange(len(bits))]
    return text[:start] + random.choice((bit, "", bit + text[start:end], text[start:end] * 3)) + text[end:]


def byte_edit(random: Random, data: bytes) -> bytes:
    """Flip, insert, cut or truncate bytes."""
    start = random.randrange(len(data) + 1)
    kind = random.randrange(5)
    if kind == 0:
        return data[:start]
    if kind == 1:
        return data[:start] + bytes([random.randrange(256)]) + data[start + 1 :]
    if kind == 2:
        return data[:start] + data[start + random.choice((1, 8, 100)) :]
    if kind == 3:
        length = random.choice((1, 8, 100))
        other = random.randrange(len(data) + 1)
        return data[:start] + data[other : other + length] + data[start:]
    return data[:start] + random.choice((b"\xff", b"\x00", b"\xff\xfe", b"\x80" * 9)) + data[start:]


def damaged_text(random: Random, text: str, load: Callable[[str], Any], dump: Callable[[Any], str], bits: list[str]) -> bytes:  # fmt: skip
    """Return a document with one to three faults: mostly in its content, else in its text or bytes."""
    kind = random.randrange(10)
    if kind < 7:
        try:
            return dump(edits(random, load(text))).encode("utf-8", "surrogatepass")
        except (RecursionError, UnicodeError, ValueError):  # the writer cannot write it: damage the text
            pass
    if kind < 9:
        return text_edit(random, text, bits).encode("utf-8", "surrogatepass")
    return byte_edit(random, text.encode())


def dump_yaml(content: Any) -> str:
    return yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)
