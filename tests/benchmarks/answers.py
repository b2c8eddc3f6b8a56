"""Compare the engine `compiled` with lm-eval's `hf`: seconds, and whether the answers are the same.

    python tests/benchmarks/answers.py MODEL                                    lab rows, on a GPU if there is one
    python tests/benchmarks/answers.py MODEL --data-dir MIRROR --limit 100 --batch-sizes 64 128 256
    python tests/benchmarks/answers.py MODEL --parts choices exact              leave out what takes long

MODEL is a folder. Every engine answers the same requests. `hf` is timed once for each batch size, after a
short run that warms it up; `compiled` twice with a batch size of its own choice, and the second time is that
of the second and later models of a sweep. Parts:

    choices      log-likelihoods of all options in bfloat16; items whose choice differs
    generations  texts in bfloat16; texts that differ
    exact        float32 without TF32: largest difference of a log-likelihood, texts that differ
    memory       choices, then generations, of one model in `compiled`: the GPU memory that its tensors take
                 at most, and the memory that PyTorch reserves for them, which other processes cannot use
    tasks        every task by itself, in --dtype on a CPU: the fewest CPU seconds of three runs, of `hf` with
                 its best batch size
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from lm_eval.api.instance import Instance

sys.path.insert(0, str(Path(__file__).parent))

from machine import machine

from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.evaluation.live_models import LiveModels

KINDS = {"choices": "loglikelihood", "generations": "generate_until"}
RETENTION = ("arc", "arc_easy", "boolq", "winogrande", "lambada", "openbookqa", "piqa")
TASKS = ["finance_bench", "finance_bench_probe", *(f"finance_bench_retention_{name}" for name in RETENTION)]
EXACT_ITEMS = 4  # of each task: float32 without TF32 is slow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data-dir", help="mirror of the datasets; default: rows of the lab")
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--limit", type=int, default=20, help="items a task")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 128], help="of `hf`")
    parser.add_argument("--parts", nargs="+", default=["choices", "generations", "exact"])
    parser.add_argument(
        "--dtype", default="float32", help="of the part tasks; default: that of the lab's study"
    )
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    rows = {"data_dir": arguments.data_dir} if arguments.data_dir else {"source": "lab"}
    evaluator = Evaluator(arguments.tasks, metadata={**rows, "tokenizer": arguments.model}, quiet=True)
    requests = evaluator.requests(arguments.limit)
    print(
        f"{machine(arguments.device)}, {arguments.limit} items a task, {len(requests)} requests", flush=True
    )
    for part in arguments.parts:
        if part == "exact":
            compare_exactly(arguments, requests)
        elif part == "memory":
            print_memory(arguments, requests)
        elif part == "tasks":
            compare_each_task(arguments, requests)
        else:
            compare(arguments, part, [one for one in requests if one.request_type == KINDS[part]])


def answers(
    arguments, engine: str, batch_size: int | str, dtype: str
) -> "Callable[[Sequence[Instance]], list]":
    """Return a function that lets a model in one engine answer requests of one kind."""
    models = LiveModels(arguments.device, dtype, batch_size, quiet=True, engine=engine)
    lm = models.load(arguments.model)
    if lm.plain_reason and engine == "compiled":
        raise SystemExit(f"compiled leaves this model to hf: {lm.plain_reason}")
    return lambda requests: getattr(lm, requests[0].request_type)(list(requests))


def timed(answer: "Callable[[Sequence[Instance]], list]", requests: Sequence[Instance]) -> tuple[list, float]:
    synchronize()
    started = time.monotonic()
    result = answer(requests)
    synchronize()
    return result, time.monotonic() - started


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.empty_cache()


def compare(arguments, part: str, requests: Sequence[Instance]) -> None:
    """Print seconds and differences in bfloat16."""
    answer = answers(arguments, "compiled", "auto", "bfloat16")
    first, compiling = timed(answer, requests)
    again, steady = timed(answer, requests)
    print(f"{part:<12} compiled       {compiling:8.2f} s, again {steady:.2f} s", flush=True)
    del answer
    results = []
    for size in arguments.batch_sizes:
        answer = answers(arguments, "hf", size, "bfloat16")
        answer(requests[:size])
        result, seconds = timed(answer, requests)
        del answer
        results.append(result)
        share = differing(part, requests, result, again)
        print(
            f"{part:<12} hf, batch {size:<4} {seconds:8.2f} s; compiled takes {steady / seconds:.2f} of it "
            f"({compiling / seconds:.2f} the first time), other answers {share}",
            flush=True,
        )
    print(f"{part:<12} compiled twice: other answers {differing(part, requests, first, again)}")
    for size, result in zip(arguments.batch_sizes[1:], results[1:], strict=True):
        share = differing(part, requests, results[0], result)
        print(f"{part:<12} hf, batch {size} against {arguments.batch_sizes[0]}: other answers {share}")


def compare_each_task(arguments, requests: Sequence[Instance]) -> None:
    """Print the CPU seconds of both engines for every task, without what other tasks share with it."""
    torch.set_num_threads(1)
    engines = [("compiled", "auto"), *(("hf", size) for size in arguments.batch_sizes)]
    ways = [answers(arguments, engine, size, arguments.dtype) for engine, size in engines]
    by_task: dict[tuple[str, str], list[Instance]] = {}
    for one in requests:
        by_task.setdefault((str(one.task_name), one.request_type), []).append(one)
    for (task, _), some in sorted(by_task.items()):
        for answer in ways:
            answer(some[:4])
        rounds = [[cpu_seconds(answer, some) for answer in ways] for _ in range(3)]
        compiled, *hf = [min(seconds) for seconds in zip(*rounds, strict=True)]
        print(
            f"{task:<36} compiled {compiled:6.2f} s, hf {min(hf):6.2f} s, ratio {compiled / min(hf):.2f}",
            flush=True,
        )


def cpu_seconds(answer: "Callable[[Sequence[Instance]], list]", requests: Sequence[Instance]) -> float:
    started = time.process_time()
    answer(requests)
    return time.process_time() - started


def print_memory(arguments, requests: Sequence[Instance]) -> None:
    """Print the most GiB that tensors took, and that are reserved, during each kind of requests."""
    answer = answers(arguments, "compiled", "auto", "bfloat16")
    for part in [*KINDS, *KINDS]:  # the second time is that of a sweep's second model
        torch.cuda.reset_peak_memory_stats()
        answer([one for one in requests if one.request_type == KINDS[part]])
        taken, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
        print(f"memory       {part:<12} {taken / 2**30:.1f} GiB, reserved {reserved / 2**30:.1f}", flush=True)


def differing(part: str, requests: Sequence[Instance], first: list, second: list) -> str:
    """Return how many items have another choice, or how many texts differ."""
    if part == "generations":
        count, total = sum(x != y for x, y in zip(first, second, strict=True)), len(first)
    else:
        chosen = [choices(requests, result) for result in (first, second)]
        count, total = sum(chosen[0][item] != chosen[1][item] for item in chosen[0]), len(chosen[0])
    return f"{count} of {total} ({100 * count / total:.1f} %)"


def choices(requests: Sequence[Instance], result: list) -> dict[tuple[str, int], int]:
    """Return the most likely option of every item."""
    best: dict[tuple[str, int], tuple[float, int]] = {}
    for one, (likelihood, _) in zip(requests, result, strict=True):
        item = (str(one.task_name), one.doc_id)
        best[item] = max(best.get(item, (float("-inf"), 0)), (likelihood, -one.idx))
    return {item: -option for item, (_, option) in best.items()}


def compare_exactly(arguments, requests: Sequence[Instance]) -> None:
    """Print the largest difference of a log-likelihood, and texts that differ, in float32."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    some = [one for one in requests if one.doc_id < EXACT_ITEMS]
    hf, compiled = (answers(arguments, engine, 16, "float32") for engine in ("hf", "compiled"))
    chosen = [one for one in some if one.request_type == KINDS["choices"]]
    if chosen:
        pairs = list(zip(hf(chosen), compiled(chosen), strict=True))
        largest = max(abs(x - y) for (x, _), (y, _) in pairs)
        beyond = sum(abs(x - y) > max(1e-4, 1e-6 * abs(x)) for (x, _), (y, _) in pairs)
        greedy = sum(x != y for (_, x), (_, y) in pairs)
        print(
            f"exact        {len(pairs)} log-likelihoods: largest difference {largest:.6f}, {beyond} beyond "
            f"max(1e-4, 1e-6 |ll|), {greedy} with another greedy flag",
            flush=True,
        )
    written = [one for one in some if one.request_type == KINDS["generations"]]
    if written:
        count = sum(x != y for x, y in zip(hf(written), compiled(written), strict=True))
        print(f"exact        {len(written)} texts: {count} differ")


if __name__ == "__main__":
    main()
