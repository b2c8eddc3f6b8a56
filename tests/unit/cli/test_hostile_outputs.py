"""Outputs and options that would cost a file, or that a command took without a word: one line, and nothing changes."""

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner
from helpers import report as reports

from mergekit_finance.cli import main
from mergekit_finance.cli.common import one_line_errors
from mergekit_finance.errors import RecipeError
from mergekit_finance.files import atomic_path, is_scratch
from mergekit_finance.share import ranked_results, ranking, ranking_text
from mergekit_finance.study.refusals import FILES, check_folder


def refused(*arguments: object) -> str:
    done = CliRunner().invoke(main, [*map(str, arguments)])
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code in (1, 2)
    (line,) = [line for line in done.output.splitlines() if line.startswith("Error: ")]
    return line


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reports.study(tmp_path_factory.mktemp("study") / "out")


@pytest.mark.parametrize("name", ["summary.json", "study.json", "ranking.html", "points/x.csv"])
def test_a_ranking_is_not_written_into_the_results_that_it_ranks(
    study: Path, tmp_path: Path, name: str
) -> None:
    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    (tmp_path / "link").symlink_to(study)
    for folder in (study, tmp_path / "link"):
        assert "[output.in-input]" in refused("leaderboard", study, "-o", folder / name)
    assert {path: path.read_bytes() for path in study.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("command", "file", "choices"),
    [
        ("leaderboard {study} -o", "board.xlsx", ".txt, .md, .csv, .json or .html"),
        ("leaderboard {study} -o", "a.html.gz", ".txt, .md, .csv, .json or .html"),
        ("similarity --base b m -o", "s.CSV", ".json"),
        ("study init --base ./b --expert a=./a -o", "s.json", ".yml or .yaml"),
    ],
)
def test_an_output_with_the_ending_of_another_format(
    study: Path, tmp_path: Path, command: str, file: str, choices: str
) -> None:
    line = refused(*command.format(study=study).split(), tmp_path / file)
    assert line.startswith(f"Error: -o {tmp_path / file}: {Path(file).suffix.lower()} files are not written")
    assert line.endswith(f". Choose a name that ends in {choices}. [output.ending]")
    assert not list(tmp_path.iterdir())


def test_rankings_are_written_by_a_named_format_without_an_ending_and_into_pipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranked_results, "read_results", lambda name, folder: None)
    monkeypatch.setattr(ranking, "rank", lambda results: SimpleNamespace(refused={}))
    for name in ("text", "csv"):
        monkeypatch.setitem(ranking_text.FORMATS, name, lambda result, name=name: name)
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    for arguments in (["pipe.csv"], ["board.xls", "--format", "csv"], ["board"]):
        arguments[0] = str(tmp_path / arguments[0])
        done = CliRunner().invoke(main, ["leaderboard", str(tmp_path), "--output", *arguments])
        assert "[output.in-input]" in done.output  # of its own folder
        done = CliRunner().invoke(main, ["leaderboard", "x", "--output", *arguments])
        assert done.exit_code == 0, done.output
    assert pipe.is_fifo() and os.read(reader, 100) == b"csv"  # written to, not replaced
    assert [(tmp_path / name).read_text() for name in ("board.xls", "board")] == ["csv", "text"]


def test_a_file_in_place_of_results_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "x.json").touch()
    assert refused("leaderboard", tmp_path / "x.json").startswith(
        f"Error: {tmp_path / 'x.json'}: is not a folder. Name a study's folder"
    )


@pytest.mark.parametrize("names", [",", " , "])
def test_a_list_of_formats_without_a_format(study: Path, names: str) -> None:
    assert "names no format. Choose from csv" in refused("report", study, "--format", names)


def test_two_hub_ids_for_one_model(study: Path, tmp_path: Path) -> None:
    ids = ("--hub-id", "base=a/b", "--hub-id", "base=c/d")
    line = refused("card", study, "-o", tmp_path / "card", *ids)
    assert line == "Error: --hub-id: 'base' is a/b and c/d. Name one of them."


def test_a_newer_format_of_similarities_is_named(tmp_path: Path) -> None:
    out = reports.study(tmp_path / "out")
    reports.damage(out, "similarity.json", lambda content: content.update(format=2))
    assert "similarity.json: not what a study writes (measured.format: must be 1" in refused("report", out)


@pytest.mark.parametrize("name", [*FILES, "gain.json"])
@pytest.mark.parametrize("text", ["{}", "[1, 2]", "not JSON"])
def test_a_file_that_no_study_wrote_is_not_overwritten(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(RecipeError, match="exists, and no study wrote it") as caught:
        check_folder(tmp_path, [])
    assert caught.value.id == "output.foreign-file"


@pytest.mark.parametrize("entries", [[], ["notes.csv"], ["base-0123456789abc"]])
def test_a_folder_called_points_does_not_show_that_files_are_results(
    tmp_path: Path, entries: list[str]
) -> None:
    (tmp_path / "points").mkdir()
    for name in entries:
        (tmp_path / "points" / name).touch()
    check_folder(tmp_path, [])
    (tmp_path / "summary.json").write_text('{"mine": 1}')
    with pytest.raises(RecipeError, match="summary.json exists, and no study wrote it"):
        check_folder(tmp_path, [])


def test_results_are_not_written_into_the_folder_of_a_card(tmp_path: Path) -> None:
    """A report of them would overwrite the card's figures, and its study.yml is another study's."""
    (tmp_path / "results").mkdir()
    (tmp_path / "README.md").write_text("a card")
    check_folder(tmp_path, [])  # files that nothing overwrites may be there
    (tmp_path / "results" / "files.json").write_text("{}")
    with pytest.raises(RecipeError, match="holds a model card"):
        check_folder(tmp_path, [])


@pytest.mark.parametrize("name", ["study.json", "summary.json", "unfinished.json", "gain.json"])
def test_results_of_a_newer_version_are_not_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / "points" / "base-0123456789ab").mkdir(parents=True)
    (tmp_path / name).write_text('{"format": 9}')
    with pytest.raises(RecipeError, match=f"{name} has format 9, of a newer version"):
        check_folder(tmp_path, [])


@pytest.mark.parametrize("text", ['{"for', "[]", '{"format": 1}'])
def test_results_of_a_study_are_written_again_also_if_they_are_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / "points" / "base-0123456789ab").mkdir(parents=True)
    for name in FILES:
        (tmp_path / name).write_text(text)
    check_folder(tmp_path, [])


def test_only_temporary_folders_of_this_package_are_removed(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "key.json") as temporary:
        assert is_scratch(temporary.parent)
        temporary.write_text("")
    for name in (".DS_Store", ".study.json.swp", ".a.json.tmp"):
        (tmp_path / name).touch()
    (tmp_path / ".git").mkdir()
    assert not any(map(is_scratch, tmp_path.iterdir()))


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.ENOTDIR, errno.EEXIST, errno.EISDIR]
)
def test_what_the_operating_system_says_of_a_path_is_one_line(number: int) -> None:
    with pytest.raises(click.ClickException) as caught, one_line_errors():
        raise OSError(number, os.strerror(number), "out/a\nb")
    assert caught.value.message.startswith(f"out/a\\nb: cannot be read or written ({os.strerror(number)}). ")


def test_a_missing_file_of_the_package_keeps_its_traceback() -> None:
    with pytest.raises(FileNotFoundError), one_line_errors():
        raise FileNotFoundError(errno.ENOENT, "No such file", "x")


def test_a_folder_of_tasks_without_task_files(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    content = {
        "base": "./b", "experts": {"a": "./a"}, "operators": {"task_arithmetic": {"lambda": 0.5}},
        "stages": [1], "tasks": ["x"], "include_path": "tasks",
    }  # fmt: skip
    (tmp_path / "study.yml").write_text(json.dumps(content))
    done = CliRunner().invoke(main, ["check", str(tmp_path / "study.yml")])
    assert "has no task files (*.yaml)" in done.output
    assert "[task.include-path]" in done.output
