"""Code shared by the three methods: parameters, the two semantics, one rounding at the end.

Every operator is written twice: on whole tensors, which is its definition (`paper`, `mergekit`), and as terms
and a rule for the engine (`terms`), which is what runs on the CPU from LARGE elements on, and in a
MergeSession. Tests check that both give the same bits.
"""

from abc import abstractmethod
from typing import Any, ClassVar, Literal, cast

import torch
from mergekit.merge_methods.base import (
    BasePolicy,
    GroupMergeMethod,
    InputContract,
    MergeMethodSpec,
    TensorGroup,
)

from mergekit_finance.engine import dispatch, plain_torch, reference
from mergekit_finance.engine.finite import require_finite
from mergekit_finance.engine.terms import PassOptions, PassResult, Rule, Term
from mergekit_finance.merge_methods.parameters import Call, Context, Parameters, specs

LARGE = 1 << 15  # elements; below, dividing the work into blocks costs more than it saves
SEQUENTIAL = 4  # rows that torch.sum(dim=0) adds from first to last; more are added in other orders


class CptMethod(GroupMergeMethod):
    """A merge of a base and its experts: theta_0 + lambda * delta, in float32.

    Subclasses define delta in each of the two semantics. All tensors have the output's shape.
    """

    spec: MergeMethodSpec
    ranks_whole_vector: ClassVar[bool] = False  # paper semantics needs whole_vector_thresholds.py
    draws_masks: ClassVar[bool] = False

    @abstractmethod
    def paper(self, call: Call) -> torch.Tensor:
        """Return delta as the operator's paper defines it."""

    @abstractmethod
    def mergekit(self, call: Call) -> torch.Tensor:
        """Return delta as mergekit 0.1.5 computes it."""

    @abstractmethod
    def terms(self, call: Call) -> tuple[list[Term], Rule]:
        """Return the terms and the rule for the engine."""

    def majority(self, call: Call, result: PassResult) -> int:
        """Return the sign of sums of exactly 0: by default, that of the tensor's own sign balance."""
        return sign(int(result.balance))

    def merge_group(self, group: TensorGroup, /, **parameters: Any) -> torch.Tensor:
        """Return the merged tensor. mergekit calls this for every output tensor.

        Args:
            parameters: the resolved `Parameters`, with `context` if the planner hook planned the merge.

        Raises:
            ModelError: the result overflows, and the planner hook did not plan the merge.
            RecipeError: paper TIES was called on single tensors.
        """
        values = cast(Parameters, parameters)
        call = Call.of(group, values)
        dtype = _output_dtype(group.base.tensor.dtype, values.get("context"))
        if call.stored.numel() >= LARGE and call.stored.device.type == "cpu":
            out = torch.empty(call.stored.shape, dtype=dtype, device="cpu")
            self.merge_into(out, call)
        else:
            out = self.merge_whole(call).to(dtype)
        # In a planned merge, whoever executes the plan checks what is stored, after the last rounding.
        return out if values.get("context") else require_finite(call.name, out)

    def merge_whole(self, call: Call) -> torch.Tensor:
        """Return the merged tensor in float32, by operations on whole tensors, on any device."""
        delta = self.paper(call) if call.semantics == "paper" else self.mergekit(call)
        return call.base + delta * call.scale

    def merge_into(self, out: torch.Tensor, call: Call) -> None:
        """Write the merged tensor into `out` (contiguous), by the engine."""
        if call.stored.device.type == "cpu" and not engine_gives_same_bits(call):
            out.copy_(self.merge_whole(call))
            return
        terms, rule = self.terms(call)
        counted = call.whole.majority if call.whole else None
        if counted is not None:
            dispatch.merge(out, call.stored, terms, rule, PassOptions(counted, report="nothing"))
            return
        result = dispatch.merge(out, call.stored, terms, rule)  # assumes a majority of +1
        if result.contested is not None and (majority := self.majority(call, result)) != 1:
            plain_torch.merge_contested(out, call.stored, terms, rule, majority, result.contested)


def method_spec(name: str, title: str, paper: str, *parameters: str) -> MergeMethodSpec:
    """Return the spec of a method that needs a base and at least one expert.

    Args:
        paper: arXiv number.
        parameters: names of the parameters besides those that all methods have.
    """
    return MergeMethodSpec(
        name=name,
        pretty_name=title,
        reference_url=f"https://arxiv.org/abs/{paper}",
        parameters=specs("weight", "mask_id", "lambda", "normalize", "semantics", "similarity", *parameters),
        contract=InputContract(base=BasePolicy.REQUIRED, min_non_base=1),
    )


def engine_gives_same_bits(call: Call) -> bool:
    """Return whether the engine adds in the order of the operations on whole tensors."""
    return call.semantics == "paper" or len(call.experts) <= SEQUENTIAL


def sign(number: int) -> int:
    """Return -1, 0 or 1."""
    return (number > 0) - (number < 0)


def host_rule(call: Call, kind: Literal["sum", "consensus"], normalize: bool) -> Rule:
    """Return the rule of mergekit semantics: sums as torch.sum makes them, divided if `normalize`."""
    return Rule(kind, call.scale, host=True, normalize=normalize)


def stacked(call: Call, vectors: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mergekit's weighted stack, in the recipe's order."""
    return reference.weighted_stack(vectors, call.weights)


def _output_dtype(inputs: torch.dtype, context: Context | None) -> torch.dtype:
    """Return the dtype to round to. Where mergekit rounds when it saves, rounding here would round twice."""
    if context and context.dtype:
        return context.dtype
    return torch.float32 if context and context.rounds_later else inputs
