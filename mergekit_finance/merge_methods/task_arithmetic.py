"""Task Arithmetic.

    theta = theta_0 + lambda * sum_t w_t tau_t,    tau_t = theta_t - theta_0

Ilharco et al., "Editing Models with Task Arithmetic", arXiv 2212.04089, section 4 (addition); there
w_t = 1 and one lambda scales the sum. No element is dropped, so no tie rule is needed.
"""

import torch

from mergekit_finance.engine import reference
from mergekit_finance.engine.terms import Rule, Term
from mergekit_finance.merge_methods.method import CptMethod, host_rule, method_spec, stacked
from mergekit_finance.merge_methods.parameters import Call


class CptTaskArithmetic(CptMethod):
    """`cpt_task_arithmetic`. Elementwise, whatever the shape."""

    spec = method_spec("cpt_task_arithmetic", "CPT Task Arithmetic", "2212.04089")

    def paper(self, call: Call) -> torch.Tensor:
        """Return sum_t w_t tau_t, added in mask_id order."""
        return reference.weighted_sum(map(call.vector, call.experts), call.weights)

    def mergekit(self, call: Call) -> torch.Tensor:
        """Return the same sum in the recipe's order; divided by sum_t w_t if `normalize` (default: no)."""
        stack = stacked(call, [call.vector(expert) for expert in call.experts])
        return reference.plain_sum(*stack, normalize=bool(call.normalize))

    def terms(self, call: Call) -> tuple[list[Term], Rule]:
        """Return the weighted vectors, and the rule `sum`."""
        terms = [Term(expert.tensor, expert.weight) for expert in call.experts]
        plain = Rule("sum", call.scale)
        return terms, plain if call.semantics == "paper" else host_rule(call, "sum", bool(call.normalize))


cpt_task_arithmetic = CptTaskArithmetic()
