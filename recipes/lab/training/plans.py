"""The training settings of each role, and the strengths of an expert that were tried."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product


@dataclass(frozen=True)
class Plan:
    """The training settings of one role.

    Attributes:
        role: base, finance, math or japanese.
        seed: Of the first weights and of the order of batches.
        steps: Number of training steps.
        rate: The highest learning rate.
        documents: Number of documents in the corpus.
        batch: Rows per step.
        warmup: Steps of linear warm-up, but at most a tenth of `steps`.
        save_every: Steps between two checkpoints.
        device: cpu or cuda.
        general: Of an expert: share of rows from the base's corpus, in [0, 1).
    """

    role: str
    seed: int = 0
    steps: int = 8_000
    rate: float = 2e-3
    documents: int = 1_200_000
    batch: int = 256
    warmup: int = 100
    save_every: int = 500
    device: str = "cpu"
    general: float = 0.0

    @property
    def name(self) -> str:
        """The name of a candidate of the grid."""
        return f"{self.role}-rate{self.rate:g}-steps{self.steps}-general{self.general:g}"

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step: linear warm-up, then linear decay to zero at the last step."""
        warm_up = (step + 1) / max(1, min(self.warmup, self.steps // 10))
        return self.rate * min(1.0, warm_up, (self.steps - step) / max(1, 0.9 * self.steps))


BASE = Plan("base")
EXPERT = replace(BASE, documents=360_000, batch=128, warmup=50)  # what the candidates of the grid share
# The shipped experts: chosen among the candidates by the criteria (sweep.py, criteria.py).
EXPERTS = {
    "finance": replace(EXPERT, role="finance", rate=6e-4, steps=300, general=0.01),
    "math": replace(EXPERT, role="math", rate=6e-4, steps=300, general=0.03),
    "japanese": replace(EXPERT, role="japanese", rate=3e-4, steps=300, general=0.01),
}


def plan_for(role: str, **settings: int | float | str | None) -> Plan:
    """Return the plan of a shipped model, changed by those `settings` (of the plan) that are not None."""
    changes = {name: value for name, value in settings.items() if value is not None}
    return replace(BASE if role == "base" else EXPERTS[role], **changes)


@dataclass(frozen=True)
class Grid:
    """The strengths of an expert's training that are tried: every combination of these values.

    Attributes:
        rates: Highest learning rates.
        steps: Numbers of steps.
        general: Shares of rows from the base's corpus.
    """

    rates: Sequence[float] = (3e-4, 6e-4, 1e-3)
    steps: Sequence[int] = (300, 600)
    general: Sequence[float] = (0.01, 0.03, 0.1)

    def plans(self, expert: Plan) -> list[Plan]:
        """Return one plan per combination, those with the most steps first."""
        every = product(sorted(self.steps, reverse=True), self.rates, self.general)
        return [replace(expert, steps=steps, rate=rate, general=share) for steps, rate, share in every]


GRID = Grid()
