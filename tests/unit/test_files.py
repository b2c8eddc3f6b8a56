"""Reading files that other people wrote: text, YAML and JSON within bounds, names, and printable text."""

import os
import sys
from pathlib import Path

import pytest
from helpers.fuzz_guard import cpu_limit

from mergekit_finance.errors import DataError, RecipeError, printable
from mergekit_finance.files import (
    is_folder,
    is_name,
    one_line,
    parse_json,
    read_bytes,
    read_json,
    read_text,
    read_yaml,
    write_json,
)
from mergekit_finance.recipe import load as recipes
from mergekit_finance.study import config

DEEP = '{"a": ' * 3000 + "1" + "}" * 3000
READERS = {"recipe": recipes.load_recipe, "study": config.load_study, "YAML": read_yaml}


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.symlink_to(path.with_name("other"))
    path.with_name("other").symlink_to(path)


UNREADABLE = {
    "a FIFO": (_fifo, "not a regular file"),
    "an endless device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "a folder": (Path.mkdir, "not a regular file"),
    "symbolic links in a circle": (_loop, "Too many levels of symbolic links"),
    "above 1 MB": (lambda path: path.write_bytes(b"#" * 1_000_001), "larger than 1 MB"),
    "a sparse terabyte": (lambda path: (path.touch(), os.truncate(path, 10**12)), "larger than 1 MB"),
    "UTF-16": (lambda path: path.write_bytes("a: 1".encode("utf-16")), "UTF-16, not UTF-8"),
    "Latin-1": (lambda path: path.write_bytes("é: 1".encode("latin-1")), "codec can't decode"),
    "UTF-32": (lambda path: path.write_bytes("a: 1".encode("utf-32-be")), "control character"),
    "NUL": (lambda path: path.write_bytes(b"a: \0"), "control character"),
    "a path below a file": (lambda path: path.parent.touch(), "Not a directory"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_that_cannot_be_read_as_yaml_is_reported_in_one_line(
    tmp_path: Path, name: str, reader: str
) -> None:
    make, problem = UNREADABLE[name]
    path = tmp_path / ("file/x.yml" if name == "a path below a file" else "x.yml")
    make(path)
    with pytest.raises(RecipeError) as caught, cpu_limit(15):  # it takes less than 1 s
        READERS[reader](path)
    message = str(caught.value)
    assert message.startswith(str(path)) and problem in message and message.isprintable()


def test_a_yaml_file_may_be_a_link_and_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_bytes("\ufeffa: é\r\n".encode())
    (tmp_path / "b.yml").symlink_to(tmp_path / "a.yml")
    assert read_yaml(tmp_path / "b.yml") == {"a": "é"}


def test_a_missing_yaml_file_raises_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_yaml(tmp_path / "x.yml")


@pytest.mark.parametrize("path", ["x\0y", "x" * 5000])
@pytest.mark.parametrize("reader", READERS)
def test_a_path_that_no_file_can_have_is_reported_in_one_line(path: str, reader: str) -> None:
    with pytest.raises(RecipeError) as caught:
        READERS[reader](Path(path))
    assert str(caught.value).isprintable() and len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    "text",
    [
        DEEP,
        "[" * 200_000,
        "NaN",
        "-Infinity",
        '{"a": 1e999}',
        "1" * 5000,
        '"\\ud800"',
        '{"\\udc00": 1}',
        '["\\ud83d", "\\ude00"]',
        "",
        "{",
    ],
    ids=lambda text: text[:20],
)
def test_json_out_of_bounds_is_refused(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_json(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("opening", "closing", "leaf", "levels"),
    [
        ("[", "]", "", 100),
        ("[", "]", "1", 99),
        ("[", "]", "{}", 99),
        ('{"a":', "}", "1", 99),
        ('{"a":', "}", "[]", 99),
        ('[{"a":', "}]", '"x"', 49),
    ],
)
def test_json_of_100_levels_is_read_and_of_more_is_refused(
    opening: str, closing: str, leaf: str, levels: int
) -> None:
    parse_json(opening * levels + leaf + closing * levels)
    beside = f'[{{"other": [], "more": 1}}, {opening * (levels - 1) + leaf + closing * (levels - 1)}]'
    parse_json(beside)
    for text in (
        opening * (levels + 1) + leaf + closing * (levels + 1),
        f'[{{"other": []}}, {opening * (levels + 1) + leaf + closing * (levels + 1)}]',
    ):
        with pytest.raises(ValueError, match="nested too deep"):
            parse_json(text)


def test_json_within_bounds_is_read() -> None:
    assert parse_json('{"a": [1.5, "\\ud83d\\ude00", "é", null]}') == {"a": [1.5, "😀", "é", None]}


def test_json_is_written_as_readable_text_and_never_with_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", {"損益": [0.1, None]}, indent=None)
    assert (tmp_path / "file.json").read_bytes() == '{"損益": [0.1, null]}\n'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file.json", {"a": float("nan")})
    assert len(list(tmp_path.iterdir())) == 1


def test_files_are_read_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("[1]")
    assert read_json(path, max_bytes=3) == [1] and read_bytes(path, max_bytes=3) == b"[1]"
    with pytest.raises(OSError, match="larger than 2e-06 MB"):
        read_json(path, max_bytes=2)


def test_links_are_followed_only_with_the_option(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(DataError, match="is a symbolic link"):
        read_text(tmp_path / "b")
    assert read_text(tmp_path / "b", links=True) == "x"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_file_whose_size_is_not_known_is_read_up_to_the_limit() -> None:
    with pytest.raises(OSError, match="larger than"):
        read_bytes(Path("/proc/self/maps"), max_bytes=100)


@pytest.mark.parametrize("text", ["a\nb", "a\x1bb", "<b>", "a`b", "", "a\u2028b", 3])
def test_text_that_is_not_a_name(text: object) -> None:
    assert not is_name(text) and is_name("日本語 a-b_0.5")


@pytest.mark.parametrize("text", ["../x", ".", "..", "", "a/b", "a\\b", None])
def test_text_that_is_not_a_folder_name(text: object) -> None:
    assert not is_folder(text) and is_folder("stage1-a-0.5")


def test_untrusted_text_becomes_one_line_without_markup() -> None:
    assert one_line("my\nown`[x](y)<img>|\x00") == "my own'(x)(y)&lt;img&gt;/"
    assert len(one_line("x" * 1000)) == 100


def test_printable_text_has_no_character_that_controls_a_terminal() -> None:
    assert printable("a\x1b[31m\r\x07\x9b\u202e\u2028\ud800é 日本\u3000語") == (
        "a\\x1b[31m\\r\\x07\\x9b\\u202e\\u2028\\ud800é 日本\u3000語"
    )
    assert printable("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"
