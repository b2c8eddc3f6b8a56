"""Evaluating live models with lm-eval: tasks built once, results stored in lm-eval's own formats."""

import errno
import hashlib
import json
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergekit_finance.errors import DataError, did_you_mean
from mergekit_finance.evaluation.truncation import truncated
from mergekit_finance.merging import in_memory as merging
from mergekit_finance.models import checks as models

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Whose version can change a score.
VERSIONS = ("mergekit-finance", "mergekit", "lm-eval", "torch", "transformers", "tokenizers", "datasets")
# Said once for every task and every live model, and nothing that a user of ours can act on.
NOISE = (
    "Custom kwargs can be passed to",
    "`pretrained` model kwarg is not of type",
    "Passed an already-initialized model",
)


class _Quiet(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not any(text in record.getMessage() for text in NOISE)


def quiet_hosts() -> None:
    """Keep the hosts' warnings, less those that are said for every task and live model."""
    for name in ("lm_eval.api.task", "lm_eval.models.huggingface"):
        logger = logging.getLogger(name)
        if not any(isinstance(f, _Quiet) for f in logger.filters):
            logger.addFilter(_Quiet())
    logging.getLogger("lm_eval").setLevel(logging.WARNING)
    logging.getLogger("transformers").setLevel(logging.ERROR)  # mergekit sets `torch_dtype`: deprecated
    from lm_eval import evaluator

    evaluator.get_git_commit_hash = _commit  # lm-eval's own prints git's "fatal: not a git repository"


def _commit() -> str | None:
    """The commit of the folder that the command runs in, if it is a checkout."""
    try:
        done = subprocess.run(["git", "describe", "--always"], capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


@dataclass
class Harness:
    """What is evaluated, the same for every model of a run."""

    tasks: Sequence[str]
    limit: int | None = None
    batch_size: int | str = 8
    device: str = "cpu"
    dtype: str = "auto"
    metadata: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def manager(self) -> "TaskManager":
        """lm-eval's index of tasks; its own 14,000 are read only when one of them is asked for."""
        from lm_eval.tasks import TaskManager

        from mergekit_finance import registration as integration

        integration.register()
        ours = TaskManager(include_defaults=False, metadata=self.metadata)
        if all(ours.match_tasks([name]) for name in self.tasks):
            return ours
        everything = TaskManager(metadata=self.metadata)
        for name in self.tasks:
            if not everything.match_tasks([name]):
                raise DataError(f"unknown task {name!r}. {did_you_mean(name, ours.all_tasks)}")
        return everything

    @cached_property
    def loaded(self) -> Any:
        """The tasks as objects, their data read: every data error comes here, before any model."""
        quiet_hosts()
        try:
            return self.manager.load(list(self.tasks))
        except ValueError as fault:
            if "uplicate task" not in str(fault):
                raise
            raise DataError(
                f"tasks: {str(fault).splitlines()[0]}; name a task or its group, not both"
            ) from fault
        except OSError as fault:  # of lm-eval's own tasks; ours say it themselves
            raise DataError(
                f"tasks: the rows of one of {', '.join(self.tasks)} cannot be fetched "
                f"({str(fault).splitlines()[0]}); go online once to fill the cache, or leave it out"
            ) from fault

    def check_scores(self) -> None:
        """Every task must report `score`: without it Gain is not defined, and hours would be lost."""
        for name, task in self.loaded["tasks"].items():
            if "score" not in task.aggregation():
                raise DataError(
                    f"task {name!r} reports no `score`, so Gain is not defined for it; use a finance_bench "
                    "task, or give yours a `score` metric under the filter `none`"
                )

    @property
    def leaves(self) -> list[str]:
        return sorted(self.loaded["tasks"])

    def evaluate(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", name: str
    ) -> dict[str, Any]:
        """lm-eval's results and samples for one live model."""
        import lm_eval
        import torch
        from lm_eval.models.huggingface import HFLM

        if self.dtype != "auto":
            model = merging.cast(model, getattr(torch, self.dtype))  # HFLM ignores dtype= for a live model
        lm = HFLM(pretrained=model.to(self.device), tokenizer=tokenizer, batch_size=self.batch_size)
        results = lm_eval.simple_evaluate(
            model=lm,
            tasks=list(self.loaded["tasks"].values()),
            task_manager=self.manager,
            limit=self.limit,
            batch_size=self.batch_size,
            device=self.device,
        )
        results["config"]["model_args"] = {"pretrained": name}
        results["truncated_prompts"] = truncated(results["samples"], tokenizer, lm.max_length)
        return results

    def key(self, model: str) -> dict[str, Any]:
        """All that an evaluation depends on; equal keys mean equal results."""
        return {
            "model": model,
            "tasks": {name: self._data_of(name) for name in self.leaves},
            "code": _code(),
            "limit": self.limit,
            "dtype": self.dtype,
            "device": self.device.split(":")[0],
            "batch_size": self.batch_size,  # batching changes the last bits of a score
            # acc_token counts the options' tokens
            "tokenizer": models.tokenizer_fingerprint(named)
            if (named := self.metadata.get("tokenizer"))
            else "",
            "versions": {name: version(name) for name in VERSIONS},
        }

    def _data_of(self, task: str) -> str:
        from mergekit_finance.data.loader import fingerprint

        found = self.loaded["tasks"][task]
        kwargs = found.config.dataset_kwargs or {}
        if "fb_dataset" not in kwargs:
            return f"{found.VERSION} {getattr(found.eval_docs, '_fingerprint', '')}"
        where = {k: self.metadata.get(k) for k in ("source", "data_dir")}
        return fingerprint(kwargs["fb_dataset"], kwargs.get("fb_subset", "default"), **where)


def merge_code() -> str:
    """A hash of the code of our merge methods, and which plugins may bring others."""
    from mergekit_finance.plugins.manager import manager

    package = Path(__file__).resolve().parents[1]
    plugins = [plugin.distribution for plugin in manager().loaded]
    return _hash_files(package / "merge_methods", package / "engine") + " " + ", ".join(plugins)


def _code() -> str:
    """A hash of the task files and of the code that reads and scores rows."""
    from mergekit_finance.plugins.manager import task_folders

    package = Path(__file__).resolve().parents[1]
    return _hash_files(*task_folders(), package / "tasks", package / "data")


def _hash_files(*folders: Path) -> str:
    files = [p for folder in folders for p in folder.rglob("*")]
    total = hashlib.sha256()
    for path in sorted(p for p in files if p.is_file() and p.suffix in (".py", ".yaml", ".yml", "")):
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()[:16]


def stored(
    folder: Path, label: str, key: dict[str, Any], make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """The results of `key`, from `folder` where they are, else made, stored and returned."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
    place = folder / f"{label}-{digest}"
    if not (place / "results.json").is_file():
        _store(place, key, make())
    return json.loads((place / "results.json").read_text(encoding="utf-8")) | {"folder": place.name}


def _store(place: Path, key: dict[str, Any], results: dict[str, Any]) -> None:
    """Write under a temporary name, then rename: a folder under its final name is whole."""
    place.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    try:
        _write(scratch, results)
        (scratch / "key.json").write_text(json.dumps(key, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        os.chmod(scratch, 0o755)  # mkdtemp makes it private
        scratch.replace(place)
    except OSError:
        if not (place / "results.json").is_file():  # else: another process was first, with the same results
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write(folder: Path, results: dict[str, Any]) -> None:
    """lm-eval's own writer, then its files under names without a date."""
    from lm_eval.loggers import EvaluationTracker

    samples = results.pop("samples")
    tracker = EvaluationTracker(output_path=str(folder / "lm_eval"))
    tracker.general_config_tracker.log_experiment_args(
        model_source="hf",
        model_args=results["config"]["model_args"],
        system_instruction=None,
        chat_template=None,
        fewshot_as_multiturn=False,
    )
    tracker.save_results_aggregated(results=results, samples=samples)
    for task in samples:
        tracker.save_results_samples(task_name=task, samples=samples[task])
    for path in (folder / "lm_eval").rglob("*.json*"):
        path.replace(folder / f"{path.name.rsplit('_', 1)[0]}{path.suffix}")
    shutil.rmtree(folder / "lm_eval", ignore_errors=True)
    _check_written(folder, {task: len(rows) for task, rows in samples.items()})


def _check_written(folder: Path, counts: dict[str, int]) -> None:
    """lm-eval's tracker only logs its own failures; on a full disk files are short or not there."""
    try:
        json.loads((folder / "results.json").read_text(encoding="utf-8"))
        whole = all(_lines(folder / f"samples_{task}.jsonl") == count for task, count in counts.items())
    except (OSError, ValueError):
        whole = False
    if not whole and shutil.disk_usage(folder).free < LEAST_FREE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if not whole:
        raise RuntimeError("lm-eval's tracker did not write all results")


LEAST_FREE = 1 << 20  # bytes: with less the disk is as good as full


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)
