"""Private names of lm-eval, and what is called of it in one place. Written for lm-eval 0.4.13.

lm-eval is imported inside the functions: with torch it takes seconds, which `--help` should not pay.
"""

import argparse
import errno
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias, TypedDict

from mergekit_finance.files import Json, file_name
from mergekit_finance.hosts.names import LM_EVAL
from mergekit_finance.hosts.programs import is_host_program

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._index import Entry
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Sample: TypeAlias = Mapping[str, Json]  # one item: doc, arguments, resps and a value per metric
RequestOptions: TypeAlias = "int | bool | str | Callable[..., str] | Sequence[int] | None"


class Results(TypedDict, total=False):
    """What lm-eval returns of one evaluation; it writes more keys into results.json."""

    results: dict[str, dict[str, float | str]]  # task -> "metric,filter" -> value
    configs: dict[str, dict[str, Json]]
    samples: dict[str, list[Sample]]
    config: dict[str, Json]
    truncated_prompts: dict[str, int]  # ours


# ---- the command line


def output_path() -> Path | None:
    """Return the path after `--output_path` if this is a run of the `lm_eval` command, else None.

    Written for lm-eval 0.4.13, which opens it before it creates the model and does not pass it on.
    """
    if not is_host_program():
        return None
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--output_path", "-o", type=Path)
    path: Path | None = parser.parse_known_args(sys.argv[1:])[0].output_path
    return path


# ---- tasks


def task_manager(folders: Sequence[Path], metadata: Mapping[str, str], defaults: bool) -> "TaskManager":
    """Return lm-eval's index of the tasks in `folders`; with `defaults` also of lm-eval's 14,000 (7 s)."""
    from lm_eval.tasks import TaskManager

    return TaskManager(
        include_path=[str(folder) for folder in folders],
        include_defaults=defaults,
        metadata=dict(metadata),
    )


def add_task_folders(module: ModuleType, folders: Sequence[Path]) -> None:
    """Add folders to every index of tasks that lm-eval builds; calling it again changes nothing.

    They come after lm-eval's own tasks and before the user's `--include_path`, so that a user's task of the
    same name is taken. A folder that is in the list already is not added: an lm-eval that reads the
    `lm_eval.tasks` entry point has it, or a user's `--include_path "$(mergekit-finance tasks --path)"`.

    Replaces the static method `TaskIndex.build` of lm-eval 0.4.13.

    Args:
        module: `lm_eval.tasks.manager`, which may have been executed only just now.
        folders: ours and other plugins'.
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


def with_folders(paths: Sequence[Path], folders: Sequence[Path], first: Path) -> list[Path]:
    """Return `paths` with the missing folders added, after `first` if the list starts with it."""
    present = {Path(path).resolve() for path in paths}
    missing = [folder for folder in folders if folder.resolve() not in present]
    position = 1 if paths and Path(paths[0]).resolve() == first else 0
    return [*paths[:position], *missing, *paths[position:]]


def prepare_task(task: "ConfigurableTask", fewshot_seed: int, max_gen_toks: int | None) -> None:
    """Apply the settings that lm-eval's `simple_evaluate` applies before it evaluates.

    Args:
        task: a loaded task, changed in place.
        fewshot_seed: seed of the draws of few-shot examples.
        max_gen_toks: upper bound on the length of generated answers; None leaves the task's own.
    """
    if task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    LM_EVAL.get(task, "set_fewshot_seed")(seed=fewshot_seed)
    if max_gen_toks and task.get_config("output_type") == "generate_until":
        kwargs = task.get_config("generation_kwargs") or {}
        limit = min(kwargs.get("max_gen_toks", max_gen_toks), max_gen_toks)
        task.set_config(key="generation_kwargs", value={"max_gen_toks": limit}, update=True)


def reuse_requests(task: "ConfigurableTask") -> None:
    """Let a task build its requests once per limit; later evaluations get the same, without answers.

    Replaces the method `build_all_requests` of this one object.
    """
    build = LM_EVAL.get(task, "build_all_requests")
    built_for: dict[str, RequestOptions] | None = None

    def build_once(**options: RequestOptions) -> None:
        nonlocal built_for
        if built_for != options:
            build(**options)
            built_for = options
        for instance in task.instances:
            instance.resps, instance.filtered_resps = [], {}

    task.build_all_requests = build_once


# ---- models and evaluation


def register_model(name: str, target: str) -> None:
    """Register a model class with lm-eval by name; calling it again changes nothing.

    Call it only after `lm_eval.models` has been executed: lm-eval 0.4.13 fills its `model_registry` while
    that is empty, and one model of ours would keep out `hf` and all others.

    Args:
        name: for `lm_eval --model`.
        target: `module:class`, imported when the name is asked for.
    """
    with LM_EVAL.imports():
        from lm_eval.api.registry import model_registry

    if name not in model_registry:
        LM_EVAL.get(model_registry, "register")(name, target=target)


def live_model(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    batch_size: int | str,
    quiet: bool = False,
) -> "HFLM":
    """Wrap a model in memory; later changes of its parameters are seen. `quiet`: without progress bars."""
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    if quiet:
        for name in ("loglikelihood", "generate_until"):
            setattr(lm, name, partial(getattr(lm, name), disable_tqdm=True))
    return lm


def evaluate(lm: "HFLM", tasks: "Mapping[str, ConfigurableTask]", limit: int | None) -> Results:
    """Run loaded tasks on a model and return results with every sample; no standard errors are computed."""
    from lm_eval.evaluator import evaluate

    results: Results = evaluate(
        lm=lm, task_dict={"tasks": dict(tasks), "groups": {}}, limit=limit, bootstrap_iters=0
    )
    return results


# ---- what it prints


@contextmanager
def progress_bars(requests: bool = False, position: int = 1) -> Iterator[None]:
    """Show the bars of a model's answers at a line of the terminal, and remove them when they are done.

    Args:
        requests: whether to show the bars of building requests too, for which lm-eval has no switch.
        position: the line, counted from that of the caller's own bar.

    Replaces the name `tqdm` in three modules; a version without it keeps its own bars.
    """
    from lm_eval.api import model, task
    from lm_eval.models import huggingface

    answers = {"position": position, "leave": False}
    settings: dict[ModuleType, dict[str, int | bool]] = {
        task: {"disable": not requests},
        model: dict(answers),
        huggingface: dict(answers),
    }
    originals = {module: module.tqdm for module in settings if hasattr(module, "tqdm")}
    for module, original in originals.items():
        vars(module)["tqdm"] = partial(original, **settings[module])
    try:
        yield
    finally:
        for module, original in originals.items():
            vars(module)["tqdm"] = original


# Logged for every task and every live model; nothing in it can be acted on.
EXPECTED_WARNINGS = (
    "Custom kwargs can be passed to",
    "`pretrained` model kwarg is not of type",
    "Passed an already-initialized model",
)


class _WithoutExpected(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not any(text in record.getMessage() for text in EXPECTED_WARNINGS)


@contextmanager
def quiet() -> Iterator[None]:
    """Log no information messages of lm-eval and transformers, nor warnings that every task would repeat.

    Levels and filters are restored afterwards.
    """
    expected = _WithoutExpected()
    filtered = [logging.getLogger(name) for name in ("lm_eval.api.task", "lm_eval.models.huggingface")]
    levels = {
        logging.getLogger("lm_eval"): logging.WARNING,
        logging.getLogger("transformers"): logging.ERROR,  # mergekit uses the deprecated `torch_dtype`
    }
    before = {logger: logger.level for logger in levels}
    for logger in filtered:
        logger.addFilter(expected)
    for logger, level in levels.items():
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger in filtered:
            logger.removeFilter(expected)
        for logger, level in before.items():
            logger.setLevel(level)


# ---- files


def folder_name(model: str) -> str:
    """Return a name for a model in results: `model`, shortened if lm-eval cannot make a folder of it.

    lm-eval 0.4.13 makes one folder name of the whole name, a path included, and only logs that it failed.
    """
    from lm_eval.utils import sanitize_model_name

    return file_name(model, 100) if len(sanitize_model_name(model).encode()) > 255 else model


FULL_DISK = 1 << 20  # bytes: with fewer free bytes a file that is missing was not written for lack of room


def write_results(
    folder: Path, results: Results, samples: Mapping[str, Sequence[Sample]], model_args: Mapping[str, str]
) -> None:
    """Write results.json and samples_<task>.jsonl with lm-eval's own writer, under names without a date.

    Raises:
        OSError: the disk is full (lm-eval only logs it).
        RuntimeError: lm-eval did not write everything for another reason.
    """
    from lm_eval.loggers import EvaluationTracker

    tracker = EvaluationTracker(output_path=str(folder / "lm_eval"))
    general = LM_EVAL.get(tracker, "general_config_tracker")
    general.log_experiment_args(
        model_source="hf",
        model_args=dict(model_args),
        system_instruction=None,
        chat_template=None,
        fewshot_as_multiturn=False,
    )
    general.model_name_sanitized = file_name(str(general.model_name_sanitized))
    tracker.save_results_aggregated(results=dict(results), samples=dict(samples))
    for task, rows in samples.items():
        tracker.save_results_samples(task_name=task, samples=rows)
    for path in (folder / "lm_eval").rglob("*.json*"):
        path.replace(folder / f"{path.name.rsplit('_', 1)[0]}{path.suffix}")
    shutil.rmtree(folder / "lm_eval", ignore_errors=True)
    _check_written(folder, {task: len(rows) for task, rows in samples.items()})


def _check_written(folder: Path, counts: Mapping[str, int]) -> None:
    """Raise if results are not valid JSON or samples do not have the given numbers of lines."""
    try:
        json.loads((folder / "results.json").read_text(encoding="utf-8"))
        whole = all(_lines(folder / f"samples_{task}.jsonl") == count for task, count in counts.items())
    except (OSError, ValueError):
        whole = False
    if not whole and shutil.disk_usage(folder).free < FULL_DISK:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if not whole:
        raise RuntimeError("lm-eval's tracker did not write all results")


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)
