"""Checks of untrusted text and JSON."""

import pytest

from mergekit_finance.files import is_folder, is_name, one_line, parse_json

DEEP = '{"a": ' * 3000 + "1" + "}" * 3000


@pytest.mark.parametrize("text", [DEEP, "[" * 200_000, "NaN"])
def test_json_that_is_nested_too_deep_or_not_finite_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


@pytest.mark.parametrize("text", ["a\nb", "a\x1bb", "<b>", "a`b", "", "a\u2028b", 3])
def test_text_that_is_not_a_name(text: object) -> None:
    assert not is_name(text) and is_name("日本語 a-b_0.5")


@pytest.mark.parametrize("text", ["../x", ".", "..", "", "a/b", "a\\b", None])
def test_text_that_is_not_a_folder_name(text: object) -> None:
    assert not is_folder(text) and is_folder("stage1-a-0.5")


def test_untrusted_text_becomes_one_line_without_markup() -> None:
    assert one_line("my\nown`[x](y)<img>|\x00") == "my own'(x)(y)&lt;img&gt;/"
    assert len(one_line("x" * 1000)) == 100
