"""The adapters to lm-eval: one readable line where a name of lm-eval is missing."""

import re
from importlib.metadata import version
from types import SimpleNamespace

import lm_eval.models  # noqa: F401  (fills the registry of models)
import pytest
from lm_eval.api import registry
from lm_eval.tasks import manager

from mergekit_finance.errors import HostError
from mergekit_finance.hosts import lm_eval as host
from mergekit_finance.hosts import lm_eval_output
from mergekit_finance.statistics.totals import known_name


def missing_name(name: str) -> str:
    return (
        rf"^lm-eval {re.escape(version('lm-eval'))} has no {name}; mergekit-finance was written for lm-eval 0\.4\.13\. "
        r"Install lm-eval>=0\.4\.13,<0\.5\.$"
    )


@pytest.mark.parametrize(
    ("owner", "name", "call", "message"),
    [
        (manager, "TaskIndex", lambda: host.add_task_folders(manager, []), r"lm_eval\.tasks\.manager\.TaskIndex"),
        (manager.TaskIndex, "build", lambda: host.add_task_folders(manager, []), r"TaskIndex\.build"),
        (registry, "model_registry", lambda: host.register_model("x", "y:Z"), r"lm_eval\.api\.registry\.model_registry"),
    ],
)  # fmt: skip
def test_an_lm_eval_without_a_name_gives_one_readable_line(monkeypatch, owner, name, call, message):
    monkeypatch.delattr(owner, name)
    with pytest.raises(HostError, match=missing_name(message)):
        call()


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("build_all_requests", {}),
        ("set_fewshot_seed", {"build_all_requests": None}),
        ("doc_iterator", {"build_all_requests": None, "set_fewshot_seed": None}),
    ],
)
def test_a_task_without_a_method_gives_one_readable_line(name, others):
    with pytest.raises(HostError, match=missing_name(rf"SimpleNamespace\.{name}")):
        host.reuse_requests(SimpleNamespace(**others), 0)


def test_a_model_is_registered_once_and_one_of_that_name_is_kept():
    before = len(registry.model_registry)
    host.register_model("hf", "nowhere:Nothing")
    host.register_model("hf", "nowhere:Nothing")
    assert len(registry.model_registry) == before


def test_requests_are_built_once_per_limit_and_lose_their_answers():
    calls = []
    instance = SimpleNamespace(resps=["old"], filtered_resps={"none": "old"})
    task = SimpleNamespace(build_all_requests=lambda **options: calls.append(options), instances=[instance])
    task.set_fewshot_seed, task.doc_iterator = lambda seed: calls.append(seed), None
    host.reuse_requests(task, 7)
    task.build_all_requests(limit=2)
    task.build_all_requests(limit=2)
    assert (instance.resps, instance.filtered_resps) == ([], {})
    task.build_all_requests(limit=3)
    assert calls == [7, {"limit": 2}, 7, {"limit": 3}]


def test_some_items_get_the_requests_that_they_have_among_all():
    """lm-eval's own `samples` would draw other few-shot examples for them."""
    task, draws = SimpleNamespace(_instances=[]), iter(range(100))

    def build(limit):
        task.instances = [
            SimpleNamespace(doc_id=k, prompt=f"shot {next(draws)}, item {k}")
            for k, _ in task.doc_iterator(limit=limit)
        ]

    task.build_all_requests = build
    task.set_fewshot_seed, task.doc_iterator = lambda seed: None, lambda limit: enumerate("abcdef"[:limit])
    host.reuse_requests(task, 7)
    vars(task)[host.ITEMS] = frozenset({1, 3})
    task.build_all_requests(limit=5)
    assert [one.prompt for one in task._instances] == ["shot 1, item 1", "shot 3, item 3"]
    assert list(task.doc_iterator(limit=5)) == [(1, "b"), (3, "d")]
    vars(task)[host.ITEMS] = None
    task.build_all_requests(limit=5)
    assert [one.prompt for one in task._instances] == [f"shot {k}, item {k}" for k in range(5)]
    assert len(list(task.doc_iterator(limit=5))) == 5 and next(draws) == 5


def test_bars_levels_and_filters_are_restored_after_an_error():
    import logging

    from lm_eval.models import huggingface

    before = (
        huggingface.tqdm,
        logging.getLogger("lm_eval").level,
        list(logging.getLogger("lm_eval.api.task").filters),
    )
    with pytest.raises(KeyError), lm_eval_output.progress_bars(), lm_eval_output.quiet():
        assert huggingface.tqdm is not before[0] and logging.getLogger("lm_eval").level == logging.WARNING
        raise KeyError
    after = (
        huggingface.tqdm,
        logging.getLogger("lm_eval").level,
        list(logging.getLogger("lm_eval.api.task").filters),
    )
    assert after == before


def test_names_of_lm_eval_0_5_serve_as_those_of_0_4():
    """Its index is private, its filters are scorers, its tasks of groups have names with the group."""
    scorer = SimpleNamespace(name="none")
    task = SimpleNamespace(task_name="a", scorers=[scorer], dataset={})
    assert host.task_index(SimpleNamespace(_task_index={"a": 1})) == {"a": 1}
    assert host.filters_of(task) == ["none"]
    assert host.tasks_by_name({"tasks": {"group::a": task}}) == {"a": task}
    with pytest.raises(ValueError, match="Duplicate task 'a'"):
        host.tasks_by_name({"tasks": {"group::a": task, "other::a": task}})
    assert (
        known_name("lm_eval.api.metrics.aggregations.mean")
        == known_name("lm_eval.api.metrics.mean")
        == "mean"
    )


@pytest.mark.parametrize(("installed", "error"), [("0.5.0.dev1", HostError), ("0.4.13", AssertionError)])
def test_an_assertion_of_another_version_is_one_line(monkeypatch, installed, error):
    monkeypatch.setattr("mergekit_finance.hosts.names.version", lambda name: installed)
    task = SimpleNamespace(build_all_requests=None, instances=[])

    def build_all_requests(**options):
        raise AssertionError("Expected doc_to_text\nto be a string")

    task.build_all_requests = build_all_requests
    with pytest.raises(error, match="Expected doc_to_text") as caught:
        host.built_requests(task, 1)
    if error is HostError:
        assert "\n" not in str(caught.value) and "was written for lm-eval 0.4.13" in str(caught.value)
