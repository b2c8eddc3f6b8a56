"""`mergekit-finance check`: targets, report, JSON, exit code, and what it costs."""

import errno
import gc
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from helpers import commands
from helpers.sparse_models import tokenizer_json, write_llama_8b

from mergekit_finance.cli import main
from mergekit_finance.models.facts import FactsReader

STUDY = """\
base: {tiny}/base
base_license: apache-2.0
experts:
  finance: {{model: {tiny}/finance, license: apache-2.0}}
  math: {{model: {tiny}/math, license: apache-2.0}}
operators: {{task_arithmetic: {{lambda: 0.5}}}}
stages: [1, 2]
"""


def check(*targets: object) -> Result:
    return CliRunner().invoke(main, ["check", *map(str, targets)])


def report(*targets: object) -> dict:
    return json.loads(check(*targets, "--json").stdout)


def ids(*targets: object, level: str = "error") -> list[str]:
    return [one["id"] for one in report(*targets)["findings"] if one["level"] == level]


@pytest.fixture
def study(tiny, tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(STUDY.format(tiny=tiny))
    return path


@pytest.fixture
def copies(tiny, tmp_path):
    return Path(shutil.copytree(tiny, tmp_path / "copies"))


# ---- targets


@pytest.mark.parametrize(
    "text",
    [
        "base: ./b\nexperts: {m: {model: ./m, skills: math}}\noperators: {task_arithmetic: {lambda: 0.5}}\nstages: [1]\n",
        "merge_method: linear\nmodels: [{model: ./b, parameters: {weight: 1}}, {model: ./m, parameters: {weight: 1}}]\n",
    ],
    ids=["study", "recipe"],
)
def test_each_missing_model_is_an_error(tmp_path, text):
    (tmp_path / "target.yml").write_text(text)
    assert ids(tmp_path / "target.yml") == ["model.missing"] * 2


def test_models_that_fit_have_no_errors(tiny):
    result = check(tiny / "base", tiny / "math")
    assert result.exit_code == 0
    assert result.stdout.startswith("Checked 2 models: 0 errors, 0 warnings, 1 note.\n\nNotes\n")
    assert "[resources.estimate] merging takes about" in result.stdout


def test_studies_and_recipes_are_distinguished_by_their_content(study, recipe):
    assert report(study)["kind"] == "study"
    assert report(recipe())["kind"] == "recipe"


def test_a_study_and_a_recipe_that_fit_pass(study, recipe):
    assert check(study).exit_code == 0 and check(recipe()).exit_code == 0


def test_an_error_in_a_study_or_recipe_is_a_finding(study, recipe):
    study.write_text(study.read_text() + "stagse: [1]\n")
    assert ids(study) == ["study.unknown-key"]
    assert ids(recipe(("lambda: 0.5", "lamda: 0.5"))) == ["recipe.unknown-key"]
    assert ids(recipe(("lambda: 0.5", "lambda: much"))) == ["recipe.invalid"]
    study.write_text(STUDY.format(tiny="./tiny").replace("[1, 2]", "[7]"))
    assert ids(study) == ["study.invalid"]


def test_answers_must_fit_the_context_of_the_base_of_a_recipe_too(copies, tmp_path):
    for name, context in (("base", 64), ("finance", 4096), ("math", 4096)):
        config = copies / name / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "max_position_embeddings": context}))
    experts = "".join(f"  - {{model: {copies}/{name}}}\n" for name in ("finance", "math"))
    recipe = tmp_path / "recipe.yml"
    recipe.write_text(
        f"merge_method: cpt_task_arithmetic\nbase_model: {copies}/base\nmodels:\n{experts}"
        "finance: {tasks: [finance_bench_probe_m]}\n"
    )
    assert ids(recipe) == ["task.context"]


@pytest.mark.parametrize("kind", ["models", "study", "recipe"])
def test_broken_models_are_found_through_every_target(copies, tiny, study, recipe, kind):
    weights = copies / "math" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    targets = {
        "models": (copies / "base", copies / "math"),
        "study": (study,),
        "recipe": (recipe((str(tiny), str(copies))),),
    }
    study.write_text(STUDY.format(tiny=copies))
    result = check(*targets[kind])
    assert result.exit_code == 1
    assert "Errors\n  [model.broken] " in result.stdout and "truncated or broken" in result.stdout
    assert ids(*targets[kind]) == ["model.broken"]


def test_errors_of_several_models_are_all_listed(copies):
    (copies / "finance" / "config.json").write_text("[]")
    (copies / "math" / "tokenizer.json").write_text("{")
    assert ids(*(copies / name for name in ("base", "finance", "math")), "./nowhere") == [
        "model.missing",
        "model.broken",
        "model.broken",
    ]


def test_a_hub_id_is_listed_as_not_checked(tiny):
    result = check(tiny / "base", "owner/name")
    assert result.exit_code == 0
    assert "[model.unseen] owner/name is not on this machine" in result.stdout


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["nothing.yml"], "Error: nothing.yml: no such file."),
        (["list.yml"], "Error: list.yml: neither a recipe nor a study"),
        (["broken.yml"], "Error: broken.yml, line 2: not valid YAML"),
        (["list.yml", "./model"], "Error: list.yml is a file. Check it alone"),
        ([], "Error: Missing argument"),
    ],
)
def test_a_target_that_is_neither_model_nor_file_of_ours_is_reported_in_one_line(
    tmp_path, monkeypatch, targets, message
):
    monkeypatch.chdir(tmp_path)
    Path("list.yml").write_text("[1]")
    Path("broken.yml").write_text("{")
    result = check(*targets)
    assert result.exit_code in (1, 2) and message in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("content", "id"),
    [
        ("[1]", "file.unreadable"), ("{", "file.unreadable"), ("", "file.unreadable"), ("\x00", "file.unreadable"),
        ("a: &a [*a]", "file.unreadable"), ("base: ./a\nbase: ./b", "file.repeated-key"),
        ("merge_method: tis", "recipe.unknown-method"), ("merge_method: ties\ndtype: int8", "recipe.dtype"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_one_finding_in_json(tmp_path, content, id):
    (tmp_path / "x.yml").write_text(content)
    result = check(tmp_path / "x.yml", "--json")
    assert result.exit_code == 1 and [one["id"] for one in json.loads(result.stdout)["findings"]] == [id]
    assert json.loads(result.stdout)["findings"][0]["remedy"]


@pytest.mark.parametrize(
    "kind", ["missing", "fifo", "device", "too large", "no config", "no folder", "a loop"]
)
def test_a_path_that_is_neither_file_nor_model_is_one_finding_in_json(tmp_path, kind):
    path = tmp_path / "x.yml"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind in ("device", "a loop"):
        path.symlink_to("/dev/zero" if kind == "device" else path)
    elif kind == "too large":
        path.write_bytes(b" " * 1_100_000)
    elif kind in ("no config", "no folder"):
        path = tmp_path / "folder"
        path.mkdir() if kind == "no config" else None
    result = check(path, "--json")
    (error,) = json.loads(result.stdout)["findings"]
    assert result.exit_code == 1 and error["level"] == "error" and error["remedy"]
    assert error["id"] == ("model.missing" if path.name == "folder" else "file.unreadable")


def test_a_file_of_a_model_and_an_empty_name_are_answered_with_what_to_name(tiny):
    result = check(tiny / "base" / "model.safetensors")
    assert f"a file of a model. Name its folder, {tiny / 'base'}" in result.output
    assert ids("") == ["model.missing"]
    assert check("").output.startswith("Checked 1 model: 1 error")


def test_output_without_room_is_one_line(tiny, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("click.utils.echo", full)
    monkeypatch.setattr("mergekit_finance.cli.common.click.echo", full)
    result = CliRunner().invoke(main, ["check", str(tiny / "base")], standalone_mode=False)
    assert "No space left on device: the output could not be written" in str(result.exception)


def test_names_cannot_control_the_terminal(copies):
    (copies / "math" / "config.json").write_text('{"model_type": "\\u001b[31mx"}')
    result = check(copies / "base", copies / "math")
    assert "\x1b" not in result.stdout and "\\x1b[31mx" in result.stdout


# ---- report


def test_the_json_report_counts_levels_and_bytes(copies):
    config = copies / "math" / "config.json"
    content = json.loads(config.read_text())
    content["rope_parameters"] = {"rope_theta": 5e5}
    config.write_text(json.dumps(content))
    json_report = report(copies / "base", copies / "math")
    assert (json_report["errors"], json_report["warnings"], json_report["kind"]) == (0, 1, "models")
    (warning,) = (one for one in json_report["findings"] if one["level"] == "warning")
    assert warning["id"] == "model.rope" and warning["remedy"].startswith("Merge only if")
    assert 0 < json_report["bytes_read"] < 64_000_000


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("stages:", "source: hfhub\nstages:", "unknown source 'hfhub'"),
        ("/finance,", "/finance, skills: [law],", "no task needs 'law'"),
    ],
)
def test_sources_and_skills_that_a_plan_refuses_are_found_without_rows(study, old, new, message):
    study.write_text(study.read_text().replace(old, new))
    assert any(message in one["message"] for one in report(study)["findings"] if one["level"] == "error")


def test_a_filter_of_a_study_that_matches_no_tensor_is_a_warning(study):
    grid = "{lambda: [[{filter: mpl, value: 0.4}, {value: 0.8}], [{filter: mlp, value: 0.4}, {value: 0.8}]]}"
    study.write_text(study.read_text().replace("{lambda: 0.5}", grid))
    messages = [one["message"] for one in report(study)["findings"] if one["id"] == "recipe.filter-unused"]
    assert len(messages) == 1 and "filter 'mpl' matches no tensor of" in messages[0]


def test_license_conflicts_of_a_study_are_a_note(study):
    study.write_text(study.read_text().replace("apache-2.0}", "cc-by-nd-4.0}", 1))
    notes = [one for one in report(study)["findings"] if one["id"] == "model.license"]
    assert len(notes) == 1 and notes[0]["level"] == "note"
    assert "cc-by-nd-4.0, the license of " in notes[0]["message"]
    assert "/finance, forbids sharing a merge" in notes[0]["message"]


# ---- cost


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Three models of the shape of Llama-3-8B."""
    folder, tokenizer = tmp_path_factory.mktemp("large"), tokenizer_json()
    return [
        write_llama_8b(folder / name, i, tokenizer=tokenizer) for i, name in enumerate(("base", "a", "b"))
    ]


def test_three_models_of_8b_are_read_within_64_mb_and_one_tokenizer_is_parsed(large, monkeypatch):
    monkeypatch.setattr("mergekit_finance.checks.resources.free_memory", lambda: 10**12)
    reader = FactsReader()
    models = [reader.read(str(path)) for path in large]
    assert reader.bytes_read < 64_000_000 and reader.tokenizers_parsed == 1
    assert [len(model.samples) for model in models] == [291] * 3
    assert [(model.problems, model.unseen) for model in models] == [((), ())] * 3
    assert [level for one in report(*large)["findings"] if (level := one["level"]) != "note"] == []


def test_rules_of_a_tokenizer_that_all_models_share_are_not_compared(large, monkeypatch):
    digests = []
    monkeypatch.setattr("mergekit_finance.models.tokenizer_files._digest", digests.append)
    report(*large)
    assert digests == []


@pytest.mark.parametrize("is_enabled", [True, False])
def test_a_check_runs_without_the_garbage_collector_and_leaves_it_as_it_was(tiny, monkeypatch, is_enabled):
    during = []
    monkeypatch.setattr(
        "mergekit_finance.cli.check.check_models", lambda *_: during.append(gc.isenabled()) or 1 / 0
    )
    was_enabled = gc.isenabled()
    try:
        (gc.enable if is_enabled else gc.disable)()
        assert isinstance(check(tiny / "base").exception, ZeroDivisionError)
        after = gc.isenabled()
    finally:
        (gc.enable if was_enabled else gc.disable)()
    assert (during, after) == ([False], is_enabled)


def test_neither_torch_nor_a_host_is_loaded_for_models_or_a_study(large, study):
    code = """\
import sys
from mergekit_finance.cli import main
try:
    main(sys.argv[1:], standalone_mode=False)
finally:
    slow = ("torch", "transformers", "mergekit", "lm_eval")
    slow += ("mergekit_finance.data.loader", "mergekit_finance.scoring.answers", "mergekit_finance.study.schema")
    print("loaded:", [m for m in slow if m in sys.modules])
"""
    for targets in (large, [study]):
        result = commands.run_installed("python", "-c", code, "check", *map(str, targets))
        assert result.stdout.splitlines()[-1] == "loaded: []", result.stderr
    assert "torch" in sys.modules  # torch is installed, so that the empty list above means something
