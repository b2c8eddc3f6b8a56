"""The profile of the four models: `python -m mergekit_finance.lab.profile DIR`.

Every task on the same rows, by lm-eval, with bootstrap intervals over clusters of rows. It decides when the
lab is good enough: each expert clearly better than the base at its own skill, and worse at retention. Writes
profile.md and profile.json beside the models.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mergekit_finance.lab import ROLES
from mergekit_finance.lab.probe import RETENTION, SKILL, TOTALS, above_chance
from mergekit_finance.lab.prompts import PROMPTS

LIMIT = 96
RESAMPLES = 400
PREFIX = "finance_bench_"
Cell = dict[str, float]
Table = dict[str, dict[str, Cell]]


def profile(
    folder: Path, limit: int = LIMIT, roles: Sequence[str] = ROLES, tasks: Sequence[str] = tuple(PROMPTS)
) -> Table:
    """Per task and role: score, and its share of the range above chance with a 95 % interval."""
    from mergekit_finance.evaluation.harness import Harness

    metadata = {"source": "lab", "tokenizer": str(folder / roles[0])}
    harness = Harness([PREFIX + task for task in tasks], limit, batch_size=32, metadata=metadata)
    table: Table = {task: {} for task in tasks}
    for role in roles:
        for task, samples in _samples(harness, folder / role).items():
            table[task][role] = cell(task, samples)
    return table


def _samples(harness: Any, folder: Path) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder)
    results = harness.evaluate(model, AutoTokenizer.from_pretrained(folder), str(folder))
    return {name.removeprefix(PREFIX): samples for name, samples in results["samples"].items()}


def cell(task: str, samples: Sequence[Mapping[str, Any]]) -> Cell:
    """One task's number for one model."""
    total = TOTALS.get(task, lambda values: sum(values) / len(values))
    values = [sample["score"] for sample in samples]
    clusters = [sample["doc"]["cluster_id"] for sample in samples]
    low, high = interval(total, values, clusters)
    score = total(values)
    shares = {"above_chance": score, "low": low, "high": high}
    return {"score": round(score, 4), **{k: round(above_chance(task, v), 4) for k, v in shares.items()}}


def interval(
    total: Callable[[Sequence[Any]], float], values: Sequence[Any], clusters: Sequence[str]
) -> tuple[float, float]:
    """95 % of `total` over resampled clusters."""
    groups: dict[str, list[Any]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        groups.setdefault(cluster, []).append(value)
    parts, rng = list(groups.values()), np.random.default_rng(0)
    drawn = (rng.integers(len(parts), size=len(parts)) for _ in range(RESAMPLES))
    totals = [total([value for n in chosen for value in parts[n]]) for chosen in drawn]
    low, high = np.quantile(totals, [0.025, 0.975])
    return float(low), float(high)


def verdicts(table: Table) -> dict[str, dict[str, float]]:
    """What each expert gained of its own skill and kept of general knowledge, against the base."""
    return {
        role: {
            "skill": round(_mean(table, tasks, role) - _mean(table, tasks, "base"), 3),
            "retention": round(_mean(table, RETENTION, role) - _mean(table, RETENTION, "base"), 3),
        }
        for role, tasks in SKILL.items()
    }


def _mean(table: Table, tasks: Sequence[str], role: str) -> float:
    return sum(table[task][role]["above_chance"] for task in tasks) / len(tasks)


def markdown(table: Table, limit: int) -> str:
    """The table as text."""
    roles = list(next(iter(table.values())))
    lines = [
        f"Share of the range above chance on the first {limit} rows of each task, with 95 % intervals.",
        "",
        f"| task | {' | '.join(roles)} |",
        f"|---|{'---|' * len(roles)}",
    ]
    for task, cells in table.items():
        shown = (f"{c['above_chance']:.2f} [{c['low']:.2f}, {c['high']:.2f}]" for c in cells.values())
        lines.append(f"| {task} | {' | '.join(shown)} |")
    if set(roles) == set(ROLES):
        lines += [
            "",
            "| expert against base | own skill (at least +0.2) | retention (at most -0.1) |",
            "|---|---|---|",
        ]
        lines += [f"| {r} | {v['skill']:+.2f} | {v['retention']:+.2f} |" for r, v in verdicts(table).items()]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m mergekit_finance.lab.profile", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder with base, finance, math, japanese")
    parser.add_argument("--limit", type=int, default=LIMIT, help="rows a task")
    asked = parser.parse_args(argv)
    table = profile(asked.folder, asked.limit)
    text = markdown(table, asked.limit)
    (asked.folder / "profile.md").write_text(text, encoding="utf-8")
    stored = {"limit": asked.limit, "tasks": table, "verdicts": verdicts(table)}
    (asked.folder / "profile.json").write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
