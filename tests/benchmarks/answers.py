"""Compare the engine `compiled` with lm-eval's `hf`: seconds, and whether the answers are the same.

    python tests/benchmarks/answers.py MODEL                                    lab rows, on a GPU if there is one
    python tests/benchmarks/answers.py MODEL --data-dir MIRROR --limit 100 --batch-sizes 64 128 256
    python tests/benchmarks/answers.py MODEL --parts choices exact              leave out what takes long

MODEL is a folder. Every engine answers the same requests. `hf` is timed once for each batch size, after a
short run that warms it up; `compiled` twice with a batch size of its own choice, and the second time is that
of the second and later models of a sweep. Parts:

    choices      log-likelihoods of all options in bfloat16; items whose choice differs
    options      the same, apart for items with 2, 3, 4 and more options of several tokens after one prompt
    generations  texts in bfloat16; texts that differ
    exact        float32 without TF32: largest difference of a log-likelihood, choices that differ; texts
                 that differ, each with the gap between its two best logits where the two texts part
    memory       choices, then generations, of one model in `compiled`: the GPU memory that its tensors take
                 at most, and the memory that PyTorch reserves for them, which other processes cannot use
    tasks        every task by itself, in --dtype on a CPU: the fewest CPU seconds of three runs, of `hf` with
                 its best batch size
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
from lm_eval.api.instance import Instance

sys.path.insert(0, str(Path(__file__).parent))

from machine import machine

from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.evaluation.live_models import LiveModels
from mergekit_finance.models.loading import load_tokenizer

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
    parser.add_argument(
        "--exact-items", type=int, nargs=2, default=[EXACT_ITEMS] * 2, metavar=("CHOICES", "GENERATIONS"),
        help="items a task of the part exact",
    )  # fmt: skip
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
        elif part == "options":
            for count, some in by_options(arguments.model, requests).items():
                compare(arguments, part, some, f"{count} options")
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


def by_options(model: str, requests: Sequence[Instance]) -> dict[int, list[Instance]]:
    """Return the requests of items whose options follow one prompt and have several tokens each, by their number."""
    tokenizer = load_tokenizer(model)
    items: dict[tuple[str, int], list[Instance]] = {}
    for one in requests:
        if one.request_type == KINDS["choices"]:
            items.setdefault((str(one.task_name), one.doc_id), []).append(one)
    groups: dict[int, list[Instance]] = {}
    for options in items.values():
        prompts, continuations = zip(*(one.arguments for one in options), strict=True)
        long = all(len(tokenizer(text, add_special_tokens=False).input_ids) > 1 for text in continuations)
        if long and len(options) > 1 and len(set(prompts)) == 1:
            groups.setdefault(len(options), []).extend(options)
    return dict(sorted(groups.items()))


def compare(arguments, part: str, requests: Sequence[Instance], title: str = "") -> None:
    """Print seconds and differences in bfloat16."""
    title = title or part
    answer = answers(arguments, "compiled", "auto", "bfloat16")
    first, compiling = timed(answer, requests)
    again, steady = timed(answer, requests)
    print(f"{title:<12} compiled       {compiling:8.2f} s, again {steady:.2f} s", flush=True)
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
            f"{title:<12} hf, batch {size:<4} {seconds:8.2f} s; compiled takes {steady / seconds:.2f} of it "
            f"({compiling / seconds:.2f} the first time), other answers {share}",
            flush=True,
        )
    print(f"{title:<12} compiled twice: other answers {differing(part, requests, first, again)}")
    for size, result in zip(arguments.batch_sizes[1:], results[1:], strict=True):
        share = differing(part, requests, results[0], result)
        print(f"{title:<12} hf, batch {size} against {arguments.batch_sizes[0]}: other answers {share}")


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
    """Print differences of log-likelihoods, of choices and of texts in float32."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    ways = {"compiled": ("compiled", 16), "hf, batch 4": ("hf", 4)}
    hf = answers(arguments, "hf", 16, "float32")
    others = {way: answers(arguments, *engine, "float32") for way, engine in ways.items()}
    some = dict(zip(KINDS, arguments.exact_items, strict=True))
    chosen, written = (
        [one for one in requests if one.request_type == kind and one.doc_id < some[part]]
        for part, kind in KINDS.items()
    )
    if chosen:
        first = hf(chosen)
        for way, answer in others.items():
            print(
                f"exact        {way} against hf, batch 16: {of_likelihoods(chosen, first, answer(chosen))}",
                flush=True,
            )
    if written:
        first, second = hf(written), others["compiled"](written)
        print(f"exact        texts that differ: {differing('generations', written, first, second)}")
        for one, *texts in zip(written, first, second, strict=True):
            if texts[0] != texts[1]:
                gap, after = gap_of_logits(arguments, one, texts)
                print(
                    f"exact        {one.task_name} {one.doc_id}: gap {gap:.6f} after {after} tokens",
                    flush=True,
                )


def of_likelihoods(requests: Sequence[Instance], first: list, second: list) -> str:
    """Return how far two results of the same requests are apart."""
    pairs = list(zip(first, second, strict=True))
    largest = max(abs(x - y) for (x, _), (y, _) in pairs)
    beyond = sum(abs(x - y) > max(1e-4, 1e-6 * abs(x)) for (x, _), (y, _) in pairs)
    greedy = sum(x != y for (_, x), (_, y) in pairs)
    return (
        f"{len(pairs)} log-likelihoods, largest difference {largest:.6f}, {beyond} beyond "
        f"max(1e-4, 1e-6 |ll|), {greedy} with another greedy flag; other choices "
        f"{differing('choices', requests, first, second)}"
    )


@cache
def exact_model(model: str, device: str):
    """Return a model in float32, and its tokenizer."""
    lm = LiveModels(device, "float32", 1, quiet=True, engine="hf").load(model)
    return lm.model, lm.tokenizer


def gap_of_logits(arguments, one: Instance, texts: Sequence[str]) -> tuple[float, int]:
    """Return the gap between the two best logits where two answers part, and after how many tokens of them."""
    model, tokenizer = exact_model(arguments.model, arguments.device)
    prompt = tokenizer(one.arguments[0]).input_ids
    first, second = (tokenizer(text, add_special_tokens=False).input_ids for text in texts)
    same = next(
        (n for n, (x, y) in enumerate(zip(first, second, strict=False)) if x != y),
        min(len(first), len(second)),
    )
    with torch.inference_mode():
        logits = model(torch.tensor([prompt + first[:same]], device=arguments.device)).logits[0, -1]
    best = logits.topk(2).values.tolist()
    return best[0] - best[1], same


if __name__ == "__main__":
    main()
