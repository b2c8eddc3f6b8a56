"""The three operators on whole tensors: the definition against which every other implementation is tested.

Inputs and outputs are float32 tensors of one shape. Products and sums are separate operations in a fixed
order: a fused multiply-add rounds once instead of twice, so that CPU and GPU would differ.
"""

from collections.abc import Callable, Iterable, Sequence

import torch

# ---- semantics: paper


def running_sum(vectors: Iterable[torch.Tensor]) -> torch.Tensor:
    """Return sum_t v_t, added from left to right."""
    remaining = iter(vectors)
    total = next(remaining).clone()
    for vector in remaining:
        total += vector
    return total


def weighted_sum(vectors: Iterable[torch.Tensor], weights: Iterable[float]) -> torch.Tensor:
    """Return sum_t w_t tau_t, added from left to right (Task Arithmetic, arXiv 2212.04089, section 4)."""
    return running_sum(vector * weight for vector, weight in zip(vectors, weights, strict=True))


def sign_balance(total: torch.Tensor) -> int:
    """Return sum_p sgn(total_p), exactly."""
    return int((total > 0).sum()) - int((total < 0).sum())


def elect(vectors: Sequence[torch.Tensor], balance: Callable[[], int]) -> torch.Tensor:
    """Return the elected signs gamma_p = sgn(sum_t v_tp), -1, 0 or 1 (TIES, arXiv 2306.01708, Algorithm 1).

    Args:
        vectors: the trimmed task vectors.
        balance: returns sum_q sgn(sum_t v_tq) over the elements q of the vote. Its sign is elected where a
            sum is exactly 0 but a vector is not (the rule of the authors' code). If it is 0, the sign is 0
            and nothing is merged there. It is called only if such an element exists.
    """
    total = running_sum(vectors)
    cancelled = torch.zeros_like(total, dtype=torch.bool)
    for vector in vectors:
        cancelled |= vector != 0
    cancelled &= total == 0
    sign = total.sign()
    if bool(cancelled.any()):
        counted = balance()
        sign.masked_fill_(cancelled, float((counted > 0) - (counted < 0)))
    return sign


def disjoint_mean(vectors: Sequence[torch.Tensor], sign: torch.Tensor) -> torch.Tensor:
    """Return the mean over the vectors that are non-zero and have the elected sign; 0 if there are none.

    TIES, arXiv 2306.01708, Algorithm 1, last step.
    """
    total, count = torch.zeros_like(sign), torch.zeros_like(sign)
    for vector in vectors:
        agrees = vector.sign() == sign  # zeros agree only if the elected sign is 0, and do not change the sum
        total += vector.masked_fill(~agrees, 0.0)
        count += agrees
    return total / count.clamp_(min=1)


def drop_and_rescale(vector: torch.Tensor, keep: torch.Tensor, density: float) -> torch.Tensor:
    """Return (keep * tau) / density (DARE, arXiv 2311.03099, section 3, with p = 1 - density).

    It is computed as a product with 1 / density, as GPUs do to divide by a scalar.
    """
    return vector.masked_fill(~keep, 0.0) * (1.0 / density)


# ---- semantics: mergekit (0.1.5); the same order of operations gives the same bits


def drop_and_keep_norm(vector: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """Return keep * tau, rescaled to the L1 norm of tau unless one of the two norms is below 1e-7.

    Equivalent to mergekit's `sparsify.rescaled_masked_tensor` with RescaleNorm.l1.
    """
    masked = vector * keep
    before, after = vector.abs().sum(), masked.abs().sum()
    return masked if before < 1e-7 or after < 1e-7 else masked * (before / after)


def weighted_stack(
    vectors: Sequence[torch.Tensor], weights: Sequence[float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return w_t tau_t as [models, *shape] and w as [models, 1, ...]."""
    stack = torch.stack(list(vectors))
    column = torch.tensor(list(weights), dtype=stack.dtype, device=stack.device)
    column = column.view(-1, *[1] * (stack.dim() - 1))
    return stack.mul_(column), column


def plain_sum(stack: torch.Tensor, weights: torch.Tensor, normalize: bool) -> torch.Tensor:
    """Return sum_t w_t tau_t; with `normalize`, divided by sum_t w_t unless that is below 1e-8."""
    total, divisor = stack.sum(dim=0), weights.sum(dim=0)
    if not normalize:
        return total
    return total / divisor.masked_fill(divisor.abs() < 1e-8, 1.0)


def consensus_sum(stack: torch.Tensor, weights: torch.Tensor, normalize: bool) -> torch.Tensor:
    """Return the sum over the models whose sign equals that of the weighted sum; a sum of 0 is positive.

    With `normalize`, it is divided by the sum of the weights of those models. A zero never agrees.
    """
    elected = torch.where(stack.sum(dim=0) >= 0, 1.0, -1.0)
    agrees = stack.sign() == elected
    total = (stack * agrees).sum(dim=0)
    if not normalize:
        return total
    divisor = (weights * agrees).sum(dim=0)
    return total / divisor.masked_fill(divisor == 0, 1.0)
