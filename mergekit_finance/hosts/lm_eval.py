"""Adapters for lm-eval's tasks and its evaluation. Written for lm-eval 0.4.13.

Adapters for its models are in `lm_eval_models`, for its output in `lm_eval_output`, which keys of stored
results do not cover. lm-eval is imported inside the functions to keep --help fast: with torch it takes
seconds.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypedDict, cast

from mergekit_finance.hosts.names import LM_EVAL

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._index import Entry
    from lm_eval.tasks.manager import TaskDict

    from mergekit_finance.files import Json
    from mergekit_finance.hosts.lm_eval_models import Response

Sample: TypeAlias = "Mapping[str, Json]"  # one item: doc, arguments, resps and a value per metric
Aggregation: TypeAlias = "Callable[[Sequence[Json]], float]"
ITEMS = "mergekit_finance_items"  # attribute of a task: the items of the present evaluation, or None
RequestOptions: TypeAlias = "int | bool | str | Callable[..., str] | Sequence[int] | None"


class Results(TypedDict, total=False):
    """The keys of lm-eval's results that this package uses; results.json contains more."""

    results: dict[str, dict[str, float | str]]  # task -> "metric,filter" -> value
    configs: "dict[str, dict[str, Json]]"
    samples: "dict[str, list[Sample]]"
    config: "dict[str, Json]"
    truncated_prompts: dict[str, int]  # added by this package
    chat: "dict[str, Json]"  # added: how prompts were formatted, for `write_results`


# ---- tasks


def task_manager(folders: Sequence[Path], metadata: Mapping[str, str], defaults: bool) -> "TaskManager":
    """Return lm-eval's index of the tasks in `folders`; `defaults` adds lm-eval's own 14,000 (7 s)."""
    from lm_eval.tasks import TaskManager

    return TaskManager(
        include_path=[str(folder) for folder in folders],
        include_defaults=defaults,
        metadata=dict(metadata),
    )


def add_task_folders(module: ModuleType, folders: Sequence[Path]) -> None:
    """Add folders to every index of tasks that lm-eval builds; calling it again changes nothing.

    They come after lm-eval's own tasks and before the user's `--include_path`, so that a user's task
    overrides one of the same name. A folder that is already in the list is not added again: a version of
    lm-eval that reads the `lm_eval.tasks` entry point, or a user's `--include_path`, may have added it.

    Replaces the static method `TaskIndex.build` of lm-eval 0.4.13.

    Args:
        module: the module `lm_eval.tasks.manager`.
        folders: the task folders of all plugins.
    """
    index = LM_EVAL.get(module, "TaskIndex")
    original = LM_EVAL.get(index, "build")
    if getattr(original, "is_mergekit_finance", False):
        return
    builtin_tasks = Path(str(module.__file__)).resolve().parent

    def build(paths: Iterable[Path], **options: bool) -> "dict[str, Entry]":
        index: dict[str, Entry] = original(with_folders(list(paths), folders, builtin_tasks), **options)
        return index

    vars(build)["is_mergekit_finance"] = True
    index.build = staticmethod(build)


def with_folders(paths: Sequence[Path], folders: Sequence[Path], builtin_tasks: Path) -> list[Path]:
    """Return `paths` with the missing folders added: after a leading `builtin_tasks`, else in front."""
    present = {Path(path).resolve() for path in paths}
    missing = [folder for folder in folders if folder.resolve() not in present]
    position = 1 if paths and Path(paths[0]).resolve() == builtin_tasks else 0
    return [*paths[:position], *missing, *paths[position:]]


def task_index(manager: "TaskManager") -> "dict[str, Entry]":
    """Return the entries of tasks, groups and tags by name. lm-eval 0.5 has them under a private name."""
    name = "_task_index" if hasattr(manager, "_task_index") else "task_index"
    index: dict[str, Entry] = LM_EVAL.get(manager, name)
    return index


def tasks_by_name(loaded: "TaskDict") -> "dict[str, ConfigurableTask]":
    """Return the tasks that were loaded by their names. lm-eval 0.5 names those of a group `group::task`.

    Raises:
        ValueError: a task was loaded twice, which lm-eval 0.4 refuses itself.
    """
    tasks: dict[str, ConfigurableTask] = {}
    for task in loaded["tasks"].values():
        name = str(task.task_name)
        if name in tasks:
            raise ValueError(f"Duplicate task {name!r}")
        tasks[name] = task
        if hasattr(task, "scorers"):
            _ = task.dataset  # lm-eval 0.5 fetches rows at their first use
    return tasks


def metrics_of(task: "ConfigurableTask") -> "dict[str, tuple[Aggregation, bool]]":
    """Return aggregation and higher-is-better of every metric that a task declares, in its order.

    `bypass`, the metric of tasks that only write answers, is left out.
    """
    better = task.higher_is_better()
    return {
        name: (aggregation, better.get(name) is not False)
        for name, aggregation in task.aggregation().items()
        if name != "bypass"
    }


def filters_of(task: "ConfigurableTask") -> list[str]:
    """Return the names of a task's filters, in its order. lm-eval 0.5 has a scorer with each of them."""
    return [one.name for one in LM_EVAL.get(task, "scorers" if hasattr(task, "scorers") else "_filters")]


def prepare_task(task: "ConfigurableTask", max_gen_toks: int | None) -> None:
    """Apply the settings that lm-eval's `simple_evaluate` applies before it evaluates.

    Args:
        task: a loaded task, changed in place.
        max_gen_toks: upper bound on the length of generated answers; None keeps the task's setting.
    """
    if task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    if max_gen_toks and task.get_config("output_type") == "generate_until":
        kwargs = task.get_config("generation_kwargs") or {}
        limit = min(kwargs.get("max_gen_toks", max_gen_toks), max_gen_toks)
        task.set_config(key="generation_kwargs", value={"max_gen_toks": limit}, update=True)


def reuse_requests(task: "ConfigurableTask", fewshot_seed: int) -> None:
    """Let a task build its requests once; later evaluations reuse them without the answers.

    Other options (a limit) build them again, with the same few-shot examples: lm-eval draws the examples of
    one item after the other from a generator that it seeds once, when the task is loaded. Therefore an
    evaluation of some items (`run_tasks(..., items=...)`) builds the requests of all and uses theirs, where
    lm-eval's own `samples` would give them other examples.

    Replaces the methods `build_all_requests` and `doc_iterator` of this one object.

    Args:
        task: a loaded task, changed in place.
        fewshot_seed: seed of the draws of few-shot examples.
    """
    build, seed = LM_EVAL.get(task, "build_all_requests"), LM_EVAL.get(task, "set_fewshot_seed")
    iterate = LM_EVAL.get(task, "doc_iterator")
    built_for: dict[str, RequestOptions] | None = None
    built: list[Instance] = []

    def build_once(**options: RequestOptions) -> None:
        nonlocal built_for, built
        items = vars(task).pop(ITEMS, None)
        if built_for != options:
            seed(seed=fewshot_seed)
            build(**options)
            built, built_for = list(task.instances), options
        vars(task)[ITEMS] = items
        for instance in built:
            instance.resps, instance.filtered_resps = [], {}
        vars(task)["_instances"] = [one for one in built if items is None or one.doc_id in items]

    def iterate_items(**options: RequestOptions) -> "Iterator[tuple[int, Json]]":
        items = vars(task).get(ITEMS)
        return ((k, doc) for k, doc in iterate(**options) if items is None or k in items)

    task.build_all_requests, task.doc_iterator = build_once, iterate_items


def built_requests(
    task: "ConfigurableTask",
    limit: int | None,
    chat_template: "Callable[..., str] | None" = None,
    system_instruction: str | None = None,
    fewshot_as_multiturn: bool = False,
) -> "list[Instance]":
    """Build a task's requests as `evaluate` does, and return them."""
    with LM_EVAL.assertions():
        task.build_all_requests(
            limit=limit,
            rank=0,
            world_size=1,
            system_instruction=system_instruction,
            apply_chat_template=chat_template is not None,
            fewshot_as_multiturn=fewshot_as_multiturn,
            chat_template=chat_template,
        )
    return list(task.instances)


# ---- evaluation


def register_model(name: str, target: str) -> None:
    """Register a model class with lm-eval by name; calling it again changes nothing.

    Call it only after `lm_eval.models` has been executed: lm-eval 0.4.13 fills its `model_registry`
    only if it is empty, so an earlier registration would hide `hf` and all others.

    Args:
        name: the value of `lm_eval --model`.
        target: `module:class`, imported at its first use.
    """
    with LM_EVAL.imports():
        from lm_eval.api.registry import model_registry

    if name not in model_registry:
        LM_EVAL.get(model_registry, "register")(name, target=target)


class Responder(Protocol):
    """What lm-eval's `evaluate` needs of a model: a method for every kind of request.

    Where prompts are in chat format, also `apply_chat_template`, which renders them.
    """

    rank: int
    world_size: int

    def loglikelihood(self, requests: "list[Instance]") -> "list[Response]": ...

    def loglikelihood_rolling(self, requests: "list[Instance]") -> "list[Response]": ...

    def generate_until(self, requests: "list[Instance]") -> "list[Response]": ...


AGGREGATES = "_compute_task_aggregations"  # the function of lm-eval that calls the aggregations of metrics


def run_tasks(
    responder: Responder,
    tasks: "Mapping[str, ConfigurableTask]",
    limit: int | None,
    items: Mapping[str, Collection[int]] | None = None,
    apply_chat_template: bool = False,
    system_instruction: str | None = None,
    fewshot_as_multiturn: bool = False,
) -> Results:
    """Run loaded tasks and return results with every sample; no standard errors are computed.

    Args:
        responder: gives the answers.
        tasks: the tasks, on which `reuse_requests` was called.
        limit: the first so many items of every task; None: all.
        items: positions of the items to use of those, by task; None: all.
        apply_chat_template: the responder's method of this name renders prompts.
        system_instruction: stands before every prompt.
        fewshot_as_multiturn: few-shot examples are turns of a conversation.
    """
    from lm_eval.evaluator import evaluate

    for name, task in tasks.items():
        vars(task)[ITEMS] = None if items is None else frozenset(items[name])
    try:
        with LM_EVAL.assertions():
            results: Results = evaluate(
                lm=cast("LM", responder),
                task_dict={"tasks": dict(tasks), "groups": {}},
                limit=limit,
                bootstrap_iters=0,
                system_instruction=system_instruction,
                apply_chat_template=apply_chat_template,
                fewshot_as_multiturn=fewshot_as_multiturn,
            )
    finally:
        for task in tasks.values():
            vars(task).pop(ITEMS, None)
    return results


def documents(task: "ConfigurableTask", limit: int | None) -> "list[tuple[Json, str]]":
    """Return the rows of a task that are evaluated, each with the hash that lm-eval's samples have."""
    from lm_eval.utils import handle_non_serializable, hash_string

    rows = []
    for _, doc in LM_EVAL.get(task, "doc_iterator")(limit=limit, rank=0, world_size=1):
        text = json.dumps(doc, indent=2, default=handle_non_serializable, ensure_ascii=False)
        rows.append((doc, hash_string(text)))
    return rows
