"""Task Arithmetic (Ilharco et al., arXiv 2212.04089): theta_0 + lambda * sum_t w_t (theta_t - theta_0)."""

import torch
from mergekit.merge_methods import InputContract, PerNonBase, TensorGroup, merge_method
from mergekit.merge_methods.base import BasePolicy


@merge_method(
    name="cpt_task_arithmetic",
    pretty_name="CPT Task Arithmetic",
    reference_url="https://arxiv.org/abs/2212.04089",
    contract=InputContract(base=BasePolicy.REQUIRED),
)
def cpt_task_arithmetic(group: TensorGroup, weight: PerNonBase[float] = 1.0) -> torch.Tensor:
    """theta_0 + sum_t w_t tau_t in float32; all tensors have the output's shape."""
    base = group.base.tensor.float()
    total = torch.zeros_like(base)
    for entry in group.non_base:
        total += weight[entry.id] * (entry.tensor.float() - base)
    return base + total
