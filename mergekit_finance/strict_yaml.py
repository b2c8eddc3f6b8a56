"""Parse untrusted YAML into JSON values, within bounds of time and memory.

PyYAML's safe loader accepts the following; this parser refuses it with the line number:

* a key that appears twice, a key that is not text (`yes`, `1`, `null`, a list), several documents;
* more than MAX_NODES values after aliases are expanded ("billion laughs"), more than MAX_DEPTH levels, an
  anchor that contains itself;
* NaN, infinity, integers of more than MAX_DIGITS characters, control characters, tags of other types.

Dates stay text, as in YAML 1.2: `2020-01-01` is the string "2020-01-01", which may be a revision or a name
and can be written as JSON. Integers and floats are those of YAML 1.1, as mergekit reads them.

Two things are left to PyYAML: writing (`safe_dump` quotes what would be read back as another type), and task
files in `evaluation.keys`, which name code that lm-eval runs and must be read as lm-eval reads them.
"""

import copy
import math
import re
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

MAX_NODES = 100_000  # values and keys after aliases are expanded; each 100 characters of text add one
MAX_DEPTH = 100  # levels of nested lists and mappings; recipes and studies nest less than ten deep
MAX_DIGITS = 100  # characters of a number; Python refuses to print integers of more than 4300 digits

# A value of a parsed document; like `files.Json`, but mutable.
Value: TypeAlias = "str | int | float | bool | None | list[Value] | dict[str, Value]"

_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
_TAG = "tag:yaml.org,2002:"
_RESOLVERS = yaml.SafeLoader.yaml_implicit_resolvers
_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_BOOLEANS = yaml.constructor.SafeConstructor.bool_values
# libyaml's parser is ten times as fast; PyYAML is not always built with it.
_PARSER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class InvalidYaml(ValueError):
    """The text is not YAML, or not within the bounds.

    Attributes:
        line: of the fault; it counts from 1.
        id: of the finding (docs/checks.md).
    """

    def __init__(self, problem: str, line: int, id: str = "file.unreadable") -> None:
        super().__init__(problem)
        self.line, self.id = line, id


@dataclass
class _Open:
    """A list or mapping whose end is not read yet."""

    content: "list[Value] | dict[str, Value]"
    line: int
    anchor: str | None
    size_before: int
    key: str | None = None  # of a mapping: the key whose value is not read yet
    is_merge: bool = False  # the key is `<<`
    merged: "list[Value]" = field(default_factory=list)  # values of `<<`


def parse(text: str) -> Value:
    """Return the value of a YAML document; None if it is empty. Raises InvalidYaml."""
    text = text.removeprefix("\ufeff")
    if bad := _FORBIDDEN.search(text):
        raise InvalidYaml(f"control character {bad[0]!a}", text.count("\n", 0, bad.start()) + 1)
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_PARSER):
            builder.add(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise InvalidYaml(f"{error.problem or error.context}{_tab_hint(text, line)}", line) from error
    except yaml.YAMLError as error:
        raise InvalidYaml("cannot be parsed", 1) from error
    return builder.result


def _tab_hint(text: str, line: int) -> str:
    lines = text.splitlines()[line - 1 : line]
    return "; indent with spaces, not tabs" if lines and re.match(r"\s*\t", lines[0]) else ""


class _Builder:
    """Builds values from the parser's events, without recursion."""

    def __init__(self) -> None:
        self.result: Value = None
        self.open: list[_Open] = []
        self.anchors: dict[str, tuple[Value, int]] = {}  # value and its size
        self.size = 0
        self.documents = 0

    def add(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.ScalarEvent):
            self._add_scalar(event, line)
        elif isinstance(event, yaml.AliasEvent):
            value, size = self._anchored(str(event.anchor), line)
            self._grow(size, line)
            self._put(copy.deepcopy(value), line)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._start([], event, "seq", line)
        elif isinstance(event, yaml.MappingStartEvent):
            self._start({}, event, "map", line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end()
        elif isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise InvalidYaml("a second document begins; write one", line)

    def _add_scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        size = 1 + len(event.value) // 100
        self._grow(size, line)
        value = _scalar(event, line)
        if event.anchor:
            self._require_new(event.anchor, line)
            self.anchors[event.anchor] = (value, size)
        mapping = self.open[-1] if self.open and isinstance(self.open[-1].content, dict) else None
        if mapping and mapping.key is None and event.value == "<<" and event.implicit[0]:
            value, mapping.is_merge = "<<", True
        self._put(value, line)

    def _start(
        self, content: "list[Value] | dict[str, Value]", event: yaml.CollectionStartEvent, tag: str, line: int
    ) -> None:
        if event.tag not in (None, "!", _TAG + tag):
            raise InvalidYaml(f"the tag {event.tag!r} is not supported", line)
        if len(self.open) == MAX_DEPTH:
            raise InvalidYaml(f"nested more than {MAX_DEPTH} levels deep", line)
        if event.anchor:
            self._require_new(event.anchor, line)
        self.open.append(_Open(content, line, event.anchor, self.size))
        self._grow(1, line)

    def _end(self) -> None:
        closed = self.open.pop()
        if isinstance(closed.content, dict) and closed.merged:
            entries, inherited = dict(closed.content), {}
            for source in reversed(closed.merged):  # of several mappings, the first takes precedence
                inherited.update(_mapping_to_merge(source, closed.line))
            closed.content.clear()
            closed.content.update(inherited | entries)
        if closed.anchor:
            self.anchors[closed.anchor] = (closed.content, self.size - closed.size_before)
        self._put(closed.content, closed.line)

    def _put(self, value: Value, line: int) -> None:
        """Store a complete value: as the document, a list's next entry, or a mapping's next key or value."""
        if not self.open:
            self.result = value
            return
        parent = self.open[-1]
        if isinstance(parent.content, list):
            parent.content.append(value)
        elif parent.key is None:
            parent.key = _key(value, line)
            if parent.key in parent.content or (parent.is_merge and parent.merged):
                raise InvalidYaml(f"key {parent.key!r} appears twice", line, "file.repeated-key")
        else:
            if parent.is_merge:
                parent.merged += value if isinstance(value, list) else [value]
            else:
                parent.content[parent.key] = value
            parent.key, parent.is_merge = None, False

    def _grow(self, size: int, line: int) -> None:
        self.size += size
        if self.size > MAX_NODES:
            raise InvalidYaml(f"holds more than {MAX_NODES} values after aliases are expanded", line)

    def _anchored(self, name: str, line: int) -> tuple[Value, int]:
        if name in self.anchors:
            return self.anchors[name]
        if any(name == block.anchor for block in self.open):
            raise InvalidYaml(f"the anchor {name!r} contains itself", line)
        raise InvalidYaml(f"the alias {name!r} has no anchor before it", line)

    def _require_new(self, name: str, line: int) -> None:
        if name in self.anchors or any(name == block.anchor for block in self.open):
            raise InvalidYaml(f"the anchor {name!r} appears twice", line)


def _mapping_to_merge(value: Value, line: int) -> "dict[str, Value]":
    if not isinstance(value, dict):
        raise InvalidYaml("`<<` takes a mapping, or a list of mappings", line)
    return value


def _key(value: Value, line: int) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        raise InvalidYaml("a key is a list or mapping, not text", line)
    raise InvalidYaml(f"a key is read as {value!r}, not as text. Put it in quotes", line)


def _scalar(event: yaml.ScalarEvent, line: int) -> "str | int | float | bool | None":
    tag, text = event.tag, event.value
    if tag in (None, "!"):
        tag = _implicit_tag(text) if event.implicit[0] else "str"
    elif not tag.startswith(_TAG):
        raise InvalidYaml(f"the tag {tag!r} is not supported", line)
    kind = tag.removeprefix(_TAG)
    if kind == "null":
        return None
    if kind == "bool" and text.lower() in _BOOLEANS:
        return bool(_BOOLEANS[text.lower()])
    if kind in ("int", "float"):
        return _number(kind, text, line)
    if kind not in ("str", "timestamp", "merge", "value"):
        raise InvalidYaml(f"{text[:40]!r} cannot be read as {kind!r}", line)
    if bad := _CONTROL.search(text):
        raise InvalidYaml(f"control character {bad[0]!a} in a text", line)
    return str(text)


def _implicit_tag(text: str) -> str:
    """Return the tag that YAML 1.1 gives to an unquoted text."""
    for tag, pattern in _RESOLVERS.get(text[:1], []):
        if pattern.match(text):
            return str(tag)
    return "str"


def _number(kind: str, text: str, line: int) -> int | float:
    if len(text) > MAX_DIGITS:
        raise InvalidYaml(f"a number of {len(text)} characters; at most {MAX_DIGITS} are read", line)
    node = yaml.ScalarNode(_TAG + kind, text)
    try:
        number = (
            _CONSTRUCTOR.construct_yaml_int(node)
            if kind == "int"
            else _CONSTRUCTOR.construct_yaml_float(node)
        )
    except (ValueError, IndexError, OverflowError) as error:
        raise InvalidYaml(f"{text!r} cannot be read as {kind!r}", line) from error
    if isinstance(number, float) and not math.isfinite(number):
        raise InvalidYaml(f"{text} is not a finite number", line)
    return number
