"""Compute the trim thresholds ("cuts") of TIES for all densities of a sweep together.

Paper semantics trims the whole task vector of a model, mergekit semantics each tensor separately. Both take
one pass that counts the upper 16 bits of all magnitudes, and one that finds the exact cuts of the requested
densities. If a cut keeps only some of several equal magnitudes, a third pass finds the last one that is kept.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from mergekit_finance.engine import cuts, top_k
from mergekit_finance.engine.terms import Cut

Pair = tuple[torch.Tensor, torch.Tensor]  # theta_0 and theta_t of one tensor


@dataclass(frozen=True)
class _Histogram:
    """A histogram without the empty bins at its ends."""

    first: int
    counts: torch.Tensor

    @classmethod
    def of(cls, full: torch.Tensor) -> "_Histogram":
        used = full.nonzero()
        first, last = (int(used[0]), int(used[-1])) if len(used) else (0, 0)
        return cls(first, full[first : last + 1].clone())

    def full(self) -> torch.Tensor:
        total = torch.zeros(top_k.HIGH_BINS, dtype=torch.int64, device="cpu")
        total[self.first : self.first + len(self.counts)] = self.counts
        return total


class SweepCuts:
    """Cuts of the task vectors of `models` over the tensors `names`, computed on first use.

    Args:
        names: the names of all tensors of a model's task vector; ranked in sorted order.
        models: keys of the experts.
        read_pair: `read_pair(name, model)` returns theta_0 and theta_t of one tensor.
    """

    def __init__(
        self, names: Sequence[str], models: Sequence[Hashable], read_pair: Callable[[str, Hashable], Pair]
    ) -> None:
        self._names, self._models, self._pair = sorted(names), list(models), read_pair
        self._high: dict[tuple[str, Hashable], _Histogram] = {}
        self._model_cuts: dict[tuple[Hashable, int], dict[str, Cut]] = {}
        self._tensor_cuts: dict[tuple[str, Hashable, int], Cut] = {}

    def tensor_cut(self, name: str, model: Hashable, count: int) -> Cut:
        """Return the cut that keeps `count` elements of one tensor."""
        self.rank_tensor(name, model, [count])
        return self._tensor_cuts[name, model, count]

    def rank_tensor(self, name: str, model: Hashable, counts: Iterable[int]) -> None:
        """Compute together the cuts that keep these numbers of elements of one tensor."""
        missing = [k for k in dict.fromkeys(counts) if (name, model, k) not in self._tensor_cuts]
        if missing:
            exact = cuts.exact_cuts(*self._pair(name, model), missing, self._counts(name, model))
            self._tensor_cuts.update({(name, model, k): cut for k, cut in zip(missing, exact, strict=True)})

    def model_cut(self, name: str, model: Hashable, count: int) -> Cut:
        """Return the cut of tensor `name` if `count` elements of the model's whole task vector are kept."""
        self.rank_model(model, [count])
        return self._model_cuts[model, count][name]

    def rank_model(self, model: Hashable, counts: Iterable[int]) -> None:
        """Compute together the cuts that keep these numbers of elements of a model's whole task vector."""
        missing = [k for k in dict.fromkeys(counts) if (model, k) not in self._model_cuts]
        if not missing:
            return
        high = torch.zeros(top_k.HIGH_BINS, dtype=torch.int64, device="cpu")
        for name in self._names:
            high += self._counts(name, model)
        places = {k: top_k.kth_bin(high, k) for k in missing}
        low = self._low_counts(model, {bin_ for bin_, _ in places.values()})
        thresholds = {k: top_k.threshold_in_bin(bin_, low[bin_], rank) for k, (bin_, rank) in places.items()}
        for k, by_name in self._cuts_by_name(model, thresholds).items():
            self._model_cuts[model, k] = by_name

    def _counts(self, name: str, model: Hashable) -> torch.Tensor:
        if (name, model) not in self._high:
            self._high[name, model] = _Histogram.of(cuts.high_counts(*self._pair(name, model)))
        return self._high[name, model].full()

    def _low_counts(self, model: Hashable, bins: set[int]) -> dict[int, torch.Tensor]:
        total = {b: torch.zeros(top_k.LOW_BINS, dtype=torch.int64, device="cpu") for b in bins}
        for name in self._names:
            counts = self._counts(name, model)
            present = [b for b in bins if counts[b]]
            if present:
                for b, low in cuts.low_counts(*self._pair(name, model), present).items():
                    total[b] += low
        return total

    def _cuts_by_name(
        self, model: Hashable, thresholds: Mapping[int, top_k.Threshold]
    ) -> dict[int, dict[str, Cut]]:
        """Turn thresholds into cuts by tensor. Ties are kept in the first tensors, at the lowest indices."""
        remaining_ties = {k: threshold.ties for k, threshold in thresholds.items() if threshold.splits_ties}
        by_name = {
            k: dict.fromkeys(self._names, Cut(threshold.bits, cuts.ALL_TIES))
            for k, threshold in thresholds.items()
        }
        for name in self._names if remaining_ties else ():
            pair, unfinished = self._pair(name, model), {k for k, ties in remaining_ties.items() if ties}
            patterns = [thresholds[k].bits for k in unfinished]
            equal = cuts.equal_counts(*pair, patterns) if patterns else {}
            for k, ties in remaining_ties.items():
                bits, end = thresholds[k].bits, 0
                if ties:
                    end = cuts.ties_end(*pair, bits, ties, equal.get(bits, []))
                    remaining_ties[k] = max(0, ties - sum(equal.get(bits, [])))
                by_name[k][name] = Cut(bits, end)
        return by_name
