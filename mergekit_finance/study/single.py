"""`mergekit-finance run`: a study of one point, from any recipe that mergekit accepts.

It uses the worker, store, checks and statistics of a study. If the output folder already contains results of
constituents with the same settings, from a study or another run, these are reused.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from mergekit_finance.checks.check_all import Say, check_all
from mergekit_finance.data.mirror import VARIABLE
from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.evaluation.task_measures import Measure
from mergekit_finance.files import write_json
from mergekit_finance.hosts.lm_eval import Results
from mergekit_finance.merge_methods.check_output import inputs_of
from mergekit_finance.models.fingerprint import fingerprints
from mergekit_finance.models.finite_values import require_finite_values
from mergekit_finance.models.presence import random_weights
from mergekit_finance.recipe.load import Recipe
from mergekit_finance.recipe.task_entries import TaskSettings
from mergekit_finance.statistics.bootstrap import Replicates, bootstrap, with_constants
from mergekit_finance.statistics.contrasts import score
from mergekit_finance.statistics.intervals import Estimate
from mergekit_finance.statistics.outperform import gain, outperform_gap
from mergekit_finance.statistics.scores import TaskScores, aligned, task_scores
from mergekit_finance.study.analysis.item_flips import flips_of_merge
from mergekit_finance.study.executors import Executor
from mergekit_finance.study.points import RecipePoint
from mergekit_finance.study.refusals import (
    check_chat,
    check_contexts,
    check_folder,
    check_spread,
    require_metrics,
)
from mergekit_finance.study.run import print_progress
from mergekit_finance.study.schema import ChatUsed, Columns, GainFile, GainRow
from mergekit_finance.study.schema.gain import FORMAT
from mergekit_finance.study.store import Store, disk_errors
from mergekit_finance.study.task_info import is_zero_shot, weights_of_tasks
from mergekit_finance.study.worker import Job, Worker
from mergekit_finance.study.worker_count import Need

MERGED = "merged"  # name of the merge in the statistics


@dataclass
class SingleRun:
    """One recipe, its constituents, and the tasks that they are compared on.

    Attributes:
        recipe: the checked recipe.
        evaluator: measures the models.
        out: the output folder.
        limit: items per task; None: all.
        trust_remote_code: whether model repositories may run Python code.
        quiet: whether to hide progress bars.
        say: callback that prints a line.
        task_settings: by task or group, what the recipe says of it; its weights are used here.
    """

    recipe: Recipe
    evaluator: Evaluator
    out: Path
    limit: int | None = None
    trust_remote_code: bool = False
    quiet: bool = False
    say: Say = print_progress
    task_settings: Mapping[str, TaskSettings] = field(default_factory=dict)

    def run(self) -> GainFile:
        """Merge, evaluate what is not stored yet, write gain.json and return its content.

        Raises:
            MergekitFinanceError: something in the recipe, its models, tasks or output folder is wrong.
        """
        self.check()
        self.store.clean()
        self.store.mention_older_results(self.say)
        worker = Worker(
            self.evaluator,
            self.out,
            self.fingerprints,
            limit=self.limit,
            threads=torch.get_num_threads(),
            trust_remote_code=self.trust_remote_code,
        ).stamped()
        point = RecipePoint(f"merged-{self.recipe.name}", self.recipe.merge, self.recipe.seed)
        # The merge comes first: if it fails, this is noticed before hours of evaluation.
        jobs = [Job(recipe=point), *(Job(reference=r) for r in self.recipe.constituents)]
        executor = Executor("local", workers=1, need=Need(), quiet=self.quiet, say=self.say, label="run")
        folders = executor.run_missing(worker, jobs)
        result = self._result(dict(zip([MERGED, *self.recipe.constituents], folders, strict=True)))
        with self.store.hold("publish"), disk_errors(self.out):
            write_json(self.out / "gain.json", result.as_json())
        return result

    def check(self) -> None:
        """Raise a one-line error for anything wrong with models, tasks or the output folder."""
        where, recipe = str(self.recipe.path), self.recipe
        settings = recipe.merge_settings
        settings["evaluated"], settings["out"] = frozenset(recipe.constituents), self.out
        settings["device"], settings["parallelize"] = self.evaluator.device, bool(self.evaluator.spread)
        settings["chat"] = bool(self.evaluator.chat.apply_chat_template)
        check_all(
            self.references,
            where,
            say=self.say,
            trust_remote_code=self.trust_remote_code,
            tokenizers=recipe.constituents,
            **settings,
        )
        check_folder(self.out, inputs_of(recipe.configuration()))
        require_metrics(self.evaluator, where)
        evaluated = dict.fromkeys([self.references[0], *recipe.constituents])
        check_contexts(self.evaluator, list(evaluated), where, self.trust_remote_code)
        check_chat(self.evaluator, recipe.constituents, self.say, self.trust_remote_code)
        check_spread(self.evaluator, self.references[0], self.say, self.trust_remote_code)
        require_finite_values(self.references, self.quiet)

    @property
    def references(self) -> list[str]:
        """Every model that is merged, the base first."""
        return list(self.recipe.models)

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Model reference -> hash of its bytes."""
        return fingerprints(self.references, self.quiet)

    @property
    def store(self) -> Store:
        """The stored results."""
        return Store(self.out)

    def _data_source(self) -> str:
        """Return the origin of the rows: a source's name, `mirror`, or `cache or Hub`."""
        metadata = self.evaluator.metadata
        mirror = metadata.get("data_dir") or os.environ.get(VARIABLE)
        return metadata.get("source") or ("mirror" if mirror else "cache or Hub")

    def _result(self, folders: Mapping[str, str]) -> GainFile:
        places = {model: self.store.points / folder for model, folder in folders.items()}
        results = {model: self.store.results(place) for model, place in places.items()}
        tables = {model: self.store.scores(place) for model, place in places.items()}
        weights = weights_of_tasks(self.evaluator, self.task_settings)
        scores, whole = _scores_and_values(self.evaluator, tables, weights)
        replicates = with_constants(bootstrap(list(scores.values())), whole, weights)
        items = {task: len(tables[MERGED][task].items) for task in sorted(tables[MERGED])}
        measures = self.evaluator.measures
        tasks = {task: _task_row(task, n, results, replicates, measures[task]) for task, n in items.items()}
        units = {unit: [name for name in tasks if measures[name].unit == unit] for unit in _units(measures)}
        constituents = list(self.recipe.constituents)
        macros = {u: _row(of_u, constituents, replicates, measures[of_u[0]]) for u, of_u in units.items()}
        for unit, row in macros.items():
            _add_flips(row, units[unit], scores, replicates)
        for name, row in tasks.items():
            _add_flips(row, [name], scores, replicates)
            row.is_zero_shot = is_zero_shot(self.evaluator.tasks[name], self.evaluator.metadata.get("source"))
        recipe = self.recipe
        result = GainFile(
            format=FORMAT,
            recipe=recipe.text,
            method=recipe.method,
            semantics=recipe.semantics,
            stage=recipe.stage,
            seed=recipe.seed,
            base=recipe.base,
            models=self.fingerprints,
            results=dict(folders),
            limit=self.limit,
            source=self._data_source(),
            random_weights=random_weights(self.references),
            tasks=tasks,
            macro=macros.get(""),
            macros_by_unit={unit: row for unit, row in macros.items() if unit},
        )
        if used := self.evaluator.chat.as_json():
            result.chat = ChatUsed.model_validate(used)
        return result


def _scores_and_values(
    evaluator: Evaluator, tables: Mapping[str, Mapping[str, Columns]], weights: Mapping[str, float]
) -> tuple[dict[str, TaskScores], dict[str, dict[str, float]]]:
    """Return the scores of items by task, and the values of tasks without such; signs so that more is better.

    A metric over the texts of all items has no scores of items: its values are constant.
    """
    scores: dict[str, TaskScores] = {}
    whole: dict[str, dict[str, float]] = {}
    for name, task in evaluator.tasks.items():
        measure, less = evaluator.measures[name], not evaluator.measures[name].higher_is_better
        values = {model: table[name].value for model, table in tables.items()}
        if None in tables[MERGED][name].score and None not in values.values():
            whole[name] = {m: -value if less else value for m, value in values.items() if value is not None}
            continue
        dataset = (task.config.dataset_kwargs or {}).get("fb_dataset") or name
        scores[name] = task_scores(
            name,
            [f"{dataset}/{cluster}" for cluster in tables[MERGED][name].clusters],
            {model: table[name].score for model, table in tables.items()},
            measure.aggregation,
            {model: table[name].correct for model, table in tables.items()},
            weight=weights[name],
            lower_is_better=less,
        )
    return aligned(scores), whole


def _units(measures: Mapping[str, Measure]) -> list[str]:
    return sorted({measure.unit for measure in measures.values()})


def _task_row(
    task: str, n: int, results: Mapping[str, Results], replicates: Replicates, measure: Measure
) -> GainRow:
    """Return the row of one task, of `n` items, with the scores that lm-eval reported."""
    constituents = [model for model in results if model != MERGED]
    scores = {model: float(r["results"][task]["score,none"]) for model, r in results.items()}
    return _row([task], constituents, replicates, measure).model_copy(
        update={
            "merged": scores.pop(MERGED),
            "constituents": scores,
            "clusters": replicates.clusters[task],
            "weight": replicates.weights([task])[0],
            "n": n,
            "truncated": max(r["truncated_prompts"].get(task, 0) for r in results.values()),
        }
    )


def _row(tasks: list[str], constituents: list[str], replicates: Replicates, measure: Measure) -> GainRow:
    """Return a row over tasks of one unit, that of `measure`; values as the tasks compute them."""
    sign = 1.0 if measure.higher_is_better else -1.0
    estimates = {
        "merged": score(replicates, tasks, MERGED),
        "gain": gain(replicates, tasks, MERGED, constituents),
        "og": outperform_gap(replicates, tasks, MERGED, constituents),
    }
    row = GainRow(
        merged=sign * estimates["merged"].value,
        constituents={m: sign * score(replicates, tasks, m).value for m in constituents},
        gain=estimates["gain"].value,
        og=estimates["og"].value,
    )
    if measure.unit:
        row.unit, row.lower_is_better = measure.unit, sign < 0
    if all(map(_has_interval, estimates.values())):
        row.intervals = {name: (e.low, e.high) for name, e in estimates.items()}
        if sign < 0:
            row.intervals["merged"] = (-estimates["merged"].high, -estimates["merged"].low)
    return row


def _add_flips(
    row: GainRow, tasks: Sequence[str], scores: Mapping[str, TaskScores], replicates: Replicates
) -> None:
    """Add the items that flipped on these tasks, unless they are measured in a unit or over all items."""
    if not row.unit and all(task in scores for task in tasks):
        of_tasks = [scores[task] for task in tasks]
        flips = flips_of_merge(of_tasks, MERGED, list(row.constituents), replicates.observed)
        row.flips_gain, row.flips_og = flips


def _has_interval(estimate: Estimate) -> bool:
    """Return whether an interval has finite ends, which needs two clusters or more."""
    return math.isfinite(estimate.low) and math.isfinite(estimate.high)
