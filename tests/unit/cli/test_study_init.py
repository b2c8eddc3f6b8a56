"""`study init` writes a file that `check` and `study plan` accept, and never overwrites; `study schema`."""

import json
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from click.testing import CliRunner

from mergekit_finance.cli import main, study_init
from mergekit_finance.study.config import load_study
from mergekit_finance.study.json_schema import study_schema


def init(*options, answers=None):
    return CliRunner().invoke(main, ["study", "init", *map(str, options)], input=answers)


def test_the_written_file_passes_check_and_plan(tiny, tmp_path, monkeypatch):
    (tmp_path / "my tasks").mkdir()
    task = {
        "task": "my_clauses",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "Clause {{number}} binds",
        "doc_to_choice": ["both", "the first party"],
        "doc_to_target": "{{number % 2}}",
        "metric_list": [{"metric": "acc"}],
    }
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"number": n}) + "\n" for n in range(12)))
    (tmp_path / "my tasks" / "my_clauses.yaml").write_text(yaml.safe_dump(task))
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    file = Path("sub/legal.yml")
    options = ["--base", f"{tiny}/base", "--expert", f"legal={tiny}/finance", "--expert", f"on={tiny}/math"]
    tasks = ["--task", "my_clauses", "--include-path", "my tasks"]
    result = init(*options, *tasks, "-o", file)
    assert result.exit_code == 0, result.output
    study = load_study(file)
    assert study.experts["on"].model == f"{tiny}/math" and study.stages == (1, 2)
    assert [Path(folder).resolve() for folder in study.include_path] == [tmp_path / "my tasks"]
    assert "finance" not in file.read_text().replace("mergekit_finance", "").replace(
        "mergekit-finance", ""
    ).replace(f"{tiny}/finance", "").replace("finance_bench tasks", "")
    plan = ["study", "plan", file, "--no-sample", "--device", "cpu"]
    for command in (["check", file], plan):
        result = CliRunner().invoke(main, [*map(str, command)])
        assert result.exit_code == 0, result.output
    file.write_text(file.read_text().replace('include_path: "', "# "))
    result = CliRunner().invoke(main, [*map(str, [*plan, "--include-path", "my tasks"])])
    assert result.exit_code == 0, result.output
    assert "unknown task 'my_clauses'" in CliRunner().invoke(main, [*map(str, plan)]).output


def test_a_first_study_without_a_download_needs_no_editing(tmp_path):
    """The commands of the page "Getting started"."""
    models = ["--base", "./base", "--expert", "finance=./finance"]
    assert init(*models, "--source", "lab", "--limit", 20, "-o", tmp_path / "a.yml").exit_code == 0
    study = load_study(tmp_path / "a.yml")
    assert study.source == "lab" and study.limit == 20
    assert init(*models, "-o", tmp_path / "b.yml").exit_code == 0
    study = load_study(tmp_path / "b.yml")
    assert study.source is None and study.limit is None


def test_an_existing_file_is_not_overwritten(tmp_path):
    file = tmp_path / "study.yml"
    file.write_text("mine")
    result = init("--base", "b", "--expert", "a=x", "-o", file)
    assert result.exit_code == 1 and "exists. Choose another file" in result.output
    assert file.read_text() == "mine"
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    assert init("--base", "b", "--expert", "a=x", "-o", file).exit_code == 1
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--base", "b"], "--base and --expert are missing"),
        (["--base", "b", "--expert", "x"], "write NAME=MODEL"),
        (["--base", "b", "--expert", "a=x", "--expert", "a=y"], "a name is there twice"),
        (["--base", "b", "--expert", "a b=x"], "must consist of letters, digits and _"),
        (["--base", "b", "--expert", "a=b"], "use different models"),
        (["--base", "b", "--expert", "a=x", "--task", "t", "--task", "t"], "appears twice"),
        (["--base", "b\nc: d", "--expert", "a=x"], "printable"),
        (["--base", "b", "--expert", "a=x", "--include-path", "none"], "no such directory"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(tmp_path, options, message):
    file = tmp_path / "study.yml"
    result = init(*options, "-o", file)
    assert result.exit_code in (1, 2) and message in result.output and "Traceback" not in result.output
    assert not file.exists()


def test_on_a_terminal_it_asks_for_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(study_init, "_is_terminal", lambda: True)
    file = tmp_path / "study.yml"
    result = init("-o", file, answers="./base\nlegal=./legal\ncode=./code\n\narc_easy, piqa\n")
    assert result.exit_code == 0, result.output
    study = load_study(file)
    assert (study.base, [*study.experts], study.tasks) == ("./base", ["legal", "code"], ("arc_easy", "piqa"))


def test_schema_is_printed_and_named_in_the_written_file(tmp_path):
    result = CliRunner().invoke(main, ["study", "schema"])
    assert result.exit_code == 0 and json.loads(result.output) == study_schema()
    init("--base", "b", "--expert", "a=x", "-o", tmp_path / "study.yml")
    first, _ = (tmp_path / "study.yml").read_text().split("\n", 1)
    assert json.loads(Path(unquote(first.split("$schema=file://")[1])).read_text()) == study_schema()
