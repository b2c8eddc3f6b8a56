"""What the three methods share: binding, the two semantics, one rounding at the end."""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from mergekit.merge_methods.base import (
    BasePolicy,
    GroupMergeMethod,
    InputContract,
    MergeMethodSpec,
    TensorGroup,
)

from mergekit_finance.merge_methods import kernels
from mergekit_finance.merge_methods.parameters import CONTEXT, Call, specs


class CptMethod(GroupMergeMethod):
    """A merge of a base and its experts: base + lambda * delta, in float32.

    A subclass says what delta is, in each of the two semantics. All tensors have the output's shape.
    """

    spec: MergeMethodSpec
    ranks_whole_vector: ClassVar[bool] = False  # paper semantics needs planning.py's passes
    draws_masks: ClassVar[bool] = False

    @abstractmethod
    def paper(self, call: Call) -> torch.Tensor:
        """delta as the operator's paper defines it."""

    @abstractmethod
    def mergekit(self, call: Call) -> torch.Tensor:
        """delta as mergekit 0.1.5 computes it."""

    def merge_group(self, group: TensorGroup, /, **parameters: Any) -> torch.Tensor:
        call = Call.of(group, parameters)
        delta = self.paper(call) if call.semantics == "paper" else self.mergekit(call)
        merged = call.base + delta * call.scale
        context = parameters.get(CONTEXT)
        # Rounding to the inputs' dtype first and to out_dtype later would round twice.
        return merged if context and context.rounds_later else merged.to(group.base.tensor.dtype)


def method_spec(name: str, title: str, paper: str, *parameters: str) -> MergeMethodSpec:
    """A spec whose methods need a base and at least one expert."""
    return MergeMethodSpec(
        name=name,
        pretty_name=title,
        reference_url=f"https://arxiv.org/abs/{paper}",
        parameters=specs("weight", "mask_id", "lambda", "normalize", "semantics", *parameters),
        contract=InputContract(base=BasePolicy.REQUIRED, min_non_base=1),
    )


def stacked(call: Call, vectors: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """mergekit's weighted stack, in the recipe's order."""
    return kernels.weighted_stack(vectors, call.weights)
