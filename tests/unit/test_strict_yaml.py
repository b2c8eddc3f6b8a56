"""The one YAML parser: what it reads, what it refuses, and that neither takes long."""

import json
from pathlib import Path

import pytest
import yaml
from helpers.fuzz_guard import cpu_limit
from hypothesis import given, settings
from hypothesis import strategies as st

from mergekit_finance.files import bundled
from mergekit_finance.strict_yaml import InvalidYaml, parse

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)

REFUSED = {
    "a key twice": ("a: 1\nb: 2\na: 3", 3, "key 'a' appears twice"),
    "a key twice in braces": ("x: {a: 1, 'a': 2}", 1, "key 'a' appears twice"),
    "a merge key twice": ("a: &a {x: 1}\nb: {<<: *a, <<: *a}", 2, "key '<<' appears twice"),
    "a key twice beside a merge": ("a: &a {x: 1}\nb: {<<: *a, y: 1, y: 2}", 2, "key 'y' appears twice"),
    "a boolean key": ("a: 1\nyes: 2", 2, "a key is read as True"),
    "a number as key": ("1: 2", 1, "a key is read as 1"),
    "null as key": ("~: 2", 1, "a key is read as None"),
    "a list as key": ("[a]: 1", 1, "a key is a list or mapping"),
    "a mapping as key": ("? {a: 1}\n: 1", 1, "a key is a list or mapping"),
    "billion laughs": (BOMB, 6, "more than 100000 values after aliases are expanded"),
    "billion laughs in keys": (BOMB.replace("[", "{<<: [").replace("]", "]}").replace("[x,x,x,x,x,x,x,x,x]", "{}"), 6, "more than 100000 values"),
    "a long text repeated": ("a: &a " + "x" * 500_000 + "\nb: [" + "*a," * 100_000 + "]", 2, "more than 100000 values"),
    "an anchor in itself": ("a: &a [*a]", 1, "the anchor 'a' contains itself"),
    "no such anchor": ("a: *b", 1, "the alias 'b' has no anchor"),
    "an anchor twice": ("a: &a 1\nb: &a 2", 2, "the anchor 'a' appears twice"),
    "400 brackets": ("a: " + "[" * 400, 1, "nest"),
    "a million brackets": ("[" * 999_999, 1, "nest"),
    "400 levels in block style": ("".join(" " * i + "a:\n" for i in range(400)), 101, "nested more than 100"),
    "5,000 digits": ("limit: " + "9" * 5000, 1, "a number of 5000 characters"),
    "a long hexadecimal number": ("limit: 0x" + "f" * 900_000, 1, "a number of 900002 characters"),
    "a long sexagesimal number": ("limit: 1" + ":1" * 400_000, 1, "a number of 800001 characters"),
    "not a number": ("a: 1\nb: .nan", 2, ".nan is not a finite number"),
    "infinity": ("b: 1.0e+999", 1, "1.0e+999 is not a finite number"),
    "an empty binary number": ("b: 0b_", 1, "'0b_' cannot be read as 'int'"),
    "NUL": ("a: 1\nb: \0", 2, r"control character '\x00'"),
    "ESC": ("a: \x1b[31m", 1, r"control character '\x1b'"),
    "ESC, escaped": ('a: "\\e[31m"', 1, r"control character '\x1b' in a text"),
    "NUL, escaped": ('a: "\\0"', 1, r"control character '\x00' in a text"),
    "half of a surrogate pair": ("a: \ud800", 1, r"control character '\ud800'"),
    "half of a surrogate pair, escaped": ('a: "\\ud800"', 1, "invalid Unicode character"),
    "a tab as indentation": ("a:\n\tb: 1", 2, "indent with spaces, not tabs"),
    "two documents": ("a: 1\n---\nb: 1", 2, "a second document"),
    "a tag of Python": ("!!python/object/apply:os.system [ls]", 1, "is not supported"),
    "a set": ("!!set {a, b}", 1, "is not supported"),
    "bytes": ("!!binary aGVsbG8=", 1, "cannot be read as 'binary'"),
    "a word tagged as number": ("!!int abc", 1, "cannot be read as 'int'"),
    "nothing tagged as number": ("!!int ''", 1, "cannot be read as 'int'"),
    "a word tagged as boolean": ("!!bool x", 1, "cannot be read as 'bool'"),
    "a tag of the author": ("a: !x y", 1, "the tag '!x' is not supported"),
    "a number merged": ("<<: 3", 1, "`<<` takes a mapping"),
    "another version of YAML": ("%YAML 9.9\n---\na: 1", 1, "incompatible"),
    "half a list": ("a: [1, 2\n", 2, "expected"),
    "too many values": ("- a\n" * 250_000, 100_000, "more than 100000 values"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_yaml_is_reported_with_problem_and_line(name: str) -> None:
    text, line, problem = REFUSED[name]
    # Less than 1 s of CPU time; expanding all aliases of these texts would never end.
    with pytest.raises(InvalidYaml) as caught, cpu_limit(15):
        parse(text)
    assert (caught.value.line, problem in str(caught.value)) == (line, True), str(caught.value)
    assert len(str(caught.value)) < 200 and str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing", None),
        ("\ufeffa: 1", {"a": 1}),
        ("a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
        ("a: 2020-01-01\nb: 2020-01-01 10:00:00", {"a": "2020-01-01", "b": "2020-01-01 10:00:00"}),
        ("2020-01-01: 1", {"2020-01-01": 1}),
        ("a: =", {"a": "="}),
        ("'<<': 1", {"<<": 1}),
        ("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}", {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}}),
        ("- &a {x: 1}\n- &b {x: 2, y: 2}\n- <<: [*a, *b]\n  z: 3", [{"x": 1}, {"x": 2, "y": 2}, {"x": 1, "y": 2, "z": 3}]),
        ("&k a: *k", {"a": "a"}),
        ("a: 1_000\nb: 010\nc: 0x1f\nd: 1e3\ne: 1.5e+3\nf: off", {"a": 1000, "b": 8, "c": 31, "d": "1e3", "e": 1500.0, "f": False}),
        ('a: "日本語\\t\\n\u3000x"', {"a": "日本語\t\n\u3000x"}),
        ("a: !!str 1\nb: !!int '2'\nc: ! x", {"a": "1", "b": 2, "c": "x"}),
    ],
)  # fmt: skip
def test_accepted_yaml_is_read(text: str, value: object) -> None:
    assert parse(text) == value
    json.dumps(value, allow_nan=False)


def test_a_value_repeated_by_an_alias_is_a_copy() -> None:
    content = parse("a: &a {x: [1]}\nb: *a")
    assert isinstance(content, dict) and content["a"] == content["b"] and content["a"] is not content["b"]


PACKAGE = Path(bundled("lm_eval_tasks")).parent / "mergekit_finance"
FILES = [*bundled("recipes").rglob("*.yml"), *PACKAGE.rglob("*.yml")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_our_own_files_are_read_as_by_pyyaml(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert parse(text) == yaml.safe_load(text)


TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20) | st.sampled_from(
    ["yes", "null", "~", "1", "0x1f", "1:30", "<<", "=", "2020-01-01", "- a", "a: b", "#", "'", '"', "&a", "*a", "\n", "\t"]
)  # fmt: skip
SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
)  # fmt: skip
CONTENT = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(CONTENT, st.sampled_from([None, True, False]), st.booleans())
def test_yaml_that_pyyaml_writes_is_read_back(content: object, flow: bool | None, unicode: bool) -> None:
    text = yaml.safe_dump(content, default_flow_style=flow, allow_unicode=unicode)
    assert parse(text) == content
