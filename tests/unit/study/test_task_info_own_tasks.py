"""Any task of lm-eval in a study: the user's own task files, a named metric and filter, free skills."""

import json

import pytest
import yaml
from click.testing import CliRunner
from helpers import study as helpers

from mergekit_finance.cli import main
from mergekit_finance.errors import DataError, RecipeError
from mergekit_finance.study import config
from mergekit_finance.study.results import load_results

TASK = {
    "task": "my_contracts",
    "dataset_path": "json",
    "output_type": "generate_until",
    "test_split": "test",
    "doc_to_text": "Contract {{number}}: how many parties?",
    "doc_to_target": "{{number}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4},
    "filter_list": [
        {"name": "strict", "filter": [{"function": "take_first"}]},
        {
            "name": "flexible-extract",
            "filter": [{"function": "regex", "regex_pattern": "([0-9]+)"}, {"function": "take_first"}],
        },
    ],
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}
CLAUSES = {
    "task": "my_clauses",
    "dataset_path": "json",
    "output_type": "multiple_choice",
    "validation_split": "test",  # as in many tasks of lm-eval, there is no test split
    "doc_to_text": "Clause {{number}} binds",
    "doc_to_choice": ["both", "the first party"],
    "doc_to_target": "{{number % 2}}",
    "metric_list": [
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
        {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True},
    ],
}


@pytest.fixture
def own_tasks(tmp_path):
    """A folder of two tasks on generated rows."""
    folder = tmp_path / "my_tasks"
    folder.mkdir()
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"number": number}) + "\n" for number in range(12)))
    for task in (TASK, CLAUSES):
        write(folder, task, rows)
    return folder


def write(folder, task, rows, **changes):
    content = task | {"dataset_kwargs": {"data_files": {"test": str(rows)}}} | changes
    (folder / f"{content['task']}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def settings(own_tasks, tasks=None):
    contracts = {"task": "my_contracts", "metric": "exact_match", "filter": "flexible-extract"}
    return {
        "include_path": str(own_tasks),
        "source": None,
        "limit": None,
        "stages": [1],
        "tasks": tasks
        or [
            contracts | {"skills": ["legal"]},
            {"task": "my_clauses", "metric": "acc_norm", "skills": ["code"]},
        ],
    }


def test_a_study_of_own_tasks_takes_the_named_metric_and_skills(tiny, tmp_path, own_tasks):
    experts = {"legal": f"{tiny}/finance", "code": {"model": f"{tiny}/math", "skills": ["code", "no task"]}}
    out = tmp_path / "out"
    helpers.go(tiny, out, experts=experts, **settings(own_tasks))
    results = load_results(out)
    assert {name: task.skills for name, task in results.tasks.items()} == {
        "my_contracts": ["legal"], "my_clauses": ["code"],
    }  # fmt: skip
    assert not any(task.text_may_be_shared for task in results.tasks.values())
    for name, key in (("my_contracts", "exact_match,flexible-extract"), ("my_clauses", "acc_norm,none")):
        values = results.host_results("base")["results"][name]
        columns = results.columns("base")[name]
        assert len(columns.items) == 12  # one row an item, not one for each filter
        assert sum(columns.score) / 12 == pytest.approx(values[key]) == values["score,none"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"task": "my_clauses", "metric": "accuracy"}, "no metric 'accuracy'.*acc, acc_norm"),
        ({"task": "my_contracts", "filter": "loose"}, "no filter 'loose'.*flexible-extract, strict"),
    ],
)
def test_an_unknown_metric_or_filter_is_refused_with_the_valid_ones(
    tiny, tmp_path, own_tasks, entry, message
):
    helpers.refused(tiny, tmp_path / "out", DataError, message, **settings(own_tasks, [entry]))


def test_a_missing_include_path_is_refused_when_the_file_is_read(tiny, tmp_path):
    path = helpers.write(tmp_path / "study.yml", tiny, include_path="./none")
    with pytest.raises(RecipeError, match="include_path ./none: no such directory"):
        config.load_study(path)


def test_include_path_is_relative_to_the_study_file(tiny, tmp_path, own_tasks):
    path = helpers.write(tmp_path / "study.yml", tiny, include_path="./my_tasks")
    assert config.load_study(path).include_path == (str(own_tasks),)


def test_a_name_of_a_built_in_task_is_refused(tiny, tmp_path, own_tasks):
    for name in ("finance_bench_fpb", "arc_easy"):
        write(own_tasks, CLAUSES | {"task": name}, tmp_path / "rows.jsonl")
        message = f"task '{name}' has the name of a built-in task"
        helpers.refused(tiny, tmp_path / "out", DataError, message, **settings(own_tasks))
        (own_tasks / f"{name}.yaml").unlink()


def test_a_name_in_two_files_is_refused(tiny, tmp_path, own_tasks):
    (own_tasks / "again.yaml").write_bytes((own_tasks / "my_clauses.yaml").read_bytes())
    helpers.refused(tiny, tmp_path / "out", DataError, "task 'my_clauses' is also in", **settings(own_tasks))


def test_an_import_error_in_a_function_of_a_task_is_reported_in_one_line(tiny, tmp_path, own_tasks):
    (own_tasks / "utils.py").write_text("import not_installed_here\n")
    with (own_tasks / "my_clauses.yaml").open("a") as file:
        file.write("process_docs: !function utils.process\n")
    message = "task 'my_clauses' cannot be loaded .ModuleNotFoundError: No module named 'not_installed_here'"
    helpers.refused(tiny, tmp_path / "out", DataError, message, **settings(own_tasks))


def test_a_metric_in_a_unit_of_its_own_is_refused(tiny, tmp_path, own_tasks):
    loss = [{"metric": "acc", "aggregation": "mean", "higher_is_better": False}]
    write(own_tasks, CLAUSES, tmp_path / "rows.jsonl", metric_list=loss)
    message = "its metric 'acc' is in a unit of its own"
    helpers.refused(tiny, tmp_path / "out", DataError, message, **settings(own_tasks, ["my_clauses"]))


def test_an_aggregation_of_the_users_own_is_refused_in_a_study(tiny, tmp_path, own_tasks):
    (own_tasks / "utils.py").write_text("def agg(items):\n    return max(items)\n")
    path = own_tasks / "my_clauses.yaml"
    path.write_text(path.read_text().replace("aggregation: mean", "aggregation: !function utils.agg", 1))
    helpers.refused(
        tiny,
        tmp_path / "out",
        DataError,
        "needs scores of single items",
        **settings(own_tasks, ["my_clauses"]),
    )


def test_a_study_with_own_tasks_reads_back_as_it_was_written(tiny, own_tasks):
    study = config.parse_study(helpers.content(tiny, **settings(own_tasks)), "study.yml")
    assert config.parse_study(config.dump(study), "study.json") == study
    assert "include_path" not in config.identity(study)


def run_recipe(tiny, tmp_path, folder, tasks="my_clauses"):
    recipe = {
        "merge_method": "cpt_task_arithmetic",
        "base_model": f"{tiny}/base",
        "models": [{"model": f"{tiny}/finance"}],
        "parameters": {"lambda": 0.5},
        "dtype": "float32",
        "finance": {"include_path": folder, "tasks": tasks},
    }
    path = tmp_path / "recipe.yml"
    path.write_text(yaml.safe_dump(recipe))
    return CliRunner().invoke(main, ["run", str(path), "-o", str(tmp_path / "out"), "--device", "cpu"])


def test_run_takes_own_tasks_from_the_recipes_block_and_says_that_their_code_may_run(
    tiny, tmp_path, own_tasks
):
    entries = ["my_contracts", {"task": "my_clauses", "metric": "acc_norm", "weight": 3}]
    result = run_recipe(tiny, tmp_path, "./my_tasks", entries)
    assert result.exit_code == 0, result.output
    assert f"include_path {own_tasks}: Python code of tasks in this folder may run" in result.output
    content = json.loads((tmp_path / "out" / "gain.json").read_text())
    assert list(content["tasks"]) == ["my_clauses", "my_contracts"]
    clauses, contracts = content["tasks"].values()
    assert clauses["weight"] == 3 and contracts["weight"] == 1
    assert content["macro"]["merged"] == pytest.approx((3 * clauses["merged"] + contracts["merged"]) / 4)
    assert "Means over tasks are weighted: my_clauses 3; my_contracts 1." in result.output
    results = json.loads(next((tmp_path / "out" / "points").glob("merged-*/results.json")).read_text())
    of_task = results["results"]["my_clauses"]
    assert clauses["merged"] == of_task["acc_norm,none"] == of_task["score,none"]


def test_run_refuses_a_missing_include_path_in_one_line(tiny, tmp_path):
    result = run_recipe(tiny, tmp_path, "./none")
    assert result.exit_code == 1 and not (tmp_path / "out").exists()
    assert "Error: include_path" in result.output and "none: no such directory" in result.output


def test_study_plan_says_that_code_of_own_tasks_may_run(tiny, tmp_path, own_tasks):
    file = helpers.write(tmp_path / "study.yml", tiny, **settings(own_tasks))
    result = CliRunner().invoke(main, ["study", "plan", str(file), "--no-sample", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert f"include_path {own_tasks}: Python code of tasks in this folder may run" in result.stderr
