"""The numbers of a plan: what a study asks for, what is stored, and the time that is left."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mergekit_finance.study.cost_estimate import Amounts, Range, Rates, Table, amounts, elapsed, seconds
from mergekit_finance.study.stored_answers import StoredAnswers


@dataclass(frozen=True)
class Plan:
    """The numbers that `study plan` prints.

    Attributes:
        points: number of points by stage.
        models: number of points and unmerged models.
        stored: models that are stored already.
        items: items by task at this limit.
        all_items: items by task without a limit.
        limit: items per task; None: all.
        disk: bytes.
        devices: the device of each worker process; at least one.
        combinations: number of combinations by stage; each is one sweep for every operator.
        experts: models whose similarity to the base is measured.
        rates: of the timed sample.
        budget: hours.
        absent: models that are not on this machine; their stored results and hours are not counted.
        answers: which answers are stored; None if models are absent.
        tokens: tokens of one model's prompts, and the most that it generates; None: not counted.
        shares: of the answers of a stage's full grid, what its races ask for at most; without a race 1.
        captures: when decoding steps are captured, in words; empty: they are not.
        clusters: clusters to report on in the largest task: at the requested limit, and at this plan's limit.
    """

    points: dict[int, int]
    models: int
    stored: int
    items: dict[str, int]
    all_items: dict[str, int]
    limit: int | None
    disk: int
    devices: tuple[str, ...] = ()
    combinations: Mapping[int, int] = field(default_factory=dict)
    experts: int = 0
    rates: Rates | None = None
    budget: float | None = None
    clusters: tuple[int, int] | None = None
    absent: tuple[str, ...] = ()
    answers: StoredAnswers | None = None
    tokens: tuple[int, int] | None = None
    captures: str = ""
    shares: Mapping[int, float] = field(default_factory=dict)

    def items_at(self, limit: int) -> int:
        """Return the items that one model answers at a limit."""
        return sum(min(limit, count) for count in self.all_items.values())

    @property
    def largest_limit(self) -> int:
        """The number of items per task, of the tasks that have so many."""
        return self.limit or max(self.all_items.values())

    @property
    def largest_task(self) -> str:
        """The task with the most items."""
        return max(self.all_items, key=self.all_items.__getitem__)

    def left(self, limit: int | None = None) -> Amounts:
        """Return what is left to do, at the plan's limit or a smaller one."""
        assert self.answers is not None
        limit = limit or self.largest_limit
        items = self.items_at(limit)
        return amounts(self.answers, self.combinations, limit, items, self.experts).at_most(self.shares)

    def table(self) -> Table:
        """Return the seconds of all processes together, by stage and kind of work."""
        assert self.rates is not None
        return seconds(self.rates, self.left(), len(self.devices))

    def hours(self, limit: int | None = None) -> Range:
        """Return the hours until all answers are stored, at the plan's limit or a smaller one."""
        assert self.rates is not None
        return elapsed(self.rates, self.left(limit), self.devices).times(1 / 3600)
