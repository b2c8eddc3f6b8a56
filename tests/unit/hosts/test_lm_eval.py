"""The adapters to lm-eval: one readable line where a name of lm-eval is missing."""

from types import SimpleNamespace

import lm_eval.models  # noqa: F401  (fills the registry of models)
import pytest
from lm_eval.api import registry
from lm_eval.tasks import manager

from mergekit_finance.errors import HostError
from mergekit_finance.hosts import lm_eval as host
from mergekit_finance.hosts import lm_eval_output


def missing_name(name: str) -> str:
    return (
        rf"^lm-eval 0\.4\.13 has no {name}; mergekit-finance was written for lm-eval 0\.4\.13\. "
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

    from lm_eval.api import task

    before = (
        task.tqdm,
        logging.getLogger("lm_eval").level,
        list(logging.getLogger("lm_eval.api.task").filters),
    )
    with pytest.raises(KeyError), lm_eval_output.progress_bars(), lm_eval_output.quiet():
        assert task.tqdm is not before[0] and logging.getLogger("lm_eval").level == logging.WARNING
        raise KeyError
    after = task.tqdm, logging.getLogger("lm_eval").level, list(logging.getLogger("lm_eval.api.task").filters)
    assert after == before
