"""How long a study takes: seconds by stage and kind of work, each as a range, from rates of a timed sample.

Every range is the lowest and the highest of several timed batches, times what is left to do. Ranges are added
end by end, as if everything were fast or everything slow at once.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mergekit_finance.study.stored_answers import Part, StoredAnswers

KINDS = {
    "loglikelihood": "choices",
    "generate_until": "generate",
    "loglikelihood_rolling": "rolling",
}  # of requests in lm-eval -> the column
COLUMNS = ("merging", *KINDS.values(), "capture", "other")
ONCE = "once"
SHARED_MEMORY = 0.9  # of a core's speed is left where every core has a worker
ANSWERING = (*KINDS.values(), "capture")  # what a GPU does for one worker at a time


@dataclass(frozen=True)
class Range:
    """A number that lies between two others."""

    low: float = 0.0
    high: float = 0.0

    @classmethod
    def of(cls, values: Iterable[float]) -> "Range":
        """Return the range of some measured values."""
        measured = list(values)
        return cls(min(measured), max(measured))

    def __add__(self, other: "Range") -> "Range":
        """Return the range of a sum."""
        return Range(self.low + other.low, self.high + other.high)

    def times(self, factor: float) -> "Range":
        """Return this range times a number that is not negative."""
        return Range(self.low * factor, self.high * factor)


NOTHING = Range()


@dataclass(frozen=True)
class Rates:
    """What a timed sample found, in seconds.

    Attributes:
        requests: by kind of lm-eval, for one request.
        loading: for an unmerged model.
        opening: by operator, for the models of one combination, with the thresholds of its points.
        merging: by operator, for one point.
        stage: the stage whose merges were timed; others are scaled by the number of their models.
        scoring: for one item of one model: building requests, computing scores, writing.
        capture: for the decoding steps that one process captures.
        is_kept: whether captured steps serve all models of a process; else those of one combination.
        start_up: for one process.
        similarity: for one expert.
        statistics: for the whole study.
    """

    requests: Mapping[str, Range] = field(default_factory=dict)
    loading: Range = NOTHING
    opening: Mapping[str, Range] = field(default_factory=dict)
    merging: Mapping[str, Range] = field(default_factory=dict)
    stage: int = 1
    scoring: Range = NOTHING
    capture: Range = NOTHING
    is_kept: bool = True
    start_up: float = 0.0
    similarity: Range = NOTHING
    statistics: Range = NOTHING


Table = dict[str, dict[str, Range]]  # row -> column -> seconds


@dataclass(frozen=True)
class Amounts:
    """What is left to do at some limit.

    Attributes:
        models: models that lack an answer, by part.
        opened: combinations of which at least one model lacks an answer, by part.
        requests: requests without an answer, by part and kind.
        items: items of each model.
        experts: models whose similarity to the base is measured.
    """

    models: Mapping[Part, int]
    opened: Mapping[Part, int]
    requests: Mapping[tuple[Part, str], int]
    items: int
    experts: int

    def at_most(self, shares: Mapping[int, float]) -> "Amounts":
        """Return what is left if only a share of the requests of some stages is made, by stage."""
        requests = {
            (part, kind): round(count * shares.get(part.stage, 1.0))
            for (part, kind), count in self.requests.items()
        }
        return replace(self, requests=requests)

    def by_row(self) -> dict[str, Counter[str]]:
        """Return counts by row and column: merges, and requests of each kind."""
        rows: dict[str, Counter[str]] = {}
        for part, count in self.models.items():
            rows.setdefault(part.row, Counter())["merging"] += count
        for (part, kind), count in self.requests.items():
            rows.setdefault(part.row, Counter())[KINDS[kind]] += count
        return rows


def amounts(
    answers: StoredAnswers, combinations: Mapping[int, int], limit: int, items: int, experts: int
) -> Amounts:
    """Return what is left to do.

    Args:
        answers: which answers are stored.
        combinations: number of combinations by stage.
        limit: items per task.
        items: items of each model at this limit.
        experts: models whose similarity to the base is measured.
    """
    models = {part: answers.models_to_ask(part, limit) for part in answers.first}
    opened = {part: min(count, combinations.get(part.stage, 0)) for part, count in models.items()}
    return Amounts(models, opened, answers.requests_to_ask(limit), items, experts)


def seconds(rates: Rates, left: Amounts, workers: int) -> Table:
    """Return the seconds of one process for everything that is left to do, by row and column."""
    table: defaultdict[str, defaultdict[str, Range]] = defaultdict(lambda: defaultdict(Range))
    for part, count in left.models.items():
        row = table[part.row]
        row["merging"] += _merging(rates, part, count, left.opened[part])
        row["other"] += rates.scoring.times(count * left.items)
        if not rates.is_kept:
            row["capture"] += rates.capture.times(left.opened[part] if part.stage else count)
    for (part, kind), count in left.requests.items():
        table[part.row][KINDS[kind]] += rates.requests.get(kind, NOTHING).times(count)
    if any(left.models.values()):
        once = table[ONCE]
        once["capture"] += rates.capture.times(workers if rates.is_kept else 0)
        once["other"] += Range(rates.start_up, rates.start_up).times(workers)
        once["other"] += rates.similarity.times(left.experts) + rates.statistics
    return {row: dict(columns) for row, columns in table.items()}


def _merging(rates: Rates, part: Part, models: int, opened: int) -> Range:
    if not part.stage:
        return rates.loading.times(models)
    scale = (part.stage + 1) / (rates.stage + 1)  # the base is read, too
    opening, merging = (of.get(part.operator, NOTHING) for of in (rates.opening, rates.merging))
    return (opening.times(opened) + merging.times(models)).times(scale)


def total(table: Table, columns: Sequence[str] = COLUMNS, rows: Sequence[str] | None = None) -> Range:
    """Return the sum of some columns and rows; None: all rows."""
    chosen = [row for name, row in table.items() if rows is None or name in rows]
    return sum((row.get(column, NOTHING) for row in chosen for column in columns), NOTHING)


def elapsed(rates: Rates, left: Amounts, devices: Sequence[str]) -> Range:
    """Return the seconds until a study ends.

    Workers on the CPU divide the work of all models. Workers on one GPU share it: at best one loads, merges
    and scores while another one's answers are computed; at worst they take as long as one of them alone.

    Args:
        rates: of the timed sample.
        left: what is left to do.
        devices: the device of each worker.
    """
    models = sum(left.models.values())
    if not models:
        return NOTHING
    table = seconds(rates, left, 1)
    shared = [row for row in table if row != ONCE]
    work, answering = total(table, rows=shared), total(table, ANSWERING, shared)
    once, workers = total(table, rows=[ONCE]), max(1, min(len(devices), models))
    if not devices[0].startswith("cuda"):
        slower = SHARED_MEMORY if workers > 1 else 1.0
        return Range(work.low / workers, work.high / (workers * slower)) + once
    gpus = min(len(set(devices)), workers)
    return Range(max(answering.low / gpus, work.low / workers), work.high / gpus) + once
