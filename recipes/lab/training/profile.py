"""Evaluate the four models with lm-eval. In recipes/lab: `python -m training.profile DIR`.

All models answer the same rows of every task. Intervals are from a bootstrap over clusters of rows. Writes
profile.md and profile.json to the folder of the models. `training.criteria` judges them.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoModelForCausalLM, AutoTokenizer

from mergekit_finance.evaluation.answering import AnsweringModel
from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.files import atomic_write, write_json
from mergekit_finance.lab import ROLES

from .probe import TOTALS, above_chance, changes
from .prompts import PROMPTS

LIMIT = 96
RESAMPLES = 400
PREFIX = "finance_bench_"
Cell = dict[str, float]  # score, above_chance, low, high
Table = dict[str, dict[str, Cell]]  # task, role


def profile(
    folder: Path,
    limit: int = LIMIT,
    roles: Sequence[str] = ROLES,
    tasks: Sequence[str] = tuple(PROMPTS),
    max_gen_toks: int | None = None,
    device: str = "cpu",
    dtype: str = "auto",
) -> Table:
    """Evaluate the models of `roles` in `folder`.

    Args:
        folder: Has a subfolder for every model.
        limit: Rows per task.
        roles: Names of the subfolders.
        tasks: Without the prefix `finance_bench_`.
        max_gen_toks: Upper bound on the length of answers; None: that of each task.
        device: Where the models answer.
        dtype: `float32`, `bfloat16`, or `auto`: as the weights are stored.

    Returns:
        Per task and role: the score, and the score above chance (`probe.above_chance`) with a 95 % interval.
    """
    metadata = {"source": "lab", "tokenizer": str(folder / roles[0])}
    names = [PREFIX + task for task in tasks]
    # A process evaluates few models here: capturing graphs on a GPU would take longer than it saves.
    engine, batch = ("compiled", 32) if device == "cpu" else ("hf", 96)
    evaluator = Evaluator(
        names, batch_size=batch, metadata=metadata, max_gen_toks=max_gen_toks, device=device, engine=engine
    )
    table: Table = {task: {} for task in tasks}
    for role in roles:
        model = AutoModelForCausalLM.from_pretrained(folder / role, dtype=dtype)
        tokenizer = AutoTokenizer.from_pretrained(folder / role)
        live = AnsweringModel(partial(evaluator.live_models.wrap, model, tokenizer))
        results, _ = evaluator.measure(live, str(folder / role), limit)
        for name, samples in results["samples"].items():
            task = name.removeprefix(PREFIX)
            table[task][role] = cell(task, samples)
    return table


def cell(task: str, samples: Sequence[Mapping[str, Any]]) -> Cell:
    """Return the numbers of one task and one model, from lm-eval's samples."""
    total = TOTALS.get(task, lambda values: sum(values) / len(values))
    values = [sample["score"] for sample in samples]
    low, high = interval(total, values, [sample["doc"]["cluster_id"] for sample in samples])
    score = total(values)
    return {
        "score": round(score, 4),
        "above_chance": round(above_chance(task, score), 4),
        "low": round(above_chance(task, low), 4),
        "high": round(above_chance(task, high), 4),
    }


def interval(
    total: Callable[[Sequence[Any]], float], values: Sequence[Any], clusters: Sequence[str]
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of `total(values)` over resampled clusters."""
    groups: dict[str, list[Any]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        groups.setdefault(cluster, []).append(value)
    parts, rng = list(groups.values()), np.random.default_rng(0)
    draws = (rng.integers(len(parts), size=len(parts)) for _ in range(RESAMPLES))
    totals = [total([value for n in chosen for value in parts[n]]) for chosen in draws]
    low, high = np.quantile(totals, [0.025, 0.975])
    return float(low), float(high)


def changes_against_base(table: Table) -> dict[str, dict[str, float]]:
    """Return by how much each expert's own skill and its retention differ from the base, rounded."""
    shares = {
        task: {role: numbers["above_chance"] for role, numbers in cells.items()}
        for task, cells in table.items()
    }
    return {
        role: {"skill": round(skill, 3), "retention": round(retention, 3)}
        for role, (skill, retention) in changes(shares).items()
    }


def markdown(table: Table, limit: int) -> str:
    """Return the profile as Markdown tables."""
    roles = list(next(iter(table.values())))
    lines = [
        f"Scores above chance (0: guessing, 1: all correct) on the first {limit} rows, with 95 % intervals.",
        "",
        f"| task | {' | '.join(roles)} |",
        f"|---|{'---|' * len(roles)}",
    ]
    for task, cells in table.items():
        shown = (f"{c['above_chance']:.2f} [{c['low']:.2f}, {c['high']:.2f}]" for c in cells.values())
        lines.append(f"| {task} | {' | '.join(shown)} |")
    if set(roles) == set(ROLES):
        lines += ["", "| expert against base | own skill | retention |", "|---|---|---|"]
        for role, change in changes_against_base(table).items():
            lines.append(f"| {role} | {change['skill']:+.2f} | {change['retention']:+.2f} |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate the models, write profile.md and profile.json, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m training.profile", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder with base, finance, math, japanese")
    parser.add_argument("--limit", type=int, default=LIMIT, help="rows per task")
    options = parser.parse_args(argv)
    print(write(options.folder, profile(options.folder, options.limit), options.limit))


def write(folder: Path, table: Table, limit: int) -> str:
    """Write profile.md and profile.json, and return the former."""
    text = markdown(table, limit)
    atomic_write(folder / "profile.md", text)
    stored = {"limit": limit, "tasks": table, "verdicts": changes_against_base(table)}
    write_json(folder / "profile.json", stored, indent=1)
    return text


if __name__ == "__main__":
    main()
