"""GPU kernels: their bits against the CPU's, and the time of a point over 16 Llama-3-8B layers.

python tests/benchmarks/gpu_engine.py [--small] [--device cuda] [--devices cuda:0,cuda:1]

Also measures similarity: the device's numbers against the CPU's, and the time. With --devices, tensors are
placed on several GPUs as a MergeSession places them (skipped if a GPU is missing).

Needs torch and a GPU, but neither mergekit nor transformers. The data are random bf16: a base and two experts in
the shapes of 16 layers of Llama-3-8B with embedding and head (4.54 B elements, 27 GB; outputs share one
buffer). A point is what MergeSession.apply launches after `prepare`, without the work of the host: cuts and
majority are known. The row `counted` is a density that was not prepared, so that signs are counted during the
merge and waited for once; `sign balance` is the counting that `prepare` does.

Bars on one H200: a Task Arithmetic point 12 ms, a TIES point after preparation 15 ms, 0 elements
different from the CPU given the same cuts; similarity within 1e-12 of the CPU's.
"""

import argparse
import math
import statistics
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the package need not be installed

from mergekit_finance.engine import blocks, cuts, dispatch, plain_torch, top_k
from mergekit_finance.engine.masks import keep_mask, mask_key
from mergekit_finance.engine.terms import Cut, Mask, PassOptions, PassResult, Rule, Term
from mergekit_finance.merging.placement import OutputTensor, place
from mergekit_finance.similarity.entries import result
from mergekit_finance.similarity.measures import Accumulator

HIDDEN, MLP, NARROW, VOCAB = 4096, 14336, 1024, 128256
LAYER = {
    "q": (HIDDEN, HIDDEN),
    "k": (NARROW, HIDDEN),
    "v": (NARROW, HIDDEN),
    "o": (HIDDEN, HIDDEN),
    "gate": (MLP, HIDDEN),
    "up": (MLP, HIDDEN),
    "down": (HIDDEN, MLP),
    "norm1": (HIDDEN,),
    "norm2": (HIDDEN,),
}
Models = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def shapes(layers: int, shrink: int = 1) -> dict[str, tuple[int, ...]]:
    full = {f"layers.{i}.{n}": s for i in range(layers) for n, s in LAYER.items()}
    full |= {"embed": (VOCAB, HIDDEN), "head": (VOCAB, HIDDEN), "norm": (HIDDEN,)}
    return {n: (max(1, s[0] // shrink), *s[1:]) for n, s in full.items()}


def make(shape: tuple[int, ...], generator: torch.Generator, device: str) -> Models:
    """Return a base and two experts, in bf16: many of their differences are 0 or equal."""
    draw = lambda scale: torch.randn(shape, generator=generator, device=device) * scale  # noqa: E731
    base = draw(0.02).bfloat16()
    return base, (base + draw(5e-4)).bfloat16(), (base + draw(5e-4)).bfloat16()


def terms_of(models: Models, name: str, operator: str, limits: list[Cut | None]) -> tuple[list[Term], Rule]:
    _, *experts = models
    if operator == "TA":
        return [Term(e) for e in experts], Rule("sum", 0.4)
    if operator in ("TIES", "TIES (mergekit)"):
        rule = Rule("mean", 0.7) if operator == "TIES" else Rule("consensus", 0.7, True, True)
        return [Term(e, cut=c) for e, c in zip(experts, limits, strict=True)], rule
    masks = [Mask(mask_key(0, m, name), 0.3) for m in ("a", "b")]
    pairs = zip(experts, masks, strict=True)
    return [Term(e, mask=m, factor=1.0 / 0.3) for e, m in pairs], Rule("mean", 0.7)


OPERATORS = ("TA", "TIES", "TIES (mergekit)", "DARE-TIES")


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.cpu().view(torch.int16)


def check(data: dict[str, Models], least: int, merge: Callable[..., object], label: str) -> None:
    """Compare every bit of merged tensors with the CPU's; outputs start as NaN."""
    elements, different = 0, dict.fromkeys(OPERATORS, 0)
    for name, models in sorted(data.items(), key=lambda item: item[1][0].numel()):
        if elements >= least:
            break
        host: Models = tuple(m.cpu() for m in models)  # type: ignore[assignment]
        n = host[0].numel()
        limits = [cuts.exact_cuts(host[0], e, [max(1, n // 3)])[0] for e in host[1:]]
        for operator in OPERATORS:
            out = torch.full_like(models[0], float("nan"))
            expected = torch.full_like(host[0], float("nan"))
            merge(out, models[0], *terms_of(models, name, operator, limits))
            blocks.merge(expected, host[0], *terms_of(host, name, operator, limits))
            different[operator] += int((bits(out) != bits(expected)).sum())
        elements += n
    shown = ", ".join(f"{operator} {count}" for operator, count in different.items())
    print(f"{label}: elements of {elements / 1e6:.0f} M that differ from the CPU: {shown} (bar: 0)")


def _same(one: PassResult, other: PassResult) -> bool:
    where = [e.contested if e.contested is not None else torch.zeros(0) for e in (one, other)]
    return one.balance == other.balance and where[0].tolist() == where[1].tolist()


def check_ranking(data: dict[str, Models], device: str) -> None:
    """Compare cuts, masks and sign counts with the CPU's."""
    name = min((n for n in data if data[n][0].numel() > 1 << 20), key=lambda n: data[n][0].numel())
    base, first, second = data[name]
    k = base.numel() // 5
    ours, theirs = (cuts.exact_cuts(b, e, [k, 2 * k]) for b, e in ((base, first), (base.cpu(), first.cpu())))
    key = mask_key(1, "a", name)
    masks = [keep_mask(base.shape, 0.3, key, torch.device(d)).cpu() for d in (device, "cpu")]
    results = []
    for models in ((base, first, second), (base.cpu(), first.cpu(), second.cpu())):
        out = torch.empty_like(models[0])
        results.append(dispatch.merge(out, models[0], *terms_of(models, name, "TIES", ours)))
    print(f"{name}: cuts equal {ours == theirs}, masks equal {torch.equal(*masks)}, "
          f"counts equal {_same(*results)} (sign balance {results[0].balance})")  # fmt: skip


def timed(work: Callable[[], object], device: str, repeats: int = 15) -> tuple[float, float]:
    """Return median and spread of `work` in ms, measured by events."""
    if torch.device(device).type != "cuda":
        start = time.perf_counter()
        work()
        return 1000 * (time.perf_counter() - start), 0.0
    times = []
    for _ in range(repeats + 3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times[3:]), max(times[3:]) - min(times[3:])


def whole_cuts(data: dict[str, Models], density: float) -> list[Cut]:
    """Return one cut of each expert's whole vector; ties are kept, timing does not depend on them."""
    n = sum(m[0].numel() for m in data.values())
    limits = []
    for i in (1, 2):
        high = sum(cuts.high_counts(m[0], m[i]) for m in data.values())
        bin_, remaining = top_k.kth_bin(high, int(density * n))
        low = sum(cuts.low_counts(m[0], m[i], [bin_])[bin_] for m in data.values())
        limits.append(Cut(top_k.threshold_in_bin(bin_, low, remaining).bits, cuts.ALL_TIES))
    return limits


def point(
    data: dict[str, Models], operator: str, limits: list[Cut], merge: Callable[..., object]
) -> Callable[[], None]:
    """Return a prepared point: one launch of the kernel for every output tensor."""
    calls = [
        (OUT[: models[0].numel()], models[0], *terms_of(models, name, operator, limits))
        for name, models in data.items()
    ]

    def run() -> None:
        dispatch.total_balance(
            [0 if result is None else result.balance for result in [merge(*call) for call in calls]]
        )

    return run


def counted_merge(*arguments: object) -> object:
    """Merge as at a density that was not prepared."""
    return dispatch.merge(*arguments, PassOptions(report="balance"))  # type: ignore[arg-type]


def count_signs(out: torch.Tensor, base: torch.Tensor, terms: list[Term], rule: Rule) -> PassResult:
    """Count signs as `prepare` does."""
    return PassResult(dispatch.sign_balance(base, terms))


def replayed(run: Callable[[], None], device: str) -> str:
    """Return the time of the same launches as a CUDA graph, without the host; '-' where that fails."""
    if torch.device(device).type != "cuda":
        return "-"
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        return f"{timed(graph.replay, device)[0]:.2f}"
    except Exception as fault:
        return f"- ({type(fault).__name__})"


OUT = torch.empty(0)


def benchmark(data: dict[str, Models], device: str, merge: Callable[..., object], label: str) -> None:
    n = sum(m[0].numel() for m in data.values())
    start = time.perf_counter()
    limits = whole_cuts(data, 0.2)
    print(f"{label}: whole-vector cuts of {n / 1e9:.2f} B elements, both experts: "
          f"{time.perf_counter() - start:.2f} s")  # fmt: skip
    print(f"{label:22}{'ms a point':>12}{'spread':>9}{'GB/s':>9}{'bar':>7}{'as a graph':>12}")
    for operator, bar in (("TA", "12"), ("TIES", "15"), ("TIES (mergekit)", "15"), ("DARE-TIES", "-")):
        run = point(data, operator, limits, merge)
        middle, spread = timed(run, device)
        rate = 8 * n / middle / 1e6
        graph = replayed(run, device)
        print(f"  {operator:20}{middle:>12.2f}{spread:>9.2f}{rate:>9.0f}{bar:>7}{graph:>12}", flush=True)
    if merge is quick_merge:
        for name, other in (("TIES counted", counted_merge), ("TIES sign balance", count_signs)):
            middle, spread = timed(point(data, "TIES", limits, other), device)
            print(f"  {name:20}{middle:>12.2f}{spread:>9.2f}", flush=True)


# ---- similarity


def measure(data: dict[str, Models], device: str, everything: bool = True) -> dict[str, Any]:
    """Measure what `mergekit-finance similarity --device` measures, from tensors in memory."""
    accumulator = Accumulator("base", ["a", "b"], device=device, everything=everything)
    for name, (base, a, b) in data.items():
        accumulator.add(name, base, {"a": a, "b": b})
    return result(accumulator)


def leaves(value: Any) -> Iterator[Any]:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if parts is None:
        yield value
    else:
        for part in parts:
            yield from leaves(part)


def distance(one: Any, other: Any) -> float:
    """Return the largest difference of two results, relative for numbers above 1.

    Absolute below 1: a cosine near 0 is no more exact than the norms it comes from. Infinite if anything but
    floats differs.
    """
    worst = 0.0
    for x, y in zip(leaves(one), leaves(other), strict=True):
        if isinstance(x, float) and isinstance(y, float):
            worst = max(worst, abs(x - y) / max(abs(x), abs(y), 1.0))
        elif x != y:
            return math.inf
    return worst


def similarity(data: dict[str, Models], device: str, least: int) -> None:
    """Compare the device's numbers with the CPU's on the smaller tensors, then time all tensors."""
    part: dict[str, Models] = {}
    for name, models in sorted(data.items(), key=lambda item: item[1][0].numel()):
        if sum(m[0].numel() for m in part.values()) < least:
            part[name] = models
    host: dict[str, Models] = {n: tuple(t.cpu() for t in m) for n, m in part.items()}  # type: ignore[misc]
    n = sum(m[0].numel() for m in part.values())
    difference = distance(measure(part, device), measure(host, "cpu"))
    print(f"similarity: {n / 1e6:.0f} M elements on {device}, largest difference from the CPU: "
          f"{difference:.1e} (bar: 1e-12)")  # fmt: skip
    total = sum(m[0].numel() for m in data.values())
    for everything, label in ((False, "L2 and cosines"), (True, "everything")):
        for place_, chosen, size in (("resident", data, total), ("from host memory", host, n)):
            start = time.perf_counter()
            measure(chosen, device, everything)
            took = time.perf_counter() - start
            rate = f"{6 * size / took / 1e9:.0f} GB/s"
            print(f"  {label:16}{place_:18}{size / 1e9:>7.2f} B{took:>8.2f} s{rate:>12}", flush=True)


# ---- several devices


@dataclass(frozen=True)
class Entry:
    """The part of mergekit's TensorEntry that `place` uses."""

    tensor: torch.Tensor


@dataclass(frozen=True)
class Group:
    """The part of mergekit's TensorGroup that `place` uses."""

    entries: tuple[Entry, ...]
    metadata: Any

    @property
    def tensors(self) -> list[torch.Tensor]:
        return [entry.tensor for entry in self.entries]


def output_tensors(data: dict[str, Models]) -> list[OutputTensor]:
    groups = [Group(tuple(map(Entry, m)), types.SimpleNamespace(name=n)) for n, m in data.items()]
    return [OutputTensor(group, {}, torch.bfloat16, None) for group in groups]


def missing(devices: list[str]) -> list[str]:
    def usable(name: str) -> bool:
        try:
            torch.zeros(1, device=name).item()
        except (RuntimeError, AssertionError):
            return False
        return True

    return [name for name in devices if not usable(name)]


def sharded(data: dict[str, Models], names: list[str]) -> None:
    """Merge a point on several devices and on the first alone; compare bits, measure times."""
    if absent := missing(names):
        print(f"several devices: skipped, {', '.join(absent)} cannot be used here")
        return
    outs = []
    for chosen in (names[:1], names):
        devices = [torch.device(name) for name in chosen]
        tensors = output_tensors(data)
        place(tensors, devices)
        spread = [
            sum(tensor.size for tensor in tensors if tensor.device == d) / 1e9 for d in dict.fromkeys(devices)
        ]
        points = {tensor.name: torch.empty_like(tensor.group.tensors[0]) for tensor in tensors}

        def run(tensors: list[OutputTensor] = tensors, points: dict[str, torch.Tensor] = points) -> None:
            for tensor in tensors:  # launches return at once: devices work side by side
                models = tuple(tensor.inputs().tensors) if tensor.streamed else tuple(tensor.group.tensors)
                quick_merge(points[tensor.name], models[0], *terms_of(models, tensor.name, "TA", []))

        run()
        middle = waited(run, devices)
        print(f"  {','.join(chosen):24}{middle:>9.2f} ms a point; GB on each: {spread}", flush=True)
        outs.append({n: bits(t) for n, t in points.items()})
    different = sum(int((outs[0][n] != outs[1][n]).sum()) for n in outs[0])
    print(f"several devices: {different} elements differ from one device (bar: 0)")


def waited(work: Callable[[], object], devices: list[torch.device], repeats: int = 9) -> float:
    """Return the median time in ms until all devices are done."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        for device in devices:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def quick_merge(*arguments: object) -> object:
    """Merge as a prepared point does: the majority is known, nothing is counted or waited for."""
    return dispatch.merge(*arguments, PassOptions(report="nothing"))  # type: ignore[arg-type]


def section(name: str, work: Callable[[], None]) -> None:
    """Run one part; if it fails, print why and go on."""
    try:
        work()
    except Exception:
        print(f"FAILED: {name}")
        traceback.print_exc(file=sys.stdout)
    sys.stdout.flush()


def main() -> None:
    global OUT
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--devices", help="cuda:0,cuda:1: a point over several, too")
    parser.add_argument("--small", action="store_true", help="1 layer, a 64th of its size")
    options = parser.parse_args()
    device, start = options.device, time.perf_counter()
    name = torch.cuda.get_device_name(0) if torch.cuda.is_available() else device
    print(f"{name}, torch {torch.__version__}, engine: {dispatch.implementation(device)}")
    generator = torch.Generator(device).manual_seed(0)
    all_shapes = shapes(1, 64) if options.small else shapes(16)
    data = {n: make(shape, generator, device) for n, shape in all_shapes.items()}
    OUT = torch.empty(max(m[0].numel() for m in data.values()), dtype=torch.bfloat16, device=device)
    least = 67_000_000 if not options.small else 1
    section("bits", lambda: check(data, least, dispatch.merge, "kernel"))
    section("bits of the plain path", lambda: check(data, least // 8, plain_torch.merge, "plain torch"))
    section("ranking", lambda: check_ranking(data, device))
    section("time", lambda: benchmark(data, device, quick_merge, f"{dispatch.implementation(device)} kernel"))
    section("similarity", lambda: similarity(data, device, least))
    if options.devices:
        section("several devices", lambda: sharded(data, options.devices.split(",")))
    print(f"took {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
