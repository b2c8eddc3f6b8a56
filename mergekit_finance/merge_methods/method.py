"""What the three methods share: binding, the two semantics, one rounding at the end.

Every operator is written twice: on whole tensors, which is what it means (`paper`, `mergekit`), and as
terms and a rule for the engine's blocks, which is what runs on the CPU from LARGE elements on. Tests
hold the two together, bit for bit.
"""

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

from mergekit_finance.engine import dispatch, plain_torch
from mergekit_finance.engine import reference as kernels
from mergekit_finance.engine.finite import require_finite
from mergekit_finance.engine.terms import PassOptions, PassResult, Rule, Term
from mergekit_finance.merge_methods.parameters import CONTEXT, Call, specs

LARGE = 1 << 15  # elements; below, a block costs more than it saves
SEQUENTIAL = 4  # rows that torch.sum(dim=0) adds from first to last in every column; more in other orders


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
        # Rounding to the inputs' dtype first and to out_dtype later would round twice.
        dtype = _output_dtype(group.base.tensor.dtype, parameters.get(CONTEXT))
        if call.stored.numel() >= LARGE and call.stored.device.type == "cpu":
            out = torch.empty(call.stored.shape, dtype=dtype, device="cpu")
            self.merge_into(out, call)
        else:
            out = self.merge_whole(call).to(dtype)
        return require_finite(call.name, out) if call.may_overflow(dtype) else out

    def merge_whole(self, call: Call) -> torch.Tensor:
        """The merged tensor in float32, by operations on whole tensors, on any device."""
        delta = self.paper(call) if call.semantics == "paper" else self.mergekit(call)
        return call.base + delta * call.scale

    def merge_into(self, out: torch.Tensor, call: Call) -> PassResult:
        """The same by the engine's kernels, rounded into `out`."""
        if call.stored.device.type == "cpu" and not in_blocks(call):
            out.copy_(self.merge_whole(call))
            return PassResult()
        terms, rule = self.terms(call)
        known = getattr(call.whole, "majority", None)  # of a whole vector whose signs were counted already
        if known is not None:
            return dispatch.merge(out, call.stored, terms, rule, PassOptions(known, "nothing"))
        elected = dispatch.merge(out, call.stored, terms, rule)
        if elected.contested is not None and (majority := self.majority(call, elected)) != 1:
            plain_torch.merge_contested(out, call.stored, terms, rule, majority, elected.contested)
        return elected

    @abstractmethod
    def terms(self, call: Call) -> tuple[list[Term], Rule]:
        """What the engine's blocks are to compute."""

    def majority(self, call: Call, elected: PassResult) -> int:
        """The sign that sums of exactly 0 take; by default that of the tensor itself."""
        return sign(elected.balance)


def method_spec(name: str, title: str, paper: str, *parameters: str) -> MergeMethodSpec:
    """A spec whose methods need a base and at least one expert."""
    return MergeMethodSpec(
        name=name,
        pretty_name=title,
        reference_url=f"https://arxiv.org/abs/{paper}",
        parameters=specs("weight", "mask_id", "lambda", "normalize", "semantics", "similarity", *parameters),
        contract=InputContract(base=BasePolicy.REQUIRED, min_non_base=1),
    )


def in_blocks(call: Call) -> bool:
    """Whether blocks give the bits of the whole-tensor operations."""
    return call.semantics == "paper" or len(call.experts) <= SEQUENTIAL


def sign(number: int) -> int:
    return (number > 0) - (number < 0)


def _output_dtype(inputs: torch.dtype, context: Any) -> torch.dtype:
    if context and context.dtype:
        return context.dtype
    return torch.float32 if context and context.rounds_later else inputs


def host_rule(call: Call, kind: Any, normalize: bool) -> Rule:
    """mergekit semantics: sums as torch.sum makes them, divided by the weights if `normalize`."""
    return Rule(kind, call.scale, host=True, normalize=normalize)


def stacked(call: Call, vectors: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """mergekit's weighted stack, in the recipe's order."""
    return kernels.weighted_stack(vectors, call.weights)
