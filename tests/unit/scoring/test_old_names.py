"""mergekit_finance.tasks, the old name of mergekit_finance.scoring, works for one release."""

import importlib

import pytest

from mergekit_finance.files import bundled
from mergekit_finance.scoring import aggregate, metrics


def test_lm_eval_loads_a_task_whose_yaml_has_the_old_names(manager, tmp_path):
    from lm_eval.tasks import TaskManager

    folder = bundled("lm_eval_tasks")
    text = (folder / "headline" / "finance_bench_headline.yaml").read_text(encoding="utf-8")
    text = text.replace("task: finance_bench_headline", "task: my_headline")
    text = text.replace("include: ..", f"include: {folder}")
    text = text.replace("mergekit_finance.scoring.metrics", "mergekit_finance.tasks.scoring")
    text = text.replace("mergekit_finance.scoring.aggregate", "mergekit_finance.tasks.aggregate")
    assert (
        text.count("mergekit_finance.tasks") == 3 and "mergekit_finance.scoring" not in text
    )  # a process_results and two aggregations
    (tmp_path / "my_headline.yaml").write_text(text, encoding="utf-8")

    with pytest.warns(
        FutureWarning, match=r"tasks\.scoring\.headline .* mergekit_finance\.scoring\.metrics\.headline"
    ):
        users = TaskManager(include_defaults=False, include_path=str(tmp_path), metadata={"source": "sample"})
        task = users.load(["my_headline"])["tasks"]["my_headline"]
    assert task.config.process_results is metrics.headline
    assert task.aggregation()["score"] is aggregate.headline_mean_f1
    ours = manager.load(["finance_bench_headline"])["tasks"]["finance_bench_headline"]
    doc, likelihoods = task.test_docs()[0], [(-2.0, False), (-1.0, False)]
    assert task.process_results(doc, likelihoods) == ours.process_results(doc, likelihoods)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("aggregate.weighted_f1", "aggregate.weighted_f1"),
        ("answers.direct_number", "answers.direct_number"),
        ("answers.final_choice", "choices.final_choice"),
        ("choices.final_choice", "choices.final_choice"),
        ("cutting.cut_at_new_question", "new_question.cut_at_new_question"),
        ("entities.parse_entities", "entities.parse_entities"),
        ("numbers.parse_number", "numbers.parse_number"),
        ("numbers.convfinqa_match", "matching.convfinqa_match"),
        ("numbers.normalise", "text.normalize"),
        ("scoring.docmath_cot", "metrics.docmath_cot"),
        ("spans.normal", "tatqa.tatqa_normal"),
        ("statements.marked_statements", "markers.marked_statements"),
    ],
)
def test_an_old_name_gives_the_new_function_and_a_warning_with_its_path(old, new):
    old_module, _, old_name = old.partition(".")
    new_module, _, new_name = new.partition(".")
    module = importlib.import_module(f"mergekit_finance.tasks.{old_module}")
    with pytest.warns(FutureWarning) as caught:
        function = getattr(module, old_name)
    expected = importlib.import_module(f"mergekit_finance.scoring.{new_module}")
    assert function is getattr(expected, new_name)
    assert str(caught[0].message).endswith(f"Use mergekit_finance.scoring.{new}.")
    assert caught[0].filename == __file__


def test_an_unknown_name_of_an_old_module_is_an_attribute_error():
    module = importlib.import_module("mergekit_finance.tasks.scoring")
    with pytest.raises(AttributeError, match=r"mergekit_finance\.tasks\.scoring.*no_such_function"):
        getattr(module, "no_such_function")  # noqa: B009
