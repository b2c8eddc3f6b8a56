"""Time a sample of a study on its device, with its engine: loading, merging, requests of each kind, scoring.

Nothing is stored. Only requests that at least one model has not answered are timed.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import torch

from mergekit_finance.errors import ModelError, first_line
from mergekit_finance.evaluation.answering import AnsweringModel, request_keys
from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.evaluation.inference.compiled_lm import CompiledLM
from mergekit_finance.evaluation.live_merges import Sweep
from mergekit_finance.hosts.lm_eval_output import progress_bars, quiet
from mergekit_finance.hosts.transformers import hide_loading_bars
from mergekit_finance.similarity.compute import compute_similarity
from mergekit_finance.study.config import combinations_of
from mergekit_finance.study.cost_estimate import Range, Rates
from mergekit_finance.study.points import groups, points
from mergekit_finance.study.refusals import chat_template
from mergekit_finance.study.stored_answers import StoredAnswers

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

    from mergekit_finance.study.run import StudyRun

BATCHES = 3  # timed batches of each kind of requests, and timed merges
BATCH_SECONDS = 2.0  # a batch grows until it takes so long
SCORED = 4  # items a task whose scores are computed
STATISTICS = Range(0.02, 0.1)  # seconds for a combination and task: measured with 5 to 100 items a task
Work = Callable[[], object]


def timed_sample(run: "StudyRun", answers: StoredAnswers, devices: Sequence[str], limit: int) -> Rates:
    """Load, merge, ask and score a sample on the first device, and return what each took.

    Args:
        run: the study; its tasks are loaded.
        answers: which answers are stored.
        devices: the device of each worker.
        limit: items per task.

    Raises:
        ModelError: the device has no room for the models.
    """
    evaluator = run.evaluator.on(devices[0], quiet=True)
    evaluator.models = -(-answers.all_models_to_ask(limit) // len(devices))
    hide_loading_bars()
    with _out_of_memory_in_one_line(devices[0]):
        return _Sample(run, evaluator, answers).rates(limit)


class _Sample:
    """A timed sample of one study.

    Args:
        run: the study.
        evaluator: on the device.
        answers: which answers are stored.
    """

    def __init__(self, run: "StudyRun", evaluator: Evaluator, answers: StoredAnswers) -> None:
        self._run, self._evaluator, self._answers = run, evaluator, answers
        self._stage = min(run.study.stages)
        self._opening: dict[str, Range] = {}
        self._merging: dict[str, Range] = {}

    def rates(self, limit: int) -> Rates:
        """Return the rates of everything."""
        run, live_models = self._run, self._evaluator.live_models
        combinations = sum(len(combinations_of(run.study, stage)) for stage in run.study.stages)
        loading = self._seconds(lambda: live_models.load(run.study.base, run.trust_remote_code))
        with closing(Sweep(live_models, run.trust_remote_code)) as sweep:
            for operator in run.study.operators.present():
                lm = self._merge(sweep, operator)
            requests = {kind: self._rate_of(lm, kind, of) for kind, of in self._requests(limit).items()}
            scoring = self._scoring(lm, min(limit, SCORED))
            capture, is_kept = lm.seconds_capturing, live_models.keeps(lm)
        return Rates(
            requests=requests,
            loading=Range(loading, loading),
            opening=self._opening,
            merging=self._merging,
            stage=self._stage,
            scoring=scoring,
            capture=Range(capture, 2 * capture),  # a study has more sizes than a sample
            is_kept=is_kept,
            similarity=self._similarity(),
            statistics=STATISTICS.times(combinations * len(self._evaluator.tasks)),
        )

    # ---- merging

    def _merge(self, sweep: Sweep, operator: str) -> CompiledLM:
        """Time the merges of an operator's first combination, and return the live model."""
        plans = [point for point in points(self._run.study, self._stage) if point.operator == operator]
        recipes = [point.recipe() for point in next(iter(groups(plans).values()))]

        def opened() -> None:
            sweep.close()
            sweep.prepare(recipes)
            sweep.at(recipes[0])

        opening = self._seconds(opened)
        merging = Range.of(self._seconds(lambda: sweep.at(recipes[0])) for _ in range(BATCHES))
        self._merging[operator] = merging
        self._opening[operator] = Range(max(0.0, opening - merging.high), max(0.0, opening - merging.low))
        lm = sweep.at(recipes[0])
        assert isinstance(lm, CompiledLM)
        return lm

    # ---- requests

    def _requests(self, limit: int) -> dict[str, dict[int, list["Instance"]]]:
        """Return requests without an answer, equal ones once, by kind and position of the item."""
        by_kind: defaultdict[str, list[Instance]] = defaultdict(list)
        template = chat_template(self._evaluator, self._run.study.base, self._run.trust_remote_code)
        for request in self._run.evaluator.requests(limit, template):
            by_kind[request.request_type] += [request] * (request.repeats or 1)
        chosen: defaultdict[str, defaultdict[int, list[Instance]]] = defaultdict(lambda: defaultdict(list))
        for kind, requests in by_kind.items():
            unique = dict(zip(request_keys(kind, requests), requests, strict=True))
            for key, request in unique.items():
                if key in self._answers.lacking:
                    chosen[kind][request.doc_id or 0].append(request)
        return {kind: dict(sorted(of.items())) for kind, of in chosen.items()}

    def _rate_of(self, lm: CompiledLM, kind: str, by_position: "Mapping[int, list[Instance]]") -> Range:
        """Return the seconds of one request in batches of items that no earlier batch had, if there are more.

        Every batch has the same number of items of every task. The first ones, of growing size, are not
        counted: memory is allocated and decoding steps are captured in them.
        """
        items = list(by_position.values())

        def seconds(first: int, count: int) -> float:
            batch = [request for k in range(count) for request in items[(first + k) % len(items)]]
            captured = lm.seconds_capturing
            answering = AnsweringModel(lambda: lm)
            spent = self._seconds(lambda: getattr(answering, kind)(batch))
            return max(0.0, spent - (lm.seconds_capturing - captured)) / len(batch)

        count = 1
        while seconds(0, count) * sum(map(len, items[:count])) < BATCH_SECONDS and count < len(items):
            count = min(2 * count, len(items))
        return Range.of(seconds((number + 1) * count, count) for number in range(BATCHES))

    def _scoring(self, lm: CompiledLM, limit: int) -> Range:
        """Return the seconds of one item of one model for requests and scores, its answers being there."""
        tasks = self._evaluator.tasks.values()
        items = sum(min(limit, len(task.eval_docs)) for task in tasks)
        answering = AnsweringModel(lambda: lm)
        self._evaluator.measure(answering, "sample", limit)
        again = [AnsweringModel(lambda: lm, answering.answers) for _ in range(BATCHES)]
        return Range.of(self._evaluator.measure(one, "sample", limit)[1] / items for one in again)

    # ---- after

    def _similarity(self) -> Range:
        """Return the seconds of one expert's distances from the base."""
        study, device = self._run.study, self._evaluator.device
        expert = next(iter(study.experts.values())).model
        if expert == study.base:
            return Range()
        device = device if device.startswith("cuda") else "cpu"
        seconds = self._seconds(lambda: compute_similarity(study.base, [expert], device))
        return Range(seconds, seconds)

    def _seconds(self, work: Work) -> float:
        """Return how long some work takes, until the device has done it."""
        started = time.monotonic()
        with quiet(), progress_bars():
            work()
        if self._evaluator.device.startswith("cuda"):
            torch.cuda.synchronize(self._evaluator.device)
        return time.monotonic() - started


@contextmanager
def _out_of_memory_in_one_line(device: str) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{device} is out of memory ({first_line(error)}): it has no room for a sample of this study. "
            "Use a device with more free memory, a smaller dtype or batch_size, or --no-sample."
        ) from error
