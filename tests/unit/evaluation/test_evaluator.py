"""The evaluator: tasks by name, group and tag, and live models in memory."""

from functools import partial

import pytest

from mergekit_finance.errors import DataError
from mergekit_finance.evaluation.answering import AnsweringModel
from mergekit_finance.evaluation.evaluator import Evaluator, evaluate

TASK = "finance_bench_fpb"


@pytest.fixture(scope="module")
def base(tiny):
    """A tiny model and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tiny / "base"
    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto"), AutoTokenizer.from_pretrained(folder)


def test_a_group_and_a_tag_are_expanded_into_their_tasks():
    evaluator = Evaluator(["finance_bench_f", "finance_bench_retention_tasks"], metadata={"source": "lab"})
    group = ["finance_bench_fin_ner", "finance_bench_fiqa_sa", "finance_bench_fpb", "finance_bench_headline"]
    names = ("arc", "arc_easy", "boolq", "hellaswag", "lambada", "openbookqa", "piqa", "winogrande")
    tag = [f"finance_bench_retention_{name}" for name in names]
    assert evaluator.members("finance_bench_f") == group
    assert evaluator.members("finance_bench_retention_tasks") == tag
    assert evaluator.task_names == sorted([*group, *tag])


def test_lm_evals_own_tasks_are_left_out_of_the_index_where_none_is_asked_for():
    names = Evaluator([TASK], metadata={"source": "sample"}).task_manager.all_tasks
    assert TASK in names and "hellaswag" not in names


def test_tasks_come_from_plugins_folders_without_the_start_up_hook(monkeypatch):
    """`TaskIndex.build` may not have been extended: the folders are given to lm-eval with every index."""
    import lm_eval.tasks.manager as manager

    build = manager.TaskIndex.build
    original = getattr(build, "__closure__", None) and next(
        (cell.cell_contents for cell in build.__closure__ if callable(cell.cell_contents)), build
    )
    monkeypatch.setattr(manager.TaskIndex, "build", staticmethod(original or build))
    assert Evaluator([TASK], metadata={"source": "sample"}).task_names == [TASK]


def test_evaluate_gives_score_metrics_and_samples_by_task(base):
    results = evaluate(*base, TASK, limit=3, source="sample")
    task = results.tasks[TASK]
    assert list(results.tasks) == [TASK] and task.n == len(task.samples) == 3
    assert task.score == task.metrics["score"] == results.macro and {"acc", "correct"} <= set(task.metrics)
    assert len({sample["doc"]["item_id"] for sample in task.samples}) == 3


def test_evaluate_measures_as_lm_eval_does(base, tiny):
    """The host's own evaluation of the same model, loaded from its folder."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    ours = evaluate(*base, [TASK, "finance_bench_docmath_ss"], limit=4, source="lab")
    theirs = lm_eval.simple_evaluate(
        model="hf", model_args={"pretrained": str(tiny / "base"), "dtype": "auto"}, device="cpu", batch_size=8, limit=4,
        tasks=[TASK, "finance_bench_docmath_ss"], bootstrap_iters=0,
        task_manager=TaskManager(include_defaults=False, metadata={"source": "lab", "pretrained": str(tiny / "base")}),
    )["results"]  # fmt: skip
    for name, task in ours.tasks.items():
        metrics = {f"{metric},none": value for metric, value in task.metrics.items()}
        assert metrics == {key: theirs[name][key] for key in metrics} and len(metrics) > 1


def test_evaluate_refuses_a_task_without_a_score(base, tmp_path, monkeypatch):
    methods = {
        "aggregation": lambda self: {"bypass": sum}, "higher_is_better": lambda self: {}, "_filters": []
    }  # fmt: skip
    monkeypatch.setattr(Evaluator, "tasks", {"sciq": type("Task", (), methods)()})
    with pytest.raises(DataError, match="task 'sciq' computes no metric"):
        evaluate(*base, "sciq")


def test_a_limit_applies_to_one_measurement(base):
    """A larger limit after a smaller one builds the requests again; the tasks are the same objects."""
    evaluator = Evaluator([TASK], metadata={"source": "lab"}, quiet=True)
    model = AnsweringModel(partial(evaluator.live_models.wrap, *base))
    sizes = [len(evaluator.measure(model, "base", limit)[0]["samples"][TASK]) for limit in (2, 4, 2)]
    assert sizes == [2, 4, 2]


def test_a_copy_for_another_device_shares_the_loaded_tasks():
    evaluator = Evaluator([TASK], metadata={"source": "sample"})
    tasks = evaluator.tasks
    assert evaluator.on("cpu", quiet=True).tasks is tasks and not evaluator.quiet


def test_a_pattern_is_not_a_task():
    with pytest.raises(DataError, match="Patterns are not supported") as caught:
        assert Evaluator(["finance_bench_f*"]).task_names
    assert caught.value.id == "task.unknown"
