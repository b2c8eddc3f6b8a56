"""The nine experts and the settings of their training."""

import math
from dataclasses import dataclass

from .corpora import DOMAINS

RATE, OTHER_RATE = 5e-4, 2.5e-4


@dataclass(frozen=True)
class Plan:
    """How one expert is continued from the base.

    Attributes:
        domain: finance, math or japanese.
        seed: of the order of rows; nothing else is random.
        rate: the highest learning rate.
        tokens: how many tokens are trained on; never more than `passes` times the text.
        passes: at most so many passes over the text.
        length: tokens of a row.
        batch: rows of a step.
        micro_batch: rows of a forward pass.
        warmup: share of the steps with a rising learning rate.
        final: the last learning rate, as a share of the highest.
        weight_decay: of matrices; norms have none.
    """

    domain: str
    seed: int = 0
    rate: float = RATE
    tokens: int = 25_000_000
    passes: float = 2.0
    length: int = 1024
    batch: int = 64
    micro_batch: int = 32
    warmup: float = 0.05
    final: float = 0.1
    weight_decay: float = 0.1

    def steps(self, unique_tokens: int) -> int:
        """Return the number of steps for a text of so many tokens: at least one."""
        tokens = min(self.tokens, self.passes * unique_tokens)
        return max(1, int(tokens // (self.batch * self.length)))

    def rate_at(self, step: int, steps: int) -> float:
        """Return the learning rate of a step: a linear rise, then a cosine down to `final` of the highest."""
        rising = max(1, round(self.warmup * steps))
        if step < rising:
            return self.rate * (step + 1) / rising
        share = (step - rising) / max(1, steps - rising)
        return self.rate * (self.final + (1 - self.final) * (1 + math.cos(math.pi * share)) / 2)


def expert_plans() -> dict[str, Plan]:
    """Return the plans by name. Per domain a and b differ by seed alone, a and c by learning rate alone.

    All experts of one kind come before those of the next, so that an interrupted run has whole sets.
    """
    kinds = {"a": Plan(""), "b": Plan("", seed=1), "c": Plan("", rate=OTHER_RATE)}
    return {
        f"{domain}_{kind}": Plan(domain, plan.seed, plan.rate)
        for kind, plan in kinds.items()
        for domain in DOMAINS
    }
