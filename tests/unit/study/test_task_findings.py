"""`check` and `study plan` refuse the same metrics, filters, skills, and names in `named` and `select`."""

import json
from pathlib import Path

import pytest
import yaml
from helpers import inputs
from helpers import study as studies
from helpers.lm_versions import HAS_SCORERS, registered_metric

from mergekit_finance.evaluation.declared_tasks import DeclaredTasks
from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.evaluation.task_measures import MetricChoice, choices_of
from mergekit_finance.hosts import task_metrics
from mergekit_finance.hosts.task_files import FunctionName, TaskFiles
from mergekit_finance.plugins.manager import task_folders
from mergekit_finance.study.config import parse_study
from mergekit_finance.study.task_findings import study_task_findings

FPB = "finance_bench_fpb"
OWN = """\
task: mine
output_type: multiple_choice
custom_dataset: !function mergekit_finance.data.loader.load
dataset_kwargs: {fb_dataset: fpb}
test_split: test
doc_to_text: "{{text}}"
doc_to_choice: "{{options}}"
doc_to_target: gold_index
"""
LOSS = "metric_list: [{metric: brier_score}]\n"
# The row's name -> changes of study.yml, lines of the user's own task, the id of the error.
CASES: dict[str, tuple[dict, str, str]] = {
    "a metric": ({"tasks": [{"task": FPB, "metric": "acuracy"}]}, "", "task.unknown-metric"),
    "a metric of a group": ({"tasks": [{"task": "finance_bench_f", "metric": "f1"}]}, "", "task.unknown-metric"),
    "settings of a task that is not listed": ({"task_settings": {"nothing": {"metric": "acc"}}}, "", "task.unknown"),
    "a filter": ({"tasks": [{"task": FPB, "filter": "strict"}]}, "", "task.unknown-filter"),
    "a filter of an own task": ({"tasks": [{"task": "mine", "filter": "none"}]}, "filter_list: [{name: a, filter: [{function: take_first}]}]", "task.unknown-filter"),
    "no metric": ({"tasks": ["mine"]}, "metric_list: []", "task.no-score"),
    "no filter": ({"tasks": ["mine"]}, "filter_list: []", "task.no-score"),
    "metrics are text": ({"tasks": ["mine"]}, "metric_list: acc", "task.broken"),
    "an output type": ({"tasks": ["mine"]}, "output_type: choices", "task.broken"),
    "skills are numbers": ({"tasks": ["mine"]}, "metadata: {skills: [1]}", "task.broken"),
    "skills are a number": ({"tasks": ["mine"]}, "metadata: {skills: 3}", "task.broken"),
    "skills in lists": ({"tasks": ["mine"]}, "metadata: {skills: [[a]]}", "task.broken"),
    "a task in named": ({"named": {"finance": "finance_bench_fpd"}}, "", "study.invalid"),
    "a group in named": ({"named": {"finance": "finance_bench_f"}}, "", "study.invalid"),
    "a task in another unit in named": ({"tasks": [FPB, "mine"], "named": {"finance": "mine"}}, LOSS, "study.invalid"),
    "a task in select": ({"select": {"maximize": {"finance_bench_fpd": 1}}}, "", "study.invalid"),
    "no retention to select by": ({"select": {"subject_to": {"retention": {"points": 1}}}}, "", "study.invalid"),
    "only other units": ({"tasks": ["mine"], "select": {"maximize": {"tasks": 1}}}, LOSS, "task.no-items"),
}  # fmt: skip

EMPTY_LISTS = ("no metric", "no filter")  # the defaults since 0.5, whose plan therefore refuses nothing


def content(models: Path, folder: Path, changes: dict, own: str) -> dict:
    (folder / "mine").mkdir()
    (folder / "mine" / "task.yaml").write_text(OWN + own + "\n")
    study = {"tasks": [FPB], "source": "sample", "limit": None, "include_path": "mine", "stages": [1]}
    return studies.content(models, **study | changes)


@pytest.mark.parametrize("row", CASES)
def test_check_finds_what_the_plan_refuses(row: str, tiny: Path, tmp_path: Path) -> None:
    changes, own, id = CASES[row]
    file = tmp_path / "study.yml"
    file.write_text(yaml.safe_dump(content(tiny, tmp_path, changes, own)))
    study = parse_study(
        {**yaml.safe_load(file.read_text()), "include_path": str(tmp_path / "mine")}, str(file)
    )
    findings = list(study_task_findings(study, [*task_folders(), tmp_path / "mine"], str(file)))
    if HAS_SCORERS and row in EMPTY_LISTS:
        planned = inputs.mkf("study", "plan", file, "--no-sample")
        assert (findings, planned.exit_code) == ([], 0), planned.output
        return
    assert {one.id for one in findings} == {id}
    refused = inputs.refusal(inputs.mkf("study", "plan", file, "--no-sample"))
    assert refused.endswith(f"[{id}]")
    if id != "task.broken":  # there the words are lm-eval's
        assert any(one.message in refused for one in findings)


def test_check_lists_it_for_a_study_and_for_a_recipe(tiny: Path, tmp_path: Path) -> None:
    tasks = [{"task": FPB, "metric": "acuracy"}]
    (tmp_path / "study.yml").write_text(yaml.safe_dump(content(tiny, tmp_path, {"tasks": tasks}, "")))
    recipe = {**inputs.merge_recipe(tiny), "finance": {"tasks": tasks}}
    inputs.write_recipe(tmp_path / "recipe.yml", recipe)
    for name in ("study.yml", "recipe.yml"):
        report = json.loads(inputs.mkf("check", tmp_path / name, "--json").stdout)
        assert [one["id"] for one in report["findings"] if one["level"] == "error"] == ["task.unknown-metric"]


@pytest.mark.parametrize(
    "own",
    ["class: !function code.Task\n", "filter_list: [{name: a, filter: [{function: registered_by_code}]}]\n"],
)
def test_what_only_code_can_tell_is_a_note(own: str, tiny: Path, tmp_path: Path) -> None:
    file = content(tiny, tmp_path, {"tasks": ["mine"], "named": {"finance": "finance_bench_fpd"}}, own)
    study = parse_study(file, "study.yml")
    (note,) = study_task_findings(study, [*task_folders(), tmp_path / "mine"], "study.yml")
    assert (note.id, note.level) == ("task.unseen", "note") and "mine" in note.message


def test_task_files_and_loaded_tasks_declare_the_same_scores() -> None:
    names = ["finance_bench", "finance_bench_retention", "finance_bench_probe"]
    evaluator = Evaluator(names, metadata={"source": "sample"}, quiet=True)
    files = TaskFiles(task_folders())
    assert files.look_up(names) == []
    declared = DeclaredTasks(names, files)
    assert declared.task_names == evaluator.task_names and not declared.unread
    assert declared.members("finance_bench") == evaluator.members("finance_bench")
    for task, measure in evaluator.measures.items():
        one = declared.measures[task]
        assert (one.metric, one.unit, one.per_item) == (measure.metric, measure.unit, measure.per_item), task


def test_the_tables_are_those_of_lm_eval() -> None:
    from lm_eval.api import registry

    metrics, aggregations = task_metrics._registered()
    assert registry.DEFAULT_METRIC_REGISTRY == {
        kind: list(names) for kind, names in task_metrics.DEFAULT_METRICS.items()
    }
    assert set(task_metrics._filters()) <= set(registry.filter_registry)
    for name, declared in metrics.items():
        aggregation, higher_is_better = registered_metric(name)
        if isinstance(declared.aggregation, FunctionName):  # a class of 0.5, whose own method aggregates
            assert HAS_SCORERS and aggregation.__module__ == declared.aggregation.rpartition(".")[0]
        else:
            assert registry.get_aggregation(declared.aggregation) is aggregation, name
        assert higher_is_better is declared.higher_is_better
    classes = {"f1", "bleu"}  # 0.5 has no aggregations of these names, only metrics
    assert {"mean", "perplexity", *(() if HAS_SCORERS else classes)} <= aggregations
    assert {"acc", "exact_match", *classes} <= set(metrics)


def test_a_choice_of_a_group_holds_for_its_tasks(tmp_path: Path) -> None:
    files = TaskFiles(task_folders())
    files.look_up(["finance_bench_f"])
    tasks = DeclaredTasks(["finance_bench_f"], files, {"finance_bench_f": MetricChoice("correct")})
    assert {measure.metric for measure in tasks.measures.values()} == {"correct"}
    assert choices_of({}) == {}


def test_a_metric_is_unseen_not_wrong_if_lm_eval_has_its_tables_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A later version may have them in other files and still know the aggregation of `acc`."""
    monkeypatch.setattr(task_metrics, "_registered", lambda: ({}, frozenset()))
    assert not task_metrics.is_readable({"metric_list": [{"metric": "acc"}]})
    assert task_metrics.is_readable({"metric_list": [{"metric": "acc", "aggregation": "mean"}]})
