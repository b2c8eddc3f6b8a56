"""Arguments and results of the merge of one output tensor, shared by all implementations.

v_t   = weight_t * factor_t * trim_or_drop(theta_t - theta_0)      per expert t, float32
delta = combine(v_1 ... v_T)                                       see `Rule`
out   = theta_0 + scale * delta                                    rounded once, to out's dtype
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

MaskKey = tuple[int, int, int]  # three 32-bit words that seed the mask of one tensor of one model
PassReport = Literal["nothing", "balance", "contested"]


@dataclass(frozen=True)
class Cut:
    """A trim threshold: elements are kept if their magnitude bits exceed `bits`, or equal it before `until`.

    Ties are resolved by the flat index, so that each element can be trimmed independently of the others.
    """

    bits: int  # int32 bits of a float32 magnitude
    until: int  # flat index; 0 drops all ties, an index past the end keeps all


@dataclass(frozen=True)
class Mask:
    """DARE's mask of one tensor of one model."""

    key: MaskKey
    density: float  # share of elements kept, in (0, 1)
    drawn: torch.Tensor | None = None  # the mask (int8, flat) if it was computed before


@dataclass(frozen=True)
class Term:
    """One expert's part in one output tensor."""

    tensor: torch.Tensor  # theta_t: the base's number of elements, any floating dtype
    weight: float = 1.0
    cut: Cut | None = None  # None: not trimmed
    mask: Mask | None = None  # None: nothing dropped
    factor: float = 1.0  # DARE's rescaling, applied before the weight


@dataclass(frozen=True)
class Rule:
    """The rule by which the vectors v_t of all experts are combined into delta.

    sum        delta = sum_t v_t                                 Task Arithmetic, arXiv 2212.04089, section 4
    mean       delta = mean of {v_t : v_t != 0, sgn(v_t) = g}    TIES, arXiv 2306.01708, Algorithm 1;
               g = sgn(sum_t v_t); where that sum is 0: PassOptions.zero_sign
    consensus  delta = sum of {v_t : sgn(v_t) = g}               TIES as mergekit computes it;
               g = sgn(sum_t v_t), a sum of 0 counts as positive
    """

    kind: Literal["sum", "mean", "consensus"]
    scale: float = 1.0  # lambda
    host: bool = False  # mergekit's sums start from 0 instead of from v_1, so they never result in -0
    normalize: bool = False  # divide by the sum of the weights (consensus: of the agreeing models)


@dataclass(frozen=True)
class PassOptions:
    """Options of rule `mean`: the sign for sums of exactly 0, and the content of the PassResult.

    zero_sign: sign elected where sum_t v_t is exactly 0: -1, 0 or 1. With 0, delta is 0 there.
    report: the content of the result.
        "nothing"    an empty PassResult, for a zero_sign that was determined before
        "balance"    the sign balance only; on a GPU, the call does not wait for it
        "contested"  also the indices at which zero_sign was used; if it turns out to be wrong, pass them to
                     `plain_torch.merge_contested`
    """

    zero_sign: int = 1
    report: PassReport = "contested"


DEFAULT_OPTIONS = PassOptions()


@dataclass(frozen=True, eq=False)
class PassResult:
    """Counts of one pass with rule `mean`. Empty for the other rules."""

    balance: int | torch.Tensor = 0  # sum_p sgn(sum_t v_tp); a tensor if a GPU is still computing it
    contested: torch.Tensor | None = (
        None  # int64, sorted flat indices where sum_t v_t is 0 and some v_t is not
    )

    @classmethod
    def joined(cls, parts: "Sequence[PassResult]") -> "PassResult":
        """Return one result for consecutive blocks of one tensor."""
        contested = [part.contested for part in parts if part.contested is not None]
        return cls(sum(part.balance for part in parts), torch.cat(contested) if contested else None)


class Implementation(Protocol):
    """The functions that blocks, triton_kernels and plain_torch have in common. All give the same bits."""

    def merge(
        self,
        out: torch.Tensor,
        base: torch.Tensor,
        terms: Sequence[Term],
        rule: Rule,
        options: PassOptions,
    ) -> PassResult:
        """Write the merged tensor into `out`. All tensors are on the device of `base`.

        Args:
            out: contiguous, any floating dtype.
            base: theta_0, with as many elements as `out`, any floating dtype.
            terms: the experts, in the order in which they are summed.
            rule: how their vectors are combined.
            options: how sums of exactly 0 are treated and what is reported (rule `mean` only).
        """

    def sign_balance(self, base: torch.Tensor, terms: Sequence[Term]) -> int | torch.Tensor:
        """Return sum_p sgn(sum_t v_tp), as `merge` with rule `mean` reports it, without merging."""
