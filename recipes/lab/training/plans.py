"""The training settings of each role."""

from dataclasses import dataclass, replace


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
    """

    role: str
    seed: int = 0
    steps: int = 3000
    rate: float = 2e-3
    documents: int = 480_000
    batch: int = 256
    warmup: int = 100
    save_every: int = 500
    device: str = "cpu"

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step: linear warm-up, then linear decay to zero at the last step."""
        warm_up = (step + 1) / max(1, min(self.warmup, self.steps // 10))
        return self.rate * min(1.0, warm_up, (self.steps - step) / max(1, 0.9 * self.steps))


BASE = Plan("base")
EXPERT = replace(BASE, steps=1200, rate=1e-3, documents=240_000, warmup=50)


def plan_for(role: str, **settings: int | float | str | None) -> Plan:
    """Return the default plan of a role, changed by those `settings` (fields of `Plan`) that are not None."""
    changes = {name: value for name, value in settings.items() if value is not None}
    return replace(BASE if role == "base" else EXPERT, role=role, **changes)
