"""Paths that are longer than the file system allows, in every place of a command line: one line."""

import pytest
from helpers.fuzz_guard import command

STUDY = "base: o/b\nexperts: {m: {model: o/m, skills: math}}\n"
RECIPE = "merge_method: linear\nmodels: [{model: o/a, parameters: {weight: 1}}, {model: NAME, parameters: {weight: 1}}]\n"
NAMES = {"a name of 300 bytes": "x" * 300, "a path of 5,000 bytes": "/".join(["y" * 200] * 25)}
COMMANDS = [
    "check NAME", "check NAME.yml", "check NAME NAME", "check recipe.yml", "run NAME -o o", "run recipe.yml -o o", "study NAME -o o", "study plan NAME",
    "card NAME -o o", "report NAME", "share NAME --repo a/b --dry-run", "leaderboard NAME", "similarity --base NAME NAMEx -o s.json", "similarity --base o/b o/c -o NAME",
    "data status --mirror NAME", "data verify --mirror NAME", "data adopt NAME --mirror m", "data adopt . --mirror NAME", "recipes show NAME",
    "recipes copy NAME .", "recipes copy lab NAME", "recipes export NAME", "recipes export study.yml -o NAME", "lab export NAME",
]  # fmt: skip


@pytest.mark.parametrize("arguments", COMMANDS)
@pytest.mark.parametrize("length", NAMES)
def test_a_name_that_is_too_long_is_reported_in_one_line(tmp_path, monkeypatch, arguments, length):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yml").write_text(STUDY)
    (tmp_path / "recipe.yml").write_text(RECIPE.replace("NAME", NAMES[length]))
    result = command(*arguments.replace("NAME", NAMES[length]).split())
    assert result.exit_code in (1, 2)
