"""Tasks that compare one continuation after several contexts."""

from types import SimpleNamespace

from helpers.tasks import SilentModel
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from mergekit_finance.hosts.lm_eval_inputs import FLAG, use_contexts_as_texts
from mergekit_finance.plugins.manager import task_folders

NAME = "finance_bench_retention_winogrande"
FIRST = "The box did not fit into the car because the"


def settings(text="gold_index"):
    return SimpleNamespace(doc_to_text=text, doc_to_choice="options", doc_to_target="continuation")


def test_any_version_of_lm_eval_asks_for_the_rest_of_the_sentence_after_each_name():
    manager = TaskManager(include_path=[str(path) for path in task_folders()], metadata={"source": "sample"})
    results = simple_evaluate(SilentModel(), tasks=[NAME], task_manager=manager, limit=1, bootstrap_iters=0)
    (sample,) = results["samples"][NAME]
    assert [tuple(one) for one in sample["arguments"]] == [
        (f"{FIRST} box", " was too small."), (f"{FIRST} car", " was too small."),
    ]  # fmt: skip


def test_a_task_is_changed_as_lm_eval_0_5_expects_it_examples_included():
    task = SimpleNamespace(config=settings(), _fewshot_cfg=settings(), **{FLAG: False})
    use_contexts_as_texts(task)
    assert vars(task)[FLAG] is True
    for one in (task.config, task._fewshot_cfg):
        assert vars(one) == {
            "doc_to_text": "options", "doc_to_choice": ["{{continuation}}"], "doc_to_target": "gold_index",
        }  # fmt: skip


def test_other_tasks_and_lm_eval_0_4_are_left_alone():
    other = SimpleNamespace(config=settings("query"), _fewshot_cfg=None, **{FLAG: False})
    older = SimpleNamespace(config=settings())
    for task in (other, older):
        use_contexts_as_texts(task)
    assert vars(other)[FLAG] is False and other.config == settings("query")
    assert older.config == settings() and FLAG not in vars(older)
