"""TIES: trim, elect sign, disjoint merge.

    tau^_t  = tau_t where |tau_t| is among the k largest, else 0          (trim, k = density * n)
    gamma_p = sgn(sum_t tau^_tp)                                          (elect)
    tau_p   = mean of tau^_tp over {t : sgn(tau^_tp) = gamma_p, tau^_tp != 0}   (disjoint merge)
    theta   = theta_0 + lambda * tau

Yadav et al., "TIES-Merging: Resolving Interference When Merging Models", arXiv 2306.01708,
Algorithm 1; K = 20 % and lambda = 1 are its recipe without validation data. The rule for gamma_p = 0 (the
sign of the sum of all signs) is that of the authors' code.

Paper semantics ranks the WHOLE task vector: all output tensors in sorted name order, tied tensors
once, embeddings and lm_head included; k = density * n rounded half to even. Tie rule: exactly k are
kept, of equal magnitudes the first in (sorted name, flat index). The paper has no weights: w_t != 1
scales the trimmed vector, before the election.

mergekit semantics ranks each tensor by itself, keeps max(1, int(density * n)), and applies weights before
the election, too. Of equal magnitudes it keeps the lowest flat index, where mergekit's choice is arbitrary.
"""

import torch

from mergekit_finance.engine import cuts, reference, top_k
from mergekit_finance.engine.terms import Cut, PassResult, Rule, Term
from mergekit_finance.errors import RecipeError
from mergekit_finance.merge_methods.method import CptMethod, host_rule, method_spec, sign, stacked
from mergekit_finance.merge_methods.parameters import Call, CutSource, ExpertParameters, WholeVectors


class CptTies(CptMethod):
    """`cpt_ties`. Elementwise except for the ranking, whatever the shape."""

    spec = method_spec("cpt_ties", "CPT TIES", "2306.01708", "density")
    ranks_whole_vector = True

    def paper(self, call: Call) -> torch.Tensor:
        """Return the disjoint mean of the vectors trimmed over the whole model, in mask_id order."""
        whole = _whole(call)
        vectors = [whole.trim(call.name, e.id, call.vector(e)) * e.weight for e in call.experts]
        return reference.disjoint_mean(vectors, reference.elect(vectors, whole.sign_balance))

    def mergekit(self, call: Call) -> torch.Tensor:
        """Return the sum of the vectors that agree, each trimmed by itself and weighted (normalize: yes)."""
        vectors = [_trim_tensor(call.vector(expert), expert.density) for expert in call.experts]
        return reference.consensus_sum(*stacked(call, vectors), normalize=call.normalize is not False)

    def terms(self, call: Call) -> tuple[list[Term], Rule]:
        """Return the vectors with their cuts, and the rule `mean` (paper) or `consensus` (mergekit)."""
        if call.semantics == "paper":
            ranked = _ranked(call)
            return [Term(e.tensor, e.weight, ranked.cut(call, e)) for e in call.experts], Rule(
                "mean", call.scale
            )
        terms = [Term(e.tensor, e.weight, _tensor_cut(call, e)) for e in call.experts]
        return terms, host_rule(call, "consensus", call.normalize is not False)

    def majority(self, call: Call, result: PassResult) -> int:
        """Return the majority sign of the whole vector."""
        return sign(_whole(call).sign_balance())


def kept_by_mergekit(density: float, n: int) -> int:
    """Return how many of a tensor's n elements mergekit keeps: its own rounding, float loss included."""
    return max(1, int(density * n))


def _whole(call: Call) -> WholeVectors:
    if call.whole is None:
        raise _not_ranked()
    return call.whole


def _ranked(call: Call) -> CutSource:
    if call.cuts is None:
        raise _not_ranked()
    return call.cuts


def _not_ranked() -> RecipeError:
    return RecipeError(
        "cpt_ties ranks the whole model in paper semantics and was given single tensors: "
        "merge through mergekit-yaml or mergekit.merge.run_merge, or set semantics: mergekit"
    )


def _trim_tensor(vector: torch.Tensor, density: float) -> torch.Tensor:
    if density >= 1 or vector.numel() == 0:
        return vector
    count = kept_by_mergekit(density, vector.numel())
    threshold = top_k.kth_largest(top_k.magnitude_bits(vector), count)
    return top_k.trim(vector, threshold.bits, threshold.ties)


def _tensor_cut(call: Call, expert: ExpertParameters) -> Cut | None:
    if expert.density >= 1 or call.stored.numel() == 0:
        return None
    if call.cuts is not None:  # of a session, which ranked before
        return call.cuts.cut(call, expert)
    count = kept_by_mergekit(expert.density, call.stored.numel())
    (cut,) = cuts.exact_cuts(call.stored, expert.tensor, [count])
    return cut


cpt_ties = CptTies()
