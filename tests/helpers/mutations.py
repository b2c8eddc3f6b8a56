"""Damage valid documents: keys, values and types first, then characters and bytes.

Every function takes a random.Random, real or of Hypothesis, so that a failing case can be made smaller.
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
    "", " ", "x", "\n", "a\nb", "\x00", "a\x00b", "\x1b[31m", "\u202e", "\u2028", "日本語", "é" * 150, "x" * 300,
    "x" * 5000, "9" * 400, "../../x", "..", ".", "/", "/etc/passwd", "/dev/zero", "~", "~nobody/x", "a/b", "a/b@c", "a+b", "a@b",
    "./x", "1", "-1", "0x10", "1e5", "1e999", "nan", "inf", "yes", "null", "<b>x</b>", "`x`", "|", "[x](y)", "{x}", "%s", "{0}",
    "$HOME", "float32", "int8", "cuda", "cpu", "meta", "auto", "base", "union", "mean", "a:b", "a,b", "💥", "\ufeff", "\u3000",
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


def places(document: Any) -> list[tuple[Any, Any]]:
    """Return (container, key or index) of every value below the top."""
    found, todo = [], [document]
    while todo:
        part = todo.pop()
        items = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        for key, value in list(items):
            found.append((part, key))
            todo.append(value)
    return found


def hostile(random: Random, document: Any) -> Any:
    """Return a value that may do harm: a constant of this file, or another part of the document."""
    kind = random.randrange(8)
    if kind == 0:
        spots = places(document)
        container, key = spots[random.randrange(len(spots))] if spots else ([document], 0)
        return copy.deepcopy(container[key])
    if kind == 1:
        return nested(random.choice((1, 2, 5, 50, 98, 101, 120)))
    if kind == 2:
        return [copy.deepcopy(HOSTILE[random.randrange(len(HOSTILE))]) for _ in range(random.randrange(4))]
    values = (NUMBERS, TEXTS, OTHERS, HOSTILE, HOSTILE)[kind - 3]
    return copy.deepcopy(values[random.randrange(len(values))])


def nested(levels: int) -> Any:
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
    kind = random.randrange(10)
    if kind < 5:
        container[key] = hostile(random, document)
    elif kind == 5:
        container.pop(key)
    elif kind == 6 and isinstance(container, dict):
        container[KEYS[random.randrange(len(KEYS))]] = container.pop(key)
    elif kind == 7 and isinstance(container, dict):
        container[KEYS[random.randrange(len(KEYS))]] = hostile(random, document)
    elif kind == 8 and isinstance(container, list):
        container.extend(copy.deepcopy([container[key]] * random.choice((1, 2, 300))))
    elif isinstance(container[key], str):
        container[key] = text_edit(random, container[key], YAML_BITS)
    else:
        container[key] = random.choice(([container[key]], {"a": container[key]}, str(container[key])))
    return document


def edits(random: Random, document: Any) -> Any:
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
    kind = random.randrange(4)
    if kind == 0:
        return data[:start]
    if kind == 1:
        return data[:start] + bytes([random.randrange(256)]) + data[start + 1 :]
    if kind == 2:
        return data[:start] + data[start + random.choice((1, 8, 100)) :]
    return data[:start] + random.choice((b"\xff", b"\x00", b"\xff\xfe", b"\x80" * 9)) + data[start:]


def damaged_text(random: Random, text: str, load: Callable[[str], Any], dump: Callable[[Any], str], bits: list[str]) -> bytes:  # fmt: skip
    """Return a document with one to three faults: mostly in its content, else in its text or bytes."""
    kind = random.randrange(10)
    if kind < 7:
        try:
            return dump(edits(random, load(text))).encode("utf-8", "surrogatepass")
        except RecursionError:  # the writer's own: nested values were put into nested values
            pass
    if kind < 9:
        return text_edit(random, text, bits).encode("utf-8", "surrogatepass")
    return byte_edit(random, text.encode())


def damaged_yaml(random: Random, text: str) -> bytes:
    return damaged_text(random, text, yaml.safe_load, dump_yaml, YAML_BITS)


def damaged_json(random: Random, text: str) -> bytes:
    return damaged_text(random, text, json.loads, lambda content: json.dumps(content), JSON_BITS)


def dump_yaml(content: Any) -> str:
    return yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)
