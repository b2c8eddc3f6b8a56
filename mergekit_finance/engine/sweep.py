"""What TIES needs to know of task vectors, ranked once for every density of a sweep.

Paper semantics cuts the whole vector of a model, mergekit semantics each of its tensors. Either way one
pass counts the upper 16 bits of all magnitudes, and one more pass finds the exact cuts of all densities
asked for; where a cut splits equal magnitudes, a third finds where the ties end.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mergekit_finance.engine import ranking, select
from mergekit_finance.engine.blocks import Cut

Pair = tuple[torch.Tensor, torch.Tensor]  # base, expert


@dataclass(frozen=True)
class Counts:
    """A histogram without its empty ends."""

    first: int
    counts: torch.Tensor

    @classmethod
    def of(cls, full: torch.Tensor) -> "Counts":
        used = full.nonzero()
        first, last = (int(used[0]), int(used[-1])) if len(used) else (0, 0)
        return cls(first, full[first : last + 1].clone())

    def full(self) -> torch.Tensor:
        total = torch.zeros(select.HIGH_BINS, dtype=torch.int64, device="cpu")
        total[self.first : self.first + len(self.counts)] = self.counts
        return total


class Ranks:
    """The cuts of the task vectors of `models` over `names`, sorted; `pair(name, model)` reads one."""

    def __init__(self, names: Sequence[str], models: Sequence[Hashable], pair: Any) -> None:
        self._names, self._models, self._pair = sorted(names), list(models), pair
        self._high: dict[tuple[str, Hashable], Counts] = {}
        self._whole: dict[tuple[Hashable, int], dict[str, Cut]] = {}
        self._alone: dict[tuple[str, Hashable, int], Cut] = {}

    def _counts(self, name: str, model: Hashable) -> torch.Tensor:
        if (name, model) not in self._high:
            self._high[name, model] = Counts.of(ranking.high_counts(*self._pair(name, model)))
        return self._high[name, model].full()

    # ---- each tensor alone

    def rank_alone(self, name: str, model: Hashable, counts: Iterable[int]) -> None:
        """Find the cuts that keep these many elements of one tensor."""
        missing = [k for k in dict.fromkeys(counts) if (name, model, k) not in self._alone]
        if missing:
            found = ranking.cuts(*self._pair(name, model), missing, self._counts(name, model))
            self._alone.update({(name, model, k): cut for k, cut in zip(missing, found, strict=True)})

    def alone(self, name: str, model: Hashable, count: int) -> Cut:
        self.rank_alone(name, model, [count])
        return self._alone[name, model, count]

    # ---- the whole vector

    def rank_whole(self, model: Hashable, counts: Iterable[int]) -> None:
        """Find the cuts that keep these many elements of a model's whole vector."""
        missing = [k for k in dict.fromkeys(counts) if (model, k) not in self._whole]
        if not missing:
            return
        high = torch.zeros(select.HIGH_BINS, dtype=torch.int64, device="cpu")
        for name in self._names:
            high += self._counts(name, model)
        bins = {k: select.kth_bin(high, k) for k in missing}
        low = self._low(model, {bin_ for bin_, _ in bins.values()})
        cuts = {k: select.cut_at(bin_, low[bin_], rest) for k, (bin_, rest) in bins.items()}
        for k, spread in self._spread(model, cuts).items():
            self._whole[model, k] = spread

    def whole(self, name: str, model: Hashable, count: int) -> Cut:
        self.rank_whole(model, [count])
        return self._whole[model, count][name]

    def _low(self, model: Hashable, bins: set[int]) -> dict[int, torch.Tensor]:
        total = {h: torch.zeros(select.LOW_BINS, dtype=torch.int64, device="cpu") for h in bins}
        for name in self._names:
            counts = self._counts(name, model)
            present = [h for h in bins if counts[h]]
            for h, low in ranking.low_counts(*self._pair(name, model), present).items() if present else ():
                total[h] += low
        return total

    def _spread(self, model: Hashable, cuts: Mapping[int, select.Cut]) -> dict[int, dict[str, Cut]]:
        """The cuts of every tensor: ties go to the first names, and there to the lowest indices."""
        left = {k: cut.ties for k, cut in cuts.items() if cut.splits_ties}
        found = {k: dict.fromkeys(self._names, Cut(cut.bits, ranking.ALL_TIES)) for k, cut in cuts.items()}
        for name in self._names if left else ():
            pair, open_ = self._pair(name, model), {k for k, ties in left.items() if ties}
            equal = ranking.equal_counts(*pair, [cuts[k].bits for k in open_]) if open_ else {}
            for k, ties in left.items():
                bits, end = cuts[k].bits, 0
                if ties:
                    end = ranking.ties_end(*pair, bits, ties, equal.get(bits, []))
                    left[k] = max(0, ties - sum(equal.get(bits, [])))
                found[k][name] = Cut(bits, end)
        return found
