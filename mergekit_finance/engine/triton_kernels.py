# Triton interprets the parameters of a kernel itself; there are no types for them that mypy could use.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
"""The merge operators as one Triton kernel. Import it through dispatch.py: it needs Triton.

Per element, with E experts and everything in float32 (symbols of terms.py):

    v_t   = theta_t - theta_0
    trim  keep where bits(|v_t|) > cut, or equal to it at a flat index below `until`
    drop  keep where hash(index) < threshold (masks.py, bit for bit)
    v_t  *= factor_t, then weight_t
    delta = the rule's combination;  out = theta_0 + delta * scale

Base and experts are read once, in their own dtypes. `enable_fp_fusion=False` keeps products and sums apart
and div_rn divides with correct rounding, so that the bits are those of blocks.py.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from mergekit_finance.engine.masks import signed_threshold, to_int32
from mergekit_finance.engine.terms import DEFAULT_OPTIONS, PassOptions, PassResult, Rule, Term

BLOCK, WARPS = 2048, 8  # 8 bf16 elements per thread, for loads of 16 bytes
_KINDS = {"sum": 0, "mean": 1, "consensus": 2}
_NUMBERS = [f"{name}{i}" for i in range(4) for name in ("w", "f", "cut", "until", "ka", "kb", "kc", "limit")]


@triton.jit
def _hash(index, ka, kb, kc, WIDE: tl.constexpr):
    if WIDE:
        high = (index >> 32).to(tl.uint32)
        x = (index & 0xFFFFFFFF).to(tl.uint32) ^ (high * tl.full([1], 0x9E3779B9, tl.uint32))
    else:
        x = index.to(tl.uint32, bitcast=True)
    x = x ^ ka.to(tl.uint32, bitcast=True)
    x = ((x ^ (x >> 16)) * tl.full([1], 0x7FEB352D, tl.uint32)) ^ kb.to(tl.uint32, bitcast=True)
    x = ((x ^ (x >> 15)) * tl.full([1], 0x846CA68B, tl.uint32)) ^ kc.to(tl.uint32, bitcast=True)
    x = x ^ (x >> 16)
    return (x ^ tl.full([1], 0x80000000, tl.uint32)).to(tl.int32, bitcast=True)


@triton.jit
def _vector(
    pointer, index, inside, base, w, f, cut, until, ka, kb, kc, limit,
    TRIM: tl.constexpr, DROP: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    v = tl.load(pointer + index, mask=inside, other=0.0).to(tl.float32) - base
    if TRIM:
        bits = v.to(tl.int32, bitcast=True) & 0x7FFFFFFF
        first = until - 8589934592
        if not WIDE:
            first = first.to(tl.int32)
        keep = (bits > cut) | ((bits == cut) & (index < first))
        v = tl.where(keep, v, 0.0)
    if DROP:
        v = tl.where(_hash(index, ka, kb, kc, WIDE) < limit, v, 0.0)
    return (v * f) * w


@triton.jit
def _elect(total, inside, balance, zero_sign, KIND: tl.constexpr, COUNT: tl.constexpr):
    if KIND == 1:
        sign = tl.where(total > 0.0, 1.0, 0.0) - tl.where(total < 0.0, 1.0, 0.0)
        if COUNT:
            tl.store(balance, tl.sum(tl.where(inside, sign, 0.0).to(tl.int32), axis=0))
        sign = tl.where(total == 0.0, zero_sign.to(tl.float32), sign)
    else:
        sign = tl.where(total >= 0.0, 1.0, -1.0)
    return sign


@triton.jit
def _add(summed, count, vector, sign):
    agrees = vector * sign > 0.0
    return summed + tl.where(agrees, vector, 0.0), count + tl.where(agrees, 1.0, 0.0)


@triton.jit(do_not_specialize=["scale", "zero_sign", *_NUMBERS])
def _merge(
    out, base, e0, e1, e2, e3, balances, contested, n, scale, zero_sign,
    w0, f0, cut0, until0, ka0, kb0, kc0, limit0,
    w1, f1, cut1, until1, ka1, kb1, kc1, limit1,
    w2, f2, cut2, until2, ka2, kb2, kc2, limit2,
    w3, f3, cut3, until3, ka3, kb3, kc3, limit3,
    E: tl.constexpr, KIND: tl.constexpr, HOST: tl.constexpr, NORMALIZE: tl.constexpr,
    TRIM0: tl.constexpr, TRIM1: tl.constexpr, TRIM2: tl.constexpr, TRIM3: tl.constexpr,
    DROP0: tl.constexpr, DROP1: tl.constexpr, DROP2: tl.constexpr, DROP3: tl.constexpr,
    DIVIDE: tl.constexpr, COUNT: tl.constexpr, WHERE: tl.constexpr, WRITE: tl.constexpr,
    WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    # 64-bit positions take 20 % more time and are rarely needed: few tensors have 2^31 elements.
    index = (program.to(tl.int64) if WIDE else program) * BLOCK + tl.arange(0, BLOCK)
    inside = index < n
    b = tl.load(base + index, mask=inside, other=0.0).to(tl.float32)
    v0 = _vector(e0, index, inside, b, w0, f0, cut0, until0, ka0, kb0, kc0, limit0, TRIM0, DROP0, WIDE)
    total = v0
    if E > 1:
        v1 = _vector(e1, index, inside, b, w1, f1, cut1, until1, ka1, kb1, kc1, limit1, TRIM1, DROP1, WIDE)
        total = total + v1
    if E > 2:
        v2 = _vector(e2, index, inside, b, w2, f2, cut2, until2, ka2, kb2, kc2, limit2, TRIM2, DROP2, WIDE)
        total = total + v2
    if E > 3:
        v3 = _vector(e3, index, inside, b, w3, f3, cut3, until3, ka3, kb3, kc3, limit3, TRIM3, DROP3, WIDE)
        total = total + v3
    if KIND == 0:
        delta = total
        if HOST:
            delta = delta + 0.0
        if NORMALIZE:
            delta = tl.div_rn(delta, tl.full([BLOCK], E, tl.float32))
    else:
        sign = _elect(total, inside, balances + program, zero_sign, KIND, COUNT)
        summed = tl.zeros([BLOCK], tl.float32)
        count = tl.zeros([BLOCK], tl.float32)
        summed, count = _add(summed, count, v0, sign)
        if E > 1:
            summed, count = _add(summed, count, v1, sign)
        if E > 2:
            summed, count = _add(summed, count, v2, sign)
        if E > 3:
            summed, count = _add(summed, count, v3, sign)
        if WHERE:
            tl.store(contested + index, ((total == 0.0) & (count > 0.0)).to(tl.int8), mask=inside)
        delta = summed
        if DIVIDE:
            if E > 2:
                delta = tl.div_rn(summed, tl.where(count == 0.0, 1.0, count))
            else:  # division by 1 or 2: a product with 1 or 0.5 gives the same bits in a tenth of the time
                delta = summed * tl.where(count > 1.0, 0.5, 1.0)
    if WRITE:
        merged = b + delta * scale
        tl.store(out + index, merged.to(out.dtype.element_ty), mask=inside)


_FAR = 1 << 33
_NARROW = (1 << 31) - 2 * BLOCK  # maximum number of elements whose positions in all blocks fit an int32


def merge(
    out: torch.Tensor,
    base: torch.Tensor,
    terms: Sequence[Term],
    rule: Rule,
    options: PassOptions = DEFAULT_OPTIONS,
) -> PassResult:
    """Merge contiguous CUDA tensors of at most four experts: see `terms.Implementation.merge`.

    Signs are counted only in a mean of several experts. The call waits for the GPU only if the report is
    "contested"; with "balance", the sign balance stays on the GPU.
    """
    return _launch(out, base, terms, rule, options, write=True)


def sign_balance(base: torch.Tensor, terms: Sequence[Term]) -> int | torch.Tensor:
    """Return sum_p sgn(sum_t v_tp) as a tensor that stays on the GPU, without merging."""
    return _launch(base, base, terms, Rule("mean"), PassOptions(report="balance"), write=False).balance


def _launch(
    out: torch.Tensor,
    base: torch.Tensor,
    terms: Sequence[Term],
    rule: Rule,
    options: PassOptions,
    write: bool,
) -> PassResult:
    """Run the kernel. Without `write`, `out` is not touched."""
    count = rule.kind == "mean" and len(terms) > 1 and options.zero_sign != 0 and options.report != "nothing"
    locate = count and options.report == "contested"
    n = base.numel()
    if n == 0:
        return PassResult()
    programs = triton.cdiv(n, BLOCK)
    # If nothing is counted or located, the kernel gets `out` as a pointer that it does not use.
    balances = torch.empty(programs, dtype=torch.int32, device=base.device) if count else out
    contested = torch.empty(n, dtype=torch.int8, device=base.device) if locate else out
    padded = [*terms, *[terms[0]] * (4 - len(terms))]
    numbers = [number for term in padded for number in _numbers(term)]
    flags = [bool(term.cut) for term in padded] + [bool(term.mask) for term in padded]
    with torch.cuda.device(base.device):
        _merge[(programs,)](
            out, base, *[term.tensor for term in padded], balances, contested, n,
            float(rule.scale), int(options.zero_sign),
            *numbers, len(terms), _KINDS[rule.kind], rule.host, rule.normalize, *flags,
            rule.kind == "mean" or rule.normalize, count, locate, write, n > _NARROW, BLOCK,
            num_warps=WARPS, enable_fp_fusion=False,
        )  # fmt: skip
    if not count:
        return PassResult()
    if not locate:
        return PassResult(balances.sum())
    indices = contested.nonzero().view(-1)
    return PassResult(int(balances.sum()), indices if len(indices) else None)


def _numbers(term: Term) -> list[float | int]:
    """Return the scalars of one expert, in the order of _NUMBERS."""
    cut, mask = term.cut, term.mask
    key = [to_int32(word) for word in mask.key] if mask else [0, 0, 0]
    limit = signed_threshold(mask.density) if mask else 0
    # At least 2^32, so that it is a 64-bit argument for every tensor and the kernel is compiled only once.
    until = min(cut.until if cut else 0, term.tensor.numel()) + _FAR
    return [float(term.weight), float(term.factor), cut.bits if cut else 0, until, *key, limit]
