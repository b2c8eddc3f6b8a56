"""Thresholds and majority sign of whole task vectors, for TIES in paper semantics.

The vector of one expert is all output tensors in sorted name order, each flattened, tied tensors once. It is
never held in memory: at most four passes over the planned inputs compute what is needed.

    pass 1   histogram of the upper 16 bits of |tau|         made while the inputs are checked
    pass 2   histogram of the lower 16 bits in one bin       gives the exact k-th magnitude
    pass 3   ties of each tensor                             only if not all ties are kept
    pass 4   sum over p of sgn(sum_t tau^_tp)                only if a sum of exactly 0 needs the majority

Only integers are kept between passes: under 1 MB for each expert, whatever the size of the models.
"""

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping

import torch

from mergekit_finance.engine import cuts, dispatch, reference, top_k
from mergekit_finance.engine.terms import Cut, Term
from mergekit_finance.errors import RecipeError
from mergekit_finance.merge_methods.method import sign
from mergekit_finance.merge_methods.parameters import Call, ExpertParameters
from mergekit_finance.merge_methods.planned_inputs import PlannedInputs, TensorInputs

Bind = Callable[[TensorInputs], Call]  # joins an output tensor's inputs with its parameters


class VectorHistograms:
    """Pass 1: the number of elements, and the histogram of each expert's upper magnitude bits.

    Args:
        bind: see `Bind`.
        ranks: whether histograms are needed; otherwise only elements are counted.
    """

    def __init__(self, bind: Bind, ranks: bool) -> None:
        self.bind, self._ranks = bind, ranks
        self.size = 0  # elements of a task vector
        self.tied: dict[str, str] = {}  # tensors that repeat another one
        self.density: dict[Hashable, float] = {}  # by expert
        self.counts: dict[Hashable, torch.Tensor] = {}  # by expert: int64 [HIGH_BINS]

    def add(self, inputs: TensorInputs) -> None:
        """Count one output tensor's inputs."""
        if inputs.tied_to:
            self.tied[inputs.name] = inputs.tied_to
            return
        self.size += inputs.size
        call = self.bind(inputs)
        for expert in call.experts:
            self.density[expert.id] = max(expert.density, self.density.get(expert.id, 0.0))
            if self._ranks and expert.density < 1:
                counts = cuts.high_counts(call.stored, expert.tensor)
                self.counts[expert.id] = self.counts.get(expert.id, 0) + counts

    def kept(self, model: Hashable) -> int:
        """Return how many elements of an expert's vector its density keeps."""
        return top_k.exact_count(self.density[model], self.size)

    def check_densities(self) -> None:
        """Refuse a density that keeps nothing of the whole vector."""
        for model, density in self.density.items():
            if self.kept(model) == 0:
                raise RecipeError(
                    f"{model}: density {density} keeps none of the {self.size} elements of its task vector; "
                    f"write more than {0.5 / self.size:.3g}",
                    id="recipe.density",
                )


class WholeVectorThresholds:
    """Thresholds and majority sign of one planned merge, shared by all threads that execute it.

    Creating it runs passes 2 and 3. A `Call` holds it as `whole` (protocol `WholeVectors`).
    """

    def __init__(self, inputs: PlannedInputs, histograms: VectorHistograms) -> None:
        self._inputs, self._histograms = inputs, histograms
        self._thresholds = _thresholds(inputs, histograms)
        self._ties = _ties_by_tensor(inputs, histograms, self._thresholds)
        self._lock = threading.Lock()
        self._balance: int | None = None

    def trim(self, name: str, model: Hashable, vector: torch.Tensor) -> torch.Tensor:
        """Return the named tensor of a model's task vector with everything below the threshold set to 0."""
        if model not in self._thresholds:
            return vector
        return top_k.trim(vector, self._thresholds[model].bits, self._kept_ties(name, model))

    def cut(self, call: Call, expert: ExpertParameters) -> Cut | None:
        """Return where the expert's tensor of this call is cut; None: nowhere, its density is 1."""
        if expert.id not in self._thresholds:
            return None
        bits, ties = self._thresholds[expert.id].bits, self._kept_ties(call.name, expert.id)
        return Cut(bits, cuts.ties_end(call.stored, expert.tensor, bits, ties))

    @property
    def majority(self) -> int | None:
        """The sign of `sign_balance()` if that was called before, else None."""
        return None if self._balance is None else sign(self._balance)

    def sign_balance(self) -> int:
        """Return sum_p sgn(sum_t tau^_tp) over the whole vector. The first call runs pass 4."""
        with self._lock:
            if self._balance is None:
                self._balance = self._count_signs()
            return self._balance

    def _kept_ties(self, name: str, model: Hashable) -> int | None:
        """Return how many elements of a tensor that equal the threshold are kept; None: all of them."""
        name = self._histograms.tied.get(name, name)
        return self._ties[model].get(name, 0) if model in self._ties else None

    def _count_signs(self) -> int:
        balance = 0
        for call in _calls(self._inputs, self._histograms, "Counting majority signs"):
            if call.stored.device.type == "cpu":
                terms = [Term(e.tensor, e.weight, self.cut(call, e)) for e in call.experts]
                balance += int(dispatch.sign_balance(call.stored, terms))
            else:
                vectors = [self.trim(call.name, e.id, call.vector(e)) * e.weight for e in call.experts]
                balance += reference.sign_balance(reference.running_sum(vectors))
        return balance


def _calls(inputs: PlannedInputs, histograms: VectorHistograms, purpose: str) -> Iterator[Call]:
    """Yield every output tensor that is merged, tied ones once."""
    for tensor in inputs.stream(purpose):
        if tensor.floating and not tensor.tied_to:
            yield histograms.bind(tensor)


def _thresholds(inputs: PlannedInputs, histograms: VectorHistograms) -> dict[Hashable, top_k.Threshold]:
    """Pass 2: return the exact k-th magnitude of every expert with a density below 1."""
    places = {
        model: top_k.kth_bin(counts, histograms.kept(model)) for model, counts in histograms.counts.items()
    }
    low = {model: torch.zeros(top_k.LOW_BINS, dtype=torch.int64, device="cpu") for model in places}
    for call in _calls(inputs, histograms, "Ranking magnitudes") if places else ():
        for expert in call.experts:
            if expert.id in places:
                bin_ = places[expert.id][0]
                low[expert.id] += cuts.low_counts(call.stored, expert.tensor, [bin_])[bin_]
    return {model: top_k.threshold_in_bin(bin_, low[model], rank) for model, (bin_, rank) in places.items()}


def _ties_by_tensor(
    inputs: PlannedInputs, histograms: VectorHistograms, thresholds: Mapping[Hashable, top_k.Threshold]
) -> dict[Hashable, dict[str, int | None]]:
    """Pass 3: return, per expert and tensor, how many elements equal to the threshold are kept.

    None: all of them. Experts that keep all ties are absent.
    """
    equal: dict[Hashable, dict[str, int]] = {model: {} for model, t in thresholds.items() if t.splits_ties}
    for call in _calls(inputs, histograms, "Counting ties") if equal else ():
        for expert in call.experts:
            if expert.id in equal:
                bits = thresholds[expert.id].bits
                blocks = cuts.equal_counts(call.stored, expert.tensor, [bits])
                equal[expert.id][call.name] = sum(blocks.get(bits, ()))
    kept_ties: dict[Hashable, dict[str, int | None]] = {}
    for model, counts in equal.items():
        shares = share_in_order(counts, thresholds[model].ties)
        kept_ties[model] = {name: None if n and n == counts[name] else n for name, n in shares.items()}
    return kept_ties


def share_in_order(counts: Mapping[str, int], total: int) -> dict[str, int]:
    """Return by name the parts of `total`, given out in sorted order of the names, each up to its count."""
    shares = {}
    for name in sorted(counts):
        shares[name] = min(counts[name], total)
        total -= shares[name]
    return shares
