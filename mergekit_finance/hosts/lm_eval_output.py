"""Adapters for lm-eval's output: progress bars, log messages, folder names, result files.

Nothing here can change an answer or a score, so keys of stored results do not cover this file. Written for
lm-eval 0.4.13, which is imported inside the functions: with torch it takes seconds.
"""

import errno
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from mergekit_finance.files import file_name
from mergekit_finance.hosts.lm_eval import Results, Sample
from mergekit_finance.hosts.names import LM_EVAL

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM

    from mergekit_finance.files import Json


# ---- bars and messages


def hide_bars(lm: "HFLM") -> None:
    """Disable the progress bars of a model, by replacing two methods of this one object."""
    for name in ("loglikelihood", "generate_until"):
        setattr(lm, name, partial(getattr(lm, name), disable_tqdm=True))


@contextmanager
def progress_bars(requests: bool = False, position: int = 1) -> Iterator[None]:
    """Show lm-eval's progress bars on one line of the terminal, and remove them when they are done.

    Args:
        requests: whether to show the bars of building requests too, for which lm-eval has no switch.
        position: the line of the bars, counted from that of the caller's bar.

    Replaces the name `tqdm` in these modules; a module without that name is not changed.
    """
    from lm_eval.api import model, task
    from lm_eval.models import huggingface

    answers = {"position": position, "leave": False}
    settings: dict[ModuleType, dict[str, int | bool]] = {model: dict(answers), huggingface: dict(answers)}
    for module in (task, getattr(task, "_task", None)):  # lm-eval 0.5 has a package of both
        if module is not None:
            settings[module] = {"disable": not requests}
    originals = {module: module.tqdm for module in settings if hasattr(module, "tqdm")}
    for module, original in originals.items():
        vars(module)["tqdm"] = partial(original, **settings[module])
    try:
        yield
    finally:
        for module, original in originals.items():
            vars(module)["tqdm"] = original


# Logged for every task and every live model; a user cannot do anything about them.
EXPECTED_WARNINGS = (
    "Custom kwargs can be passed to",
    "`pretrained` model kwarg is not of type",
    "Passed an already-initialized model",
    "Using a placeholder that expects values from 'process_results'",  # lm-eval 0.5, for our metrics
    "Failed to apply chat template",  # logged for every prompt; a check says it once
)

LOGGERS = (
    "lm_eval.api.task", "lm_eval.models.huggingface",
    "lm_eval.api.task._task", "lm_eval.api.metrics.utils",  # lm-eval 0.5
)  # fmt: skip


class _WithoutExpected(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not any(text in record.getMessage() for text in EXPECTED_WARNINGS)


@contextmanager
def quiet() -> Iterator[None]:
    """Hide info messages of lm-eval and transformers, and the warnings in EXPECTED_WARNINGS.

    Levels and filters are restored afterwards.
    """
    expected = _WithoutExpected()
    filtered = [logging.getLogger(name) for name in LOGGERS]
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
    """Return `model`, shortened if it is too long for the folder name that lm-eval derives from it.

    lm-eval 0.4.13 turns the whole name or path into one folder name, and only logs an error if that fails.
    """
    from lm_eval.utils import sanitize_model_name

    return file_name(model, 100) if len(sanitize_model_name(model).encode()) > 255 else model


def results_folder(output: Path, model: str) -> Path:
    """Return the folder that lm-eval writes a model's results to; it only logs an error if it cannot."""
    from lm_eval.utils import sanitize_model_name

    return output.parent if output.suffix == ".json" else output / sanitize_model_name(model)


FULL_DISK = 1 << 20  # bytes: if fewer are free, a missing file means that the disk is full


def write_results(
    folder: Path, results: Results, samples: Mapping[str, Sequence[Sample]], model_args: Mapping[str, str]
) -> None:
    """Write results.json and samples_<task>.jsonl with lm-eval's own writer, under names without a date.

    Raises:
        OSError: the disk is full (lm-eval only logs it).
        RuntimeError: lm-eval did not write everything for another reason.
    """
    from lm_eval.loggers import EvaluationTracker

    tracker, chat = EvaluationTracker(output_path=str(folder / "lm_eval")), results.get("chat", {})
    content = {name: value for name, value in results.items() if name != "chat"}
    general = LM_EVAL.get(tracker, "general_config_tracker")
    general.log_experiment_args(
        model_source="hf",
        model_args=dict(model_args),
        system_instruction=_text(chat, "system_instruction"),
        chat_template=_text(chat, "chat_template"),
        fewshot_as_multiturn=bool(chat.get("fewshot_as_multiturn")),
    )
    general.model_name_sanitized = file_name(str(general.model_name_sanitized))
    tracker.save_results_aggregated(results=content, samples=dict(samples))
    for task, rows in samples.items():
        tracker.save_results_samples(task_name=task, samples=rows)
    for path in (folder / "lm_eval").rglob("*.json*"):
        path.replace(folder / f"{path.name.rsplit('_', 1)[0]}{path.suffix}")
    shutil.rmtree(folder / "lm_eval", ignore_errors=True)
    _check_written(folder, {task: len(rows) for task, rows in samples.items()})


def _text(settings: "Mapping[str, Json]", name: str) -> str | None:
    """Return the text of a setting; None if there is none, as in lm-eval's own files."""
    return str(settings[name]) if settings.get(name) else None


def _check_written(folder: Path, counts: Mapping[str, int]) -> None:
    """Raise if results are not valid JSON or a samples file does not have its number of lines in `counts`."""
    try:
        json.loads((folder / "results.json").read_text(encoding="utf-8"))
        complete = all(_lines(folder / f"samples_{task}.jsonl") == count for task, count in counts.items())
    except (OSError, ValueError):
        complete = False
    if not complete and shutil.disk_usage(folder).free < FULL_DISK:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if not complete:
        raise RuntimeError("lm-eval's tracker did not write all results")


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)
