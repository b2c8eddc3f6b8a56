"""The CPU kernels alone, in nanoseconds an element of the output: no imports, no files.

python tests/benchmarks/engine.py [--repeats 5] [--elements 16777216]

Random bf16: a base and two experts. Best of the repeats; the floor is base + a + b in bf16.
"""

import argparse
import time
from collections.abc import Callable

import torch

from mergekit_finance.engine import blocks, cuts
from mergekit_finance.engine.finite import all_finite
from mergekit_finance.engine.masks import keep_mask, mask_key
from mergekit_finance.engine.terms import Cut, Mask, Rule, Term

BARS = {"mask, one model": "6"}


def best(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def sorted_cut(base: torch.Tensor, expert: torch.Tensor, k: int) -> torch.Tensor:
    """Trim as mergekit does, which is compared with our selection."""
    return torch.argsort((expert.float() - base.float()).abs(), descending=True)[:k]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--elements", type=int, default=1 << 24)
    options = parser.parse_args()
    n, generator = options.elements, torch.Generator().manual_seed(0)
    base = (torch.randn(n, generator=generator) * 0.02).bfloat16()
    a, b = ((base.float() + torch.randn(n, generator=generator) * 5e-4).bfloat16() for _ in range(2))
    out, cut = torch.empty_like(base), cuts.exact_cuts(base, a, [n // 2])[0]
    trimmed = [Term(a, cut=cut), Term(b, cut=Cut(cut.bits, n // 2))]
    keys = [mask_key(0, m, "w") for m in "ab"]
    dropped = [Term(e, mask=Mask(k, 0.5), factor=2.0) for e, k in zip((a, b), keys, strict=True)]
    parts: dict[str, Callable[[], object]] = {
        "floor: base + a + b": lambda: base + a + b,
        "input check, one model": lambda: all_finite(a),
        "mask, one model": lambda: keep_mask(base.shape, 0.5, keys[0], base.device),
        "one exact cut, one model": lambda: cuts.exact_cuts(base, a, [n // 2]),
        "ten exact cuts, one model": lambda: cuts.exact_cuts(
            base, a, [n * i // 10 for i in range(1, 10)] + [n]
        ),
        "TA": lambda: blocks.merge(out, base, [Term(a), Term(b)], Rule("sum", 0.5)),
        "TIES, paper, cuts given": lambda: blocks.merge(out, base, trimmed, Rule("mean")),
        "TIES, mergekit, cuts given": lambda: blocks.merge(
            out, base, trimmed, Rule("consensus", host=True, normalize=True)
        ),
        "DARE-TIES, paper": lambda: blocks.merge(out, base, dropped, Rule("mean")),
        "a sort of one model": lambda: sorted_cut(base[: n // 8], a[: n // 8], n // 16),
    }
    print(f"{n} elements, {torch.get_num_threads()} threads, best of {options.repeats}")
    print(f"{'':30}{'ns an element':>14}{'bar':>6}")
    for name, work in parts.items():
        size = n // 8 if "sort" in name else n
        took = 1e9 * best(work, options.repeats) / size
        print(f"{name:30}{took:>14.2f}{BARS.get(name, '-'):>6}", flush=True)


if __name__ == "__main__":
    main()
