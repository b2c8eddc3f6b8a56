"""DARE-TIES: drop and rescale, then elect sign and disjoint merge.

    m_tp ~ Bernoulli(density),  tau^_t = m_t * tau_t / density                     (DARE)
    gamma_p = sgn(sum_t tau^_tp); where 0, sgn(sum_q sgn(sum_t tau^_tq)) over the same tensor
    tau_p   = mean of tau^_tp over {t : sgn(tau^_tp) = gamma_p, tau^_tp != 0}
    theta   = theta_0 + lambda * tau

Yu et al., "Language Models are Super Mario", arXiv 2311.03099, section 3 (drop rate p = 1 - density,
per weight matrix), combined with elect and merge of TIES (arXiv 2306.01708); DARE's drop replaces the
trim. The masks are those of engine/masks.py. Nothing is ranked, so no tie rule is needed.
"""

import torch

from mergekit_finance.engine import reference
from mergekit_finance.engine.dispatch import keep_norm
from mergekit_finance.engine.masks import keep_mask, keeps_all, mask_key
from mergekit_finance.engine.terms import Mask, Rule, Term
from mergekit_finance.merge_methods.method import CptMethod, host_rule, method_spec, stacked
from mergekit_finance.merge_methods.parameters import Call, ExpertParameters


class CptDareTies(CptMethod):
    """`cpt_dare_ties`. Each tensor is merged by itself, whatever its shape."""

    spec = method_spec("cpt_dare_ties", "CPT DARE-TIES", "2311.03099", "density", "seed")
    draws_masks = True

    def paper(self, call: Call) -> torch.Tensor:
        """Return the disjoint mean of the vectors, dropped and rescaled by 1/density, in mask_id order."""
        vectors = [_dropped(call, expert) * expert.weight for expert in call.experts]
        sign = reference.elect(vectors, lambda: reference.sign_balance(reference.running_sum(vectors)))
        return reference.disjoint_mean(vectors, sign)

    def mergekit(self, call: Call) -> torch.Tensor:
        """Return the sum of the vectors that agree, dropped to equal L1 norm and weighted (normalize: no)."""
        vectors = [_dropped_same_norm(call, expert) for expert in call.experts]
        return reference.consensus_sum(*stacked(call, vectors), normalize=bool(call.normalize))

    def terms(self, call: Call) -> tuple[list[Term], Rule]:
        """Return the masked vectors, and the rule `mean` (paper) or `consensus` (mergekit)."""
        if call.semantics == "paper":
            terms = [_term(call, expert, 1.0 / expert.density) for expert in call.experts]
            return terms, Rule("mean", call.scale)
        terms = [_term(call, expert) for expert in call.experts]
        terms = [keep_norm(call.stored, term) if term.mask else term for term in terms]
        return terms, host_rule(call, "consensus", bool(call.normalize))


def _term(call: Call, expert: ExpertParameters, factor: float = 1.0) -> Term:
    mask = None
    if not keeps_all(expert.density):
        mask = Mask(mask_key(call.seed, expert.mask_id, call.name), expert.density)
    return Term(expert.tensor, expert.weight, mask=mask, factor=factor)


def _keep(call: Call, expert: ExpertParameters) -> torch.Tensor:
    key = mask_key(call.seed, expert.mask_id, call.name)
    return keep_mask(call.base.shape, expert.density, key, call.base.device)


def _dropped(call: Call, expert: ExpertParameters) -> torch.Tensor:
    vector = call.vector(expert)
    if expert.density >= 1:
        return vector
    return reference.drop_and_rescale(vector, _keep(call, expert), expert.density)


def _dropped_same_norm(call: Call, expert: ExpertParameters) -> torch.Tensor:
    vector = call.vector(expert)
    return vector if expert.density >= 1 else reference.drop_and_keep_norm(vector, _keep(call, expert))


cpt_dare_ties = CptDareTies()
