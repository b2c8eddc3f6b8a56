"""Evaluate models with lm-eval. Tasks and requests are built once and used for any number of models."""

import copy
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from mergekit_finance.checks.contexts import tokens_generated
from mergekit_finance.checks.findings import Findings
from mergekit_finance.checks.tasks import check_include_paths, check_task_names
from mergekit_finance.errors import DataError, MergekitFinanceError, first_line
from mergekit_finance.evaluation.answering import AnsweringModel
from mergekit_finance.evaluation.chat import ChatSettings, ChatTemplate, chat_template_of
from mergekit_finance.evaluation.inference.kept_model import KeptModel
from mergekit_finance.evaluation.live_models import LiveModels, seed_sampling
from mergekit_finance.evaluation.task_errors import load_error, run_error
from mergekit_finance.evaluation.task_measures import (
    Measure,
    MetricChoice,
    measure_of,
    not_listed,
    with_scores,
)
from mergekit_finance.evaluation.truncation import PromptLengths
from mergekit_finance.hosts import lm_eval as host
from mergekit_finance.hosts.lm_eval_output import progress_bars, quiet
from mergekit_finance.hosts.task_files import TaskFiles
from mergekit_finance.models.loading import cast, load_tokenizer, torch_dtype
from mergekit_finance.models.spread import Spread
from mergekit_finance.plugins import manager as plugins

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks.manager import TaskDict
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from mergekit_finance.hosts.lm_eval import Results, Sample

FEWSHOT_SEED = 1234  # lm-eval's default


@dataclass
class Evaluator:
    """Measures live models on a fixed set of tasks.

    Attributes:
        names: names of tasks, groups or tags in lm-eval.
        batch_size: requests per forward pass; `auto`: as many as fit.
        device: where models are measured.
        dtype: the dtype that constituents are loaded and merges are cast to; `auto`: as stored.
        engine: `compiled` or `hf`, what computes the answers.
        metadata: values that the user passes to tasks: `source`, `data_dir`, `tokenizer`.
        max_gen_toks: upper bound on the length of generated answers; None: each task's own.
        chat: whether prompts are in the models' chat formats.
        quiet: without progress bars of a model's answers.
        task_folders: folders that are searched for tasks before those of lm-eval.
        include_paths: folders of the user's own tasks, whose Python code runs, as in lm-eval.
        choices: by name of `names`: which metric and filter is the score.
        prompt_lengths: tokens of prompts, counted once for all models with the same tokenizer.
        models: how many models this process is expected to evaluate; no result depends on it.
        processes: how many processes of a study share the device and its memory.
        spread: the devices that one model is spread over; `hf` computes its answers.
    """

    names: Sequence[str]
    batch_size: int | str = "auto"
    device: str = "cpu"
    dtype: str = "auto"
    metadata: Mapping[str, str] = field(default_factory=dict)
    max_gen_toks: int | None = None
    chat: ChatSettings = ChatSettings()
    quiet: bool = False
    task_folders: Sequence[Path] = field(default_factory=plugins.task_folders)
    include_paths: Sequence[Path] = ()
    choices: Mapping[str, MetricChoice] = field(default_factory=dict)
    engine: str = "compiled"
    prompt_lengths: PromptLengths = field(default_factory=PromptLengths, repr=False, compare=False)
    models: int = field(default=1, compare=False)
    processes: int = field(default=1, compare=False)
    spread: Spread | None = field(default=None, compare=False)
    _tokenizers: "dict[str, PreTrainedTokenizerBase]" = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _kept_model: KeptModel = field(default_factory=KeptModel, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.spread:
            self.engine = "hf"

    @cached_property
    def task_manager(self) -> "TaskManager":
        """lm-eval's index of tasks; of its own tasks, only the folders that define those asked for are read.

        Raises:
            DataError: there is no task of a given name, or a folder of `include_paths` is wrong.
        """
        Findings(check_include_paths(self.include_paths, self.task_folders)).raise_errors()
        folders = [*self.task_folders, *self.include_paths]
        files = TaskFiles(folders)
        Findings(check_task_names(self.names, files, self.include_paths)).raise_errors()
        of_lm_eval = files.lm_eval_folders(self.names)
        if of_lm_eval is None:
            return host.task_manager(folders, self.metadata, defaults=True)
        return host.task_manager([*of_lm_eval, *folders], self.metadata, defaults=False)

    @property
    def tasks(self) -> "dict[str, ConfigurableTask]":
        """The tasks by name, with groups replaced by their tasks, and rows loaded.

        Raises:
            DataError: a task is named twice, or its rows cannot be loaded.
        """
        tasks: dict[str, ConfigurableTask] = self._loaded["tasks"]
        return tasks

    @cached_property
    def _loaded(self) -> "TaskDict":
        """The tasks of `names` as lm-eval loads them, prepared for evaluation."""
        try:
            with quiet():
                loaded = self.task_manager.load(list(self.names))
                loaded["tasks"] = dict(host.tasks_by_name(loaded))
        except MergekitFinanceError:
            raise
        except (Exception, SystemExit) as error:
            if "uplicate task" not in str(error):
                reported = load_error(error, self.names, self.task_manager, self.task_folders)
                if reported is error:
                    raise
                raise reported from error
            raise DataError(
                f"tasks: {first_line(error)}. List a task or its group, not both.",
                id="task.twice",
            ) from error
        for task in loaded["tasks"].values():
            host.prepare_task(task, self.max_gen_toks)
            host.reuse_requests(task, FEWSHOT_SEED)
        return loaded

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """What the score of each task is, by task.

        Raises:
            DataError: a task has no metric, or not the metric or filter of its choice.
        """
        choices = {task: self.choices[name] for name in self.choices for task in self.members(name)}
        return {
            name: measure_of(name, task, choices.get(name, MetricChoice()))
            for name, task in self.tasks.items()
        }

    def members(self, name: str) -> list[str]:
        """Return the single tasks of one of `names`: those of a group or tag, or the task itself.

        Raises:
            DataError: these tasks have no task, group or tag of the name.
        """
        loaded = self._loaded
        if name in loaded["groups"]:
            return sorted(task.task_name for task in loaded["groups"][name].get_all_tasks())
        if name in loaded["tasks"]:
            return [name]
        entry = host.task_index(self.task_manager).get(name)
        if entry is None or not entry.tags:
            raise not_listed(name, self.selectable)
        return sorted(entry.tags)

    @property
    def selectable(self) -> list[str]:
        """Names whose `members` are tasks of this evaluator: single tasks, their groups, and `names`."""
        return sorted({*self.names, *self._loaded["groups"], *self._loaded["tasks"]})

    def is_group(self, name: str) -> bool:
        """Return whether a name is that of a group, of these tasks or not."""
        return name in self.task_manager.all_groups

    @property
    def task_names(self) -> list[str]:
        """Names of the single tasks, sorted."""
        return sorted(self.tasks)

    @property
    def generated_tokens(self) -> dict[str, int]:
        """The largest number of tokens that each task generates; multiple-choice tasks are left out."""
        return {
            name: tokens_generated(name, task.get_config("generation_kwargs") or {})
            for name, task in self.tasks.items()
            if task.get_config("output_type") == "generate_until"
        }

    @property
    def compares_options(self) -> bool:
        """Whether some task needs log-likelihoods."""
        return any(task.get_config("output_type") != "generate_until" for task in self.tasks.values())

    @property
    def captures(self) -> bool:
        """Whether decoding steps are captured as CUDA graphs, of models that the engine supports."""
        is_used = self.device.startswith("cuda") and self.engine == "compiled"
        return is_used and bool(self.generated_tokens)

    def check_scores(self) -> None:
        """Raise DataError if a task has no metric in [0, 1], for which Gain and OG are defined."""
        for name, measure in self.measures.items():
            if measure.unit:
                raise DataError(
                    f"task {name!r}: its metric {measure.metric!r} is in a unit of its own, so its Gain "
                    "cannot be averaged with that of other tasks. Name another metric of it.",
                    id="task.no-score",
                )

    def on(self, device: str, quiet: bool) -> "Evaluator":
        """Return an evaluator for another device that shares the loaded tasks with this one."""
        other = copy.copy(self)
        other.device, other.quiet = device, quiet
        other._kept_model = KeptModel()
        return other

    @property
    def live_models(self) -> LiveModels:
        """How the evaluated models are loaded."""
        return LiveModels(
            self.device,
            self.dtype,
            self.batch_size,
            self.quiet,
            self.engine,
            self._kept_model,
            self.models,
            self.processes,
            self.spread,
        )

    def tokenizer(self, reference: str, trust_remote_code: bool = False) -> "PreTrainedTokenizerBase":
        """Return a model's tokenizer, for its chat template; it is loaded once."""
        if reference not in self._tokenizers:
            self._tokenizers[reference] = load_tokenizer(reference, trust_remote_code)
        return self._tokenizers[reference]

    def chat_template(self, tokenizer: "PreTrainedTokenizerBase", model: str) -> ChatTemplate | None:
        """Return what renders the prompts of a model; None: they are as the tasks define them.

        Raises:
            ModelError: the tokenizer has no template, or not the one that is asked for.
        """
        choice = self.chat.apply_chat_template
        return chat_template_of(tokenizer, choice, model) if choice else None

    def requests(
        self, limit: int | None = None, chat_template: ChatTemplate | None = None
    ) -> "list[Instance]":
        """Return the requests that every model with one chat template gets, as lm-eval builds them.

        Args:
            limit: number of items per task, from the first on; None: all.
            chat_template: what `chat_template` returns.
        """
        settings = chat_template, self.chat.system_instruction, self.chat.multiturn
        with quiet(), progress_bars():
            seed_sampling()
            return [
                request
                for task in self.tasks.values()
                for request in host.built_requests(task, limit, *settings)
            ]

    def measure(
        self,
        model: AnsweringModel,
        name: str,
        limit: int | None = None,
        items: Mapping[str, Collection[int]] | None = None,
    ) -> "tuple[Results, float]":
        """Evaluate a model on all tasks, or on some items of some tasks.

        Args:
            model: gives lm-eval the stored answers, and asks for those that are missing.
            name: the model's name in the results.
            limit: the first so many items of every task (ours are in hash order: a random sample); None: all.
            items: positions of the items to evaluate, by task; tasks not named are left out. None: all.

        Returns:
            lm-eval's results with all samples, and the seconds that its evaluation took, without those of
            loading or merging the model.
        """
        started = time.monotonic()
        tasks = {name: task for name, task in self.tasks.items() if items is None or name in items}
        measures = {name: self.measures[name] for name in tasks}
        with quiet(), progress_bars():
            seed_sampling()
            is_chat = bool(self.chat.apply_chat_template)
            model.apply_chat_template = self.chat_template(model.tokenizer, name) if is_chat else None
            settings = is_chat, self.chat.system_instruction, self.chat.multiturn
            try:
                results = with_scores(host.run_tasks(model, tasks, limit, items, *settings), measures)
            except (Exception, SystemExit) as error:
                reported = run_error(error, self.names, self.include_paths)
                if reported is error:
                    raise
                raise reported from error
        seconds = time.monotonic() - started - model.seconds_making
        results["config"] = {"model": "hf", "model_args": {"pretrained": name}}
        results["truncated_prompts"] = _truncated_prompts(model, tasks)
        if used := self.chat.as_json():
            template = model.apply_chat_template
            results["chat"] = {**used, "chat_template": template.template if template else None}
        return results, seconds


def _truncated_prompts(model: AnsweringModel, tasks: "Mapping[str, ConfigurableTask]") -> dict[str, int]:
    """Return the number of items whose prompt did not fit the model's context, of tasks that have any."""
    cut = {
        name: {request.doc_id for request in task.instances if model.is_cut(request)}
        for name, task in tasks.items()
    }
    return {name: len(items) for name, items in cut.items() if items}


@dataclass(frozen=True)
class TaskEvaluation:
    """The results of one task for a model.

    Attributes:
        score: the primary metric, in [0, 1].
        metrics: every metric of the task by name, `score` included.
        n: items that were evaluated.
        samples: lm-eval's samples, one per item: `doc`, `arguments`, `resps`, and a value per metric.
    """

    score: float
    metrics: dict[str, float]
    n: int
    samples: "list[Sample]"


@dataclass(frozen=True)
class EvaluationResults:
    """The result of `evaluate`.

    Attributes:
        tasks: name of each single task -> results.
        truncated_prompts: task name -> items whose prompt did not fit the context, if there are any.
    """

    tasks: dict[str, TaskEvaluation]
    truncated_prompts: dict[str, int]

    @property
    def macro(self) -> float:
        """The unweighted mean of the tasks' scores."""
        return sum(task.score for task in self.tasks.values()) / len(self.tasks)


def evaluate(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    tasks: str | Sequence[str],
    *,
    limit: int | None = None,
    batch_size: int | str = 8,
    device: str = "cpu",
    dtype: str = "auto",
    source: str | None = None,
    data_dir: str | Path | None = None,
) -> EvaluationResults:
    """Evaluate a model in memory on tasks of this package, of plugins or of lm-eval.

    Args:
        model: a causal language model. It is moved to `device` and, with another `dtype`, converted in place.
        tokenizer: the model's.
        tasks: one or several names of tasks, groups or tags, such as `finance_bench`.
        limit: the first so many items of every task (ours are in hash order: a random sample); None: all.
        batch_size: requests per forward pass, or lm-eval's `auto` and `auto:N`.
        device: `cpu`, `cuda` or one device such as `cuda:1`.
        dtype: `float32`, `bfloat16`, `float16`, or `auto` for the model's own.
        source: dataset source by name, such as `hub`, `lab` or `sample`; None: mirror, cache or Hub.
        data_dir: folder of a dataset mirror; overrides $FINANCE_BENCH_DATA.

    Returns:
        The results of every single task: `score` in [0, 1], all metrics, the number of items and all samples.

    Raises:
        DataError: a task is unknown or named twice, reports no `score`, or its rows cannot be loaded.
    """
    where = {"source": source, "data_dir": data_dir, "tokenizer": tokenizer.name_or_path}
    evaluator = Evaluator(
        [tasks] if isinstance(tasks, str) else tasks,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
        metadata={name: str(value) for name, value in where.items() if value},
        quiet=True,
    )
    evaluator.check_scores()
    make = partial(evaluator.live_models.wrap, cast(model, torch_dtype(dtype)), tokenizer)
    results, _ = evaluator.measure(AnsweringModel(make), tokenizer.name_or_path, limit)
    by_task = {}
    for name in evaluator.task_names:
        metrics = {
            key.removesuffix(",none"): value
            for key, value in results["results"][name].items()
            if key.endswith(",none") and "_stderr" not in key and isinstance(value, int | float)
        }
        samples = results["samples"][name]
        by_task[name] = TaskEvaluation(metrics["score"], metrics, len(samples), samples)
    return EvaluationResults(by_task, results["truncated_prompts"])
