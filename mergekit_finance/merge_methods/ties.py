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
scales the trimmed vector, before the election. mergekit semantics ranks each tensor alone, keeps
max(1, int(density * n)), and weighs before the election, too; there the tie rule is lowest flat index
first, where mergekit's own choice is arbitrary.
"""

import torch

from mergekit_finance.engine import cuts, top_k
from mergekit_finance.engine import reference as kernels
from mergekit_finance.engine.terms import Cut, PassResult, Rule, Term
from mergekit_finance.errors import RecipeError
from mergekit_finance.merge_methods.method import CptMethod, host_rule, method_spec, sign, stacked
from mergekit_finance.merge_methods.parameters import Call, Expert


class CptTies(CptMethod):
    """`cpt_ties`; elementwise but for the ranking, any shape."""

    spec = method_spec("cpt_ties", "CPT TIES", "2306.01708", "density")
    ranks_whole_vector = True

    def paper(self, call: Call) -> torch.Tensor:
        """The disjoint mean of the vectors trimmed over the whole model, in mask_id order."""
        _need_whole(call)
        vectors = trimmed(call)
        return kernels.disjoint_mean(vectors, kernels.elect(vectors, call.whole.sign_balance))

    def mergekit(self, call: Call) -> torch.Tensor:
        """Trim per tensor, weigh, elect, sum over the agreeing; divided by their weights by default."""
        vectors = [_trim_alone(call.vector(expert), expert.density) for expert in call.experts]
        return kernels.consensus_sum(*stacked(call, vectors), normalize=call.normalize is not False)

    def terms(self, call: Call) -> tuple[list[Term], Rule]:
        if call.semantics == "mergekit":
            terms = [Term(e.tensor, e.weight, _cut_alone(call, e)) for e in call.experts]
            return terms, host_rule(call, "consensus", call.normalize is not False)
        _need_whole(call)
        return whole_terms(call), Rule("mean", call.scale)

    def majority(self, call: Call, elected: PassResult) -> int:
        """That of the whole vector."""
        return sign(call.whole.sign_balance())


def _need_whole(call: Call) -> None:
    if call.whole is None:
        raise RecipeError(
            "cpt_ties ranks the whole model in paper semantics and was given single tensors: "
            "merge through mergekit-yaml or mergekit.merge.run_merge, or set semantics: mergekit"
        )


def whole_terms(call: Call) -> list[Term]:
    """Every expert's term, cut where the whole vector is."""
    return [
        Term(e.tensor, e.weight, call.whole.cut(call.name, e.id, call.stored, e.tensor)) for e in call.experts
    ]


def trimmed(call: Call) -> list[torch.Tensor]:
    """w_t tau^_t for every expert, by the whole vector's cuts."""
    return [
        call.whole.trim(call.name, expert.id, call.vector(expert)) * expert.weight for expert in call.experts
    ]


def _trim_alone(vector: torch.Tensor, density: float) -> torch.Tensor:
    if density >= 1 or vector.numel() == 0:
        return vector
    cut = top_k.kth_largest(top_k.magnitude_bits(vector), host_count(density, vector.numel()))
    return top_k.trim(vector, cut.bits, cut.ties)


def host_count(density: float, n: int) -> int:
    """How many elements of a tensor mergekit keeps: its own rounding, float loss included."""
    return max(1, int(density * n))


def _cut_alone(call: Call, expert: Expert) -> Cut | None:
    if expert.density >= 1 or call.stored.numel() == 0:
        return None
    if call.whole is not None:  # a session, which has ranked already
        return call.whole.cut_alone(call, expert)
    (cut,) = cuts.exact_cuts(call.stored, expert.tensor, [host_count(expert.density, call.stored.numel())])
    return cut


cpt_ties = CptTies()
