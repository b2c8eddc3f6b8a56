"""The arithmetic of the three operators on single tensors, float32 in and out, no names, no I/O.

All tensors have one shape. Products and sums are separate operations in a fixed order: a fused
multiply-add would round once where two roundings are meant, and differ between CPU and GPU.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from mergekit.sparsify import RescaleNorm, rescaled_masked_tensor

# ---- semantics: paper


def running_sum(vectors: Iterable[torch.Tensor]) -> torch.Tensor:
    """sum_t v_t, from left to right."""
    remaining = iter(vectors)
    total = next(remaining).clone()
    for vector in remaining:
        total += vector
    return total


def weighted_sum(vectors: Iterable[torch.Tensor], weights: Iterable[float]) -> torch.Tensor:
    """sum_t w_t tau_t, from left to right."""
    return running_sum(vector * weight for vector, weight in zip(vectors, weights, strict=True))


def sign_balance(total: torch.Tensor) -> int:
    """sum_p sgn(total_p), exactly."""
    return int((total > 0).sum()) - int((total < 0).sum())


def elect(vectors: Sequence[torch.Tensor], majority: Callable[[], int]) -> torch.Tensor:
    """gamma_p = sgn(sum_t v_tp); where that sum is exactly 0, the sign of `majority()`.

    `majority` is asked only if some sum is 0 although some vector is not. A majority of 0 elects no
    sign: nothing is merged there.
    """
    total = running_sum(vectors)
    cancelled = torch.zeros_like(total, dtype=torch.bool)
    for vector in vectors:
        cancelled |= vector != 0
    cancelled &= total == 0
    sign = total.sign()
    if bool(cancelled.any()):
        balance = majority()
        sign.masked_fill_(cancelled, float((balance > 0) - (balance < 0)))
    return sign


def disjoint_mean(vectors: Sequence[torch.Tensor], sign: torch.Tensor) -> torch.Tensor:
    """Mean over the vectors that are non-zero and have the elected sign; 0 where there is none."""
    total, count = torch.zeros_like(sign), torch.zeros_like(sign)
    for vector in vectors:
        agrees = vector.sign() == sign  # a zero agrees only where no sign is elected, and adds nothing
        total += vector.masked_fill(~agrees, 0.0)
        count += agrees
    return total / count.clamp_(min=1)


def drop_and_rescale(vector: torch.Tensor, keep: torch.Tensor, density: float) -> torch.Tensor:
    """DARE: (keep * tau) / density. As a product, since a GPU divides by scalars as a product, too."""
    return vector.masked_fill(~keep, 0.0) * (1.0 / density)


# ---- semantics: mergekit (0.1.5); the order of operations is what makes the bits equal


def drop_and_keep_norm(vector: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """Drop, then rescale so that the L1 norm stays (left alone where either norm is under 1e-7)."""
    return rescaled_masked_tensor(vector, keep, RescaleNorm.l1)


def weighted_stack(
    vectors: Sequence[torch.Tensor], weights: Sequence[float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """w_t tau_t as [models, *shape], and w as [models, 1, ...]."""
    stack = torch.stack(list(vectors))
    column = torch.tensor(list(weights), dtype=stack.dtype, device=stack.device)
    column = column.view(-1, *[1] * (stack.dim() - 1))
    return stack.mul_(column), column


def plain_sum(stack: torch.Tensor, weights: torch.Tensor, normalize: bool) -> torch.Tensor:
    """sum_t w_t tau_t, divided by sum_t w_t if `normalize` and that is not (nearly) 0."""
    total, divisor = stack.sum(dim=0), weights.sum(dim=0)
    if not normalize:
        return total
    return total / divisor.masked_fill(divisor.abs() < 1e-8, 1.0)


def consensus_sum(stack: torch.Tensor, weights: torch.Tensor, normalize: bool) -> torch.Tensor:
    """Sum over the models whose sign is that of the weighted sum (0 counts as +).

    With `normalize` divided by the agreeing weights. A zero entry has no sign and never agrees.
    """
    majority = torch.where(stack.sum(dim=0) >= 0, 1.0, -1.0)
    agrees = stack.sign() == majority
    total = (stack * agrees).sum(dim=0)
    if not normalize:
        return total
    divisor = (weights * agrees).sum(dim=0)
    return total / divisor.masked_fill(divisor == 0, 1.0)
