"""`mergekit-finance study`: from study.yml to summary.json. What is stored is never evaluated again."""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from mergekit_finance.checks.check_all import Say, check_all
from mergekit_finance.checks.findings import Findings
from mergekit_finance.checks.output import model_inputs, refusal
from mergekit_finance.checks.resources import disk_findings
from mergekit_finance.errors import print_to_stderr
from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.evaluation.inference.attention import unsupported_config
from mergekit_finance.files import Json
from mergekit_finance.models.facts import load_config
from mergekit_finance.models.fingerprint import fingerprints, folder_fingerprint
from mergekit_finance.models.finite_values import require_finite_values
from mergekit_finance.models.presence import weights_size
from mergekit_finance.study import refusals, task_info
from mergekit_finance.study.analysis.summary import answer, chosen_points
from mergekit_finance.study.analyzed import RECORD, analysis_inputs, analysis_record, stored_summary
from mergekit_finance.study.config import Combination, Study, combinations_of, load_study
from mergekit_finance.study.executors import Executor
from mergekit_finance.study.methods import skipped_stages
from mergekit_finance.study.points import (
    Point,
    SourceModel,
    groups,
    merges_in_full,
    point_entry,
    points,
)
from mergekit_finance.study.race import race_result, races
from mergekit_finance.study.results import StudyResults, load_results, results_of
from mergekit_finance.study.schema import (
    Index,
    ModelEntry,
    RaceResult,
    StudyFile,
    StudySimilarity,
    Summary,
    TaskInfo,
    Timings,
    UnfinishedStudy,
)
from mergekit_finance.study.schema.stored import FORMAT
from mergekit_finance.study.selected_merges import is_as_written, local_reference, write_checkpoint
from mergekit_finance.study.similarity_step import study_similarity
from mergekit_finance.study.store import Store, disk_errors
from mergekit_finance.study.study_evaluator import study_evaluator
from mergekit_finance.study.subsets import ItemOrder, selection_order
from mergekit_finance.study.task_checks import check_items, check_named, check_objective
from mergekit_finance.study.times import TimeLog
from mergekit_finance.study.unfinished import FILE as UNFINISHED
from mergekit_finance.study.worker import Job, Stamp, Worker, jobs
from mergekit_finance.study.worker_count import Need
from mergekit_finance.study.worker_memory import batch_bytes, numeric_bytes

# Of an item, for rows of the lab's length: lm-eval's samples, our scores, and compressed answers.
BYTES_PER_ITEM = 2700


def print_progress(text: str) -> None:
    """Print lines of progress to standard error."""
    print_to_stderr(text, keep="\n\t")


@dataclass
class StudyRun:
    """A study that is being run, stage by stage.

    Attributes:
        study: the checked study.yml.
        out: the output folder.
        device: `cpu`, `cuda` (every GPU) or one device such as `cuda:1`.
        limit: items per task; None: all.
        where: what messages call the study file.
        trust_remote_code: whether models may run code of their own.
        quiet: without progress bars.
        say: prints a line.
        index: model reference or point name -> folder, of what was evaluated or found stored.
        absent: models that are not on this machine and are not fetched: a plan is made without them.
        races: the results of the races of a search, by combination.
        planned: the points that are evaluated or will be, of the stages that have begun.
    """

    study: Study
    out: Path
    device: str = "cpu"
    limit: int | None = None
    where: str = "study.yml"
    trust_remote_code: bool = False
    quiet: bool = False
    say: Say = print_progress
    index: dict[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    races: dict[str, RaceResult] = field(default_factory=dict)
    planned: list[Point] = field(default_factory=list)

    def run(self) -> Summary:
        """Evaluate what is not stored, analyze, write summary.json and return it.

        Raises:
            MergekitFinanceError: something in the study, its models, tasks or output folder is wrong.
        """
        with self.times.spent("start_up"):
            self.prepare()
        started = time.monotonic()
        plans = self.evaluate_stages()
        results = self._results(plans)
        inputs = analysis_inputs(results, self._index(plans))
        with self.store.hold("analysis"):  # of several processes that end together, one analyzes
            summary = stored_summary(self.out, inputs) or self._analyze(plans, results, inputs, started)
        (self.out / UNFINISHED).unlink(missing_ok=True)
        return summary

    def _analyze(self, plans: Sequence[Point], results: StudyResults, inputs: str, started: float) -> Summary:
        """Measure similarities, compute the summary, and publish all files of the study."""
        with self.times.spent("similarity"):
            similarity = self._similarities(plans)
        with self.times.spent("statistics"):
            summary = answer(results, similarity.measured)
        files: dict[str, Json] = {
            "study.json": StudyFile(format=FORMAT, study=self.study, limit=self.limit).as_json(),
            "tasks.json": {name: task.as_json() for name, task in results.all_tasks.items()},
            "index.json": self._index(plans).as_json(),
            "similarity.json": similarity.as_json(),
            "summary.json": summary.as_json(),
            "timings.json": self._timings(time.monotonic() - started).as_json(),
        }
        with self.store.hold("publish"):
            self.store.write_files(files)
            if similarity.measured:  # else the next run measures again
                self.store.write_files({RECORD: analysis_record(self.out, inputs).as_json()})
        self.times.write()
        return summary

    # ---- before anything is evaluated

    @property
    def references(self) -> list[str]:
        """The base and the experts."""
        return [self.study.base, *(e.model for e in self.study.experts.values())]

    def prepare(self) -> None:
        """Check everything that can be known before weights are read, then create the output folder.

        The summary of an older study in it stays until this one's is written.
        """
        self.check()
        self.store.folder.mkdir(parents=True, exist_ok=True)
        self.store.clean()
        self.store.mention_older_results(self.say)

    def check(self) -> None:
        """Raise a one-line error for anything wrong with models, tasks or the output folder."""
        present = [reference for reference in self.references if reference not in self.absent]
        refusals.check_processes(self.study, self.where)
        check_all(
            self.references,
            self.where,
            say=self.say,
            trust_remote_code=self.trust_remote_code,
            tokenizers=present,
            fetch=not self.absent,
            evaluated=frozenset(self.references),
            out=self.out,
            out_dtype=self.study.out_dtype,
            licenses=self.study.licenses,
            batch_size=self.study.evaluation.batch_size,
            device=self.device,
            parallelize=self.study.evaluation.parallelize,
            chat=bool(self.study.evaluation.apply_chat_template),
            densities=self.study.densities,
            filters=self.study.filters,
        )
        refusals.check_folder(self.out, model_inputs(self.references))
        refusals.require_metrics(self.evaluator, self.where)
        refusals.check_contexts(self.evaluator, present, self.where, self.trust_remote_code)
        refusals.check_chat(self.evaluator, present, self.say, self.trust_remote_code)
        if self.study.base in present:
            refusals.check_spread(self.evaluator, self.study.base, self.say, self.trust_remote_code)
        task_info.check_aggregations(self.evaluator)
        check_items(self.evaluator, self.study)
        check_named(self.evaluator, self.study, self.where)
        check_objective(self.evaluator, self.study, self.where)
        skipped = skipped_stages(self.study.operators, self.study.stages, list(self.study.experts))
        Findings(skipped).print_rest(self.say)
        task_info.check_skills(self.evaluator, self.study, self.where)
        task_info.check_split(self.evaluator, self.study, self.limit, self.where)
        Findings(disk_findings(self.disk_needed(), self.out)).print_rest(self.say)
        require_finite_values(present, self.quiet)
        reserved = sorted(set("@+") & set(local_reference(self.out)))
        if self.study.chain == "best" and reserved:
            raise refusal(
                "output.reserved-character",
                f"-o {self.out}: with `chain: best` the path must not contain {' or '.join(reserved)}, which "
                "mergekit reads as a revision or an adapter",
            )

    def disk_needed(self) -> int:
        """Return about how many bytes all results take, and the merges that `chain: best` writes."""
        study = self.study
        items = sum(
            min(self.limit or len(t.eval_docs), len(t.eval_docs)) for t in self.evaluator.tasks.values()
        )
        models = len(self.references) + merges_in_full(study)
        last = max(study.stages)
        stages = [stage for stage in study.stages if stage < last] if study.chain == "best" else []
        merges = sum(len(combinations_of(study, stage)) for stage in stages)
        return models * items * BYTES_PER_ITEM + merges * self._base_size()

    @cached_property
    def times(self) -> TimeLog:
        """The seconds of this process besides evaluation."""
        return TimeLog(self.out, self.device)

    @cached_property
    def store(self) -> Store:
        """The stored results."""
        return Store(self.out)

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Model reference -> hash of its bytes; with `chain: best` selected merges are added."""
        return fingerprints([r for r in self.references if r not in self.absent], self.quiet)

    @cached_property
    def evaluator(self) -> Evaluator:
        """The evaluator of all models; its tasks are loaded once."""
        evaluator = study_evaluator(self.study, self.device, self.quiet)
        if self.study.base in self.absent:  # loading its tokenizer would fetch it
            evaluator.metadata = {k: v for k, v in evaluator.metadata.items() if k != "tokenizer"}
        return evaluator

    def _base_size(self) -> int:
        """Return the bytes of the base's weights; 0 if they are not on this machine and not fetched."""
        return 0 if self.study.base in self.absent else weights_size(self.study.base)

    @cached_property
    def _stamp(self) -> Stamp | None:
        return self._worker(None).stamped().stamp

    @property
    def worker(self) -> Worker:
        """The worker, which evaluates models at the current limit."""
        return self._worker(self._stamp)

    def _worker(self, stamp: Stamp | None) -> Worker:
        settings = self.study.evaluation
        return Worker(
            self.evaluator,
            self.out,
            self.fingerprints,
            limit=self.limit,
            threads=settings.threads,
            samples=settings.samples == "all",
            trust_remote_code=self.trust_remote_code,
            stamp=stamp,
        )

    @cached_property
    def executor(self) -> Executor:
        """The executor, which runs the jobs."""
        return Executor(self.study.executor, self.study.workers, self._need(), self.quiet, self.say)

    def _need(self) -> Need:
        """Return what one worker process takes on its device."""
        settings, base = self.study.evaluation, self.study.base
        if base in self.absent:
            return Need()
        weights = self._base_size() * (2 if settings.dtype == "float32" else 1)
        if not self.device.startswith("cuda"):
            return Need(weights)
        config = load_config(base, self.trust_remote_code)
        batch = batch_bytes(
            config,
            numeric_bytes(config, settings.dtype),
            settings.batch_size,
            compiled=self.evaluator.engine == "compiled" and not unsupported_config(config),
            chooses=self.evaluator.compares_options,
            generates=bool(self.evaluator.generated_tokens),
        )
        return Need(weights, len(self.references) + 1, batch)

    # ---- stages

    def evaluate_stages(self) -> list[Point]:
        """Evaluate the study and return the points that were evaluated in full: all, or the races' winners.

        With `chain: best`, stage after stage.
        """
        if self.study.chain == "experts":
            plans = [p for stage in sorted(self.study.stages) for p in points(self.study, stage)]
            return self.evaluate(self.references, plans)
        plans = []
        chosen: dict[Combination, SourceModel] = {}
        for stage in sorted(self.study.stages):
            stage_points = points(self.study, stage, chosen)
            stage_points = self.evaluate(self.references if stage == 1 else [], stage_points)
            plans += stage_points
            if stage < max(self.study.stages):
                chosen = self._write_selected(stage_points)
        return plans

    def evaluate(self, references: Sequence[str], plans: Sequence[Point]) -> list[Point]:
        """Evaluate models and points that are not stored, and note the folders of all.

        Returns:
            The points that were evaluated in full: all, or the winner of each combination's race.
        """
        search, worker = self.study.race, self.worker
        planned = races(plans, self.item_order, self.study, self.tasks) if search else []
        work = [*jobs(references, {} if search else groups(plans)), *(Job(race=race) for race in planned)]
        self._write_plan(plans)
        folders = self.executor.run_missing(worker, work)
        ended = {race.combination: (race, worker.standing(race)) for race in planned}
        self.races |= {name: race_result(race, standing) for name, (race, standing) in ended.items()}
        winners = [standing.winner[0] for _, standing in ended.values() if standing.winner]
        whole = winners if search else [point for group in groups(plans).values() for point in group]
        folders += [worker.point_place(point).name for point in winners]
        self.index |= dict(zip([*references, *(p.name for p in whole)], folders, strict=True))
        return winners if search else list(plans)

    def _write_plan(self, plans: Sequence[Point]) -> None:
        """Write in which folders the results will be, so that an interrupted study can be reported.

        Of the points of a search only the winner of each race will get such a folder.
        """
        self.planned += plans
        worker = self.worker
        folders = {reference: worker.model_place(reference).name for reference in self.references}
        folders |= {point.name: worker.point_place(point).name for point in self.planned}
        index = self._index(self.planned, folders)
        plan = UnfinishedStudy(
            format=FORMAT, study=self.study, limit=self.limit, tasks=self.tasks, index=index
        )
        with self.store.hold("publish"):
            self.store.write_files({UNFINISHED: plan.as_json()})

    @cached_property
    def tasks(self) -> dict[str, TaskInfo]:
        """The facts about every task, sorted by name."""
        return task_info.describe(self.evaluator, self.study)

    @cached_property
    def item_order(self) -> ItemOrder:
        """The order in which races ask for the selection items."""
        seed = self.study.race.seed if self.study.race else 0
        return selection_order(self.evaluator, self.study, self.tasks, self.limit, seed)

    def _index(self, plans: Sequence[Point], folders: Mapping[str, str] | None = None) -> Index:
        """Return which folders belong to this study, and whose results they hold.

        Args:
            folders: of models and points; `index` by default.
        """
        folders = self.index if folders is None else folders
        references = {"base": self.study.base} | {n: e.model for n, e in self.study.experts.items()}
        return Index(
            models={
                name: ModelEntry(reference=r, fingerprint=self.fingerprints[r], folder=folders[r])
                for name, r in references.items()
            },
            points=[point_entry(p, folders[p.name]) for p in plans],
            races=self.races or None,
        )

    def _results(self, plans: Sequence[Point]) -> StudyResults:
        return results_of(self.out, self.study, self.limit, self.tasks, self._index(plans))

    # ---- chain: best

    def _write_selected(self, plans: Sequence[Point]) -> dict[Combination, SourceModel]:
        """Write the selected merge of each combination to disk, for the next stage to merge."""
        selected = chosen_points(self._results(plans))
        by_name = {p.name: p for p in plans}
        return {tuple(c.split("+")): self._write_merge(by_name[name]) for c, name in selected.items()}

    def _write_merge(self, point: Point) -> SourceModel:
        """Merge a point to OUT/selected/<name>-<hash>, unless it is there as it was written."""
        place = self.out / "selected" / self.index[point.name]
        with self.store.hold(f"selected-{place.name}"):  # another process may be writing it
            if not is_as_written(place):
                self.say(f"writing {place}, which the next stage merges")
                self.store.remove_scratch(place)
                with disk_errors(self.out):
                    shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
                    write_checkpoint(point, place, self.trust_remote_code, self.quiet)
        reference = local_reference(place)
        self.fingerprints[reference] = folder_fingerprint(place, self.quiet)
        return SourceModel("-".join(point.combination), reference)

    # ---- after

    def _similarities(self, plans: Sequence[Point]) -> StudySimilarity:
        """Return the distances of the experts, and of reused merges, from the base and each other."""
        merged = dict.fromkeys(s.reference for p in plans for s in p.sources)
        others = list(dict.fromkeys(r for r in (*self.references[1:], *merged) if r != self.study.base))
        key = {r: self.fingerprints[r] for r in (self.study.base, *others)}
        device = self.device if self.device.startswith("cuda") else "cpu"
        return study_similarity(key, self.out / "similarity.json", device, say=self.say, quiet=self.quiet)

    def _timings(self, wall: float) -> Timings:
        stored = self.store.seconds(iter(self.index.values()))
        return stored.model_copy(update={"wall_of_last_run": wall})


def run_study(
    study: Study | str | Path,
    out: str | Path,
    *,
    device: str | None = None,
    limit: int | None = None,
    workers: int | None = None,
    trust_remote_code: bool = False,
    quiet: bool = False,
) -> StudyResults:
    """Run a study and return its results. Models whose results are already in `out` are not evaluated again.

    Args:
        study: a checked study, or the path of a study.yml.
        out: the output directory; it is created.
        device: `cpu`, `cuda` (every GPU) or one device such as `cuda:1`; None: the study's, else cuda if a
            GPU is available.
        limit: the first so many items of every task; overrides the study's.
        workers: processes per device; overrides the study's.
        trust_remote_code: whether models may run code of their own.
        quiet: without progress bars and progress messages.

    Returns:
        What `load_results(out)` returns.

    Raises:
        MergekitFinanceError: the study, a model, a task or the output directory is wrong; one line says what.
    """
    where = "study.yml" if isinstance(study, Study) else str(study)
    checked = study if isinstance(study, Study) else load_study(study)
    if workers:
        checked = checked.model_copy(update={"workers": workers})
    device = device or checked.evaluation.device or ("cuda" if torch.cuda.is_available() else "cpu")
    say: Say = (lambda text: None) if quiet else print_progress
    run = StudyRun(checked, Path(out), device, limit or checked.limit, where, trust_remote_code, quiet, say)
    run.run()
    return load_results(run.out)
