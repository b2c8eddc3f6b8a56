"""Quantities of a whole task vector, in at most four passes over the planned inputs.

The vector of one expert is all output tensors in sorted name order, each flattened, tied tensors once.

    pass 1   histogram of the upper 16 bits of |tau|      rides on the check for NaN and Inf
    pass 2   histogram of the lower 16 bits in one bin    gives the exact k-th magnitude
    pass 3   ties per tensor                              only where not all ties are kept
    pass 4   sum over p of sgn(sum_t tau^_tp)             only when the first contested zero is met

What is kept between passes is integers, under 1 MB for each expert, whatever the size of the models.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import torch

from mergekit_finance.engine import blocks, cuts, top_k
from mergekit_finance.engine import reference as kernels
from mergekit_finance.engine.terms import Cut, Term
from mergekit_finance.errors import RecipeError
from mergekit_finance.merge_methods.parameters import Call
from mergekit_finance.merge_methods.planned import Gathered, PlannedInputs

Bind = Callable[[Gathered], Call]  # an output tensor's inputs with its settled parameters


class Census:
    """Pass 1: how many elements there are, and the histogram of their upper magnitude bits."""

    def __init__(self, bind: Bind, ranks: bool) -> None:
        self.bind, self._ranks = bind, ranks
        self.size = 0
        self.tied: dict[str, str] = {}
        self.density: dict[Any, float] = {}
        self.counts: dict[Any, torch.Tensor] = {}

    def add(self, gathered: Gathered) -> None:
        if gathered.tied_to:
            self.tied[gathered.name] = gathered.tied_to
            return
        self.size += gathered.size
        call = self.bind(gathered)
        for expert in call.experts:
            self.density[expert.id] = max(expert.density, self.density.get(expert.id, 0.0))
            if self._ranks and expert.density < 1:
                counts = cuts.high_counts(call.stored, expert.tensor)
                self.counts[expert.id] = self.counts.get(expert.id, 0) + counts

    def kept(self, model: Any) -> int:
        return top_k.exact_count(self.density[model], self.size)

    def refuse_empty(self) -> None:
        """A density that keeps nothing of the whole vector is a mistake."""
        for model, density in self.density.items():
            if self.kept(model) == 0:
                raise RecipeError(
                    f"{model}: density {density} keeps none of the {self.size} elements of its task vector; "
                    f"write more than {0.5 / self.size:.3g}"
                )


class WholeVector:
    """The cuts and the majority sign of one planned merge. Shared by all threads that execute it."""

    def __init__(self, inputs: PlannedInputs, census: Census) -> None:
        self._inputs, self._census = inputs, census
        self._cuts = _find_cuts(inputs, census)
        self._ties = _share_ties(inputs, census, self._cuts)
        self._lock = threading.Lock()
        self._balance: int | None = None

    def trim(self, name: str, model: Any, vector: torch.Tensor) -> torch.Tensor:
        """`vector` with everything below its model's cut set to 0."""
        if model not in self._cuts:
            return vector
        name = self._census.tied.get(name, name)
        ties = self._ties[model].get(name, 0) if model in self._ties else None
        return top_k.trim(vector, self._cuts[model].bits, ties)

    def cut(self, name: str, model: Any, base: torch.Tensor, expert: torch.Tensor) -> Cut | None:
        """Where the named tensor of a model is cut; None: nowhere."""
        if model not in self._cuts:
            return None
        name = self._census.tied.get(name, name)
        bits = self._cuts[model].bits
        ties = self._ties[model].get(name, 0) if model in self._ties else None
        return Cut(bits, cuts.ties_end(base, expert, bits, ties))

    @property
    def majority(self) -> int | None:
        """The sign of sign_balance(), if that was asked for already."""
        balance = self._balance
        return None if balance is None else (balance > 0) - (balance < 0)

    def sign_balance(self) -> int:
        """sum over p of sgn(sum_t tau^_tp), computed when first asked for."""
        with self._lock:
            if self._balance is None:
                self._balance = self._count_signs()
            return self._balance

    def _count_signs(self) -> int:
        balance = 0
        for call in _calls(self._inputs, self._census, "Counting majority signs"):
            balance += self._balance_of(call)
        return balance

    def _balance_of(self, call: Call) -> int:
        if call.stored.device.type == "cpu":
            terms = [
                Term(e.tensor, e.weight, self.cut(call.name, e.id, call.stored, e.tensor))
                for e in call.experts
            ]
            return blocks.sign_balance(call.stored, terms)
        vectors = [self.trim(call.name, e.id, call.vector(e)) * e.weight for e in call.experts]
        return kernels.sign_balance(kernels.running_sum(vectors))


def _calls(inputs: PlannedInputs, census: Census, purpose: str) -> Any:
    for gathered in inputs.stream(purpose):
        if gathered.floating and not gathered.tied_to:
            yield census.bind(gathered)


def _find_cuts(inputs: PlannedInputs, census: Census) -> dict[Any, top_k.Threshold]:
    """Pass 2; a model with density 1 has no cut."""
    bins = {model: top_k.kth_bin(counts, census.kept(model)) for model, counts in census.counts.items()}
    low = {model: torch.zeros(top_k.LOW_BINS, dtype=torch.int64, device="cpu") for model in bins}
    for call in _calls(inputs, census, "Ranking magnitudes") if bins else ():
        for expert in call.experts:
            if expert.id in bins:
                bin_ = bins[expert.id][0]
                low[expert.id] += cuts.low_counts(call.stored, expert.tensor, [bin_])[bin_]
    return {model: top_k.threshold_in_bin(high, low[model], rest) for model, (high, rest) in bins.items()}


def _share_ties(
    inputs: PlannedInputs, census: Census, thresholds: Mapping[Any, top_k.Threshold]
) -> dict[Any, dict[str, int | None]]:
    """Pass 3: per model and tensor, how many of the elements equal to the cut are kept."""
    tied: dict[Any, dict[str, int]] = {model: {} for model, t in thresholds.items() if t.splits_ties}
    for call in _calls(inputs, census, "Counting ties") if tied else ():
        for expert in call.experts:
            if expert.id in tied:
                bits = thresholds[expert.id].bits
                equal = cuts.equal_counts(call.stored, expert.tensor, [bits])
                tied[expert.id][call.name] = sum(equal.get(bits, ()))
    return {model: _shares(counts, thresholds[model].ties) for model, counts in tied.items()}


def _shares(counts: Mapping[str, int], total: int) -> dict[str, int | None]:
    """`first_come`, with None for a tensor that keeps all of its ties and has some."""
    shares = first_come(counts, total)
    return {name: None if share and share == counts[name] else share for name, share in shares.items()}


def first_come(counts: Mapping[str, int], total: int) -> dict[str, int]:
    """Deal `total` to the names in sorted order, each up to its count."""
    shares = {}
    for name in sorted(counts):
        shares[name] = min(counts[name], total)
        total -= shares[name]
    return shares
