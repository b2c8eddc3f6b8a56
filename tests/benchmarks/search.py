"""How often a race finds what the full grid finds: on resampled full results of a study, without a model.

    python tests/benchmarks/search.py OUT [--budget 0.25] [--runs 200] [--share 1.0]

OUT is the folder of a finished study that evaluated its full grid, such as `demo --full` writes. Each run
draws the clusters of every dataset with replacement, and with them the items of all models. On these items the
settings of each combination race at the budget, as `search: {method: successive_rejects}` does. Two other ways
spend the same: every setting answers the same random share of the items, and a setting is drawn at random.
Each way's choice is compared with the grid's best on all items of the run. `--share 0.3` leaves a random 30 %
of each dataset's clusters, as the split of a study does: there are fewer items to choose by.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mergekit_finance.operators import operator_rank, value_order
from mergekit_finance.statistics.scores import TaskScores
from mergekit_finance.statistics.successive_rejects import rounds, survivors
from mergekit_finance.study.results import StudyResults, load_results
from mergekit_finance.study.subsets import ItemOrder, Items, item_order

POINT, ROUNDING = 0.01, 1e-9
BAR = 0.95
WAYS = ("race", "uniform", "random")
Rows = Mapping[str, np.ndarray]  # task -> rows of its items in the stored results; a row may appear again


def main() -> None:
    """Print one line per combination and one over all. Exits 1 if the race misses a bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--budget", type=float, default=0.25)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--share", type=float, default=1.0)
    options = parser.parse_args()
    results = load_results(options.out, finished=False)
    tasks = {name: results.full[name] for name in results.macro}
    losses: list[dict[str, float]] = []
    print_header()
    for combination, settings in by_combination(results).items():
        of_runs = [run(tasks, settings, seed, options.budget, options.share) for seed in range(options.runs)]
        print_row(f"{combination} ({len(settings)} settings)", of_runs)
        losses += of_runs
    print_row("all", losses)
    sys.exit(0 if meets_bars(losses, options.budget) else 1)


def meets_bars(runs: Sequence[Mapping[str, float]], budget: float) -> bool:
    """Return whether the race is near the grid's best in most runs, within its budget, and the best way."""
    near = {way: np.mean([one[way] <= POINT + ROUNDING for one in runs]) for way in WAYS}
    asked = max(one["asked"] for one in runs)
    print(
        f"bars: at least {BAR:.0%} within one point, at most {budget:.0%} of the answers, the best of the ways"
    )
    return bool(
        near["race"] >= BAR and asked <= budget and near["race"] > max(near["uniform"], near["random"])
    )


def by_combination(results: StudyResults) -> dict[str, list[str]]:
    """Return the points of every combination, in the order in which a race decides ties."""
    ranked: dict[str, list[tuple[object, str]]] = {}
    for name, point in results.points.items():
        rank = operator_rank(point.operator), [value_order(value) for value in point.values.values()]
        ranked.setdefault("+".join(point.combination), []).append((rank, name))
    return {combination: [name for _, name in sorted(points)] for combination, points in ranked.items()}


def run(
    tasks: Mapping[str, TaskScores], settings: Sequence[str], seed: int, budget: float, share: float
) -> dict[str, float]:
    """Return by how much each way's choice is below the grid's best, and the share of answers of the race."""
    rng = np.random.default_rng(seed)
    rows, clusters = drawn(tasks, rng, share)
    order = item_order(clusters, seed)
    everything = {task: np.arange(len(rows[task])) for task in rows}
    whole = macros(tasks, settings, rows, everything)
    winner, asked = race(tasks, settings, rows, order, budget)
    same_share = order.first(round(budget * order.count)).positions
    uniform = int(np.argmax(macros(tasks, settings, rows, same_share)))
    choices = {"race": winner, "uniform": uniform, "random": int(rng.integers(len(settings)))}
    losses = {way: float(whole.max() - whole[choice]) for way, choice in choices.items()}
    return losses | {"asked": asked / (len(settings) * order.count), "items": float(order.count)}


def drawn(
    tasks: Mapping[str, TaskScores], rng: np.random.Generator, share: float
) -> tuple[Rows, dict[str, dict[str, list[int]]]]:
    """Return rows of items drawn by clusters with replacement, and their clusters as `item_order` takes them.

    Tasks that share clusters (a stratum) get the same draws.
    """
    draws: dict[str, np.ndarray] = {}
    rows: dict[str, np.ndarray] = {}
    clusters: dict[str, dict[str, list[int]]] = {}
    for name, task in tasks.items():
        count = max(1, round(share * len(task.names)))
        if task.stratum not in draws:
            draws[task.stratum] = rng.integers(len(task.names), size=count)
        of_task: list[int] = []
        for number, cluster in enumerate(draws[task.stratum]):
            own = np.flatnonzero(task.clusters == cluster).tolist()
            if own:
                first = len(of_task)
                of_task += own
                key = f"{task.stratum}/{number}"
                clusters.setdefault(name, {})[key] = list(range(first, len(of_task)))
        rows[name] = np.array(of_task, dtype=int)
    return {name: rows[name] for name in clusters}, clusters


def macros(
    tasks: Mapping[str, TaskScores],
    settings: Sequence[str],
    rows: Rows,
    positions: Mapping[str, Sequence[int]],
) -> np.ndarray:
    """Return the macro average of every setting on some of the drawn items."""
    scores = np.zeros(len(settings))
    weights = sum(tasks[name].weight for name in positions)
    for name, of_task in positions.items():
        task, taken = tasks[name], rows[name][list(of_task)]
        values = [float(task.totals[s](task.statistics[s][taken].sum(0))) for s in settings]
        scores += task.weight / weights * np.array(values)
    return scores


def race(
    tasks: Mapping[str, TaskScores], settings: Sequence[str], rows: Rows, order: ItemOrder, budget: float
) -> tuple[int, int]:
    """Return the winner's number, and how many answers the race asked for, the winner's rest included."""
    left, asked, before = list(range(len(settings))), 0, 0
    for one in rounds([1] * len(settings), order.count, order.least, budget):
        items: Items = order.first(one.items)
        asked += (items.count - before) * len(left)
        before = items.count
        kept = survivors(macros(tasks, [settings[k] for k in left], rows, items.positions).tolist(), one.kept)
        left = [left[k] for k in kept]
    return left[0], asked + order.count - before


def print_header() -> None:
    """Print the names of the columns."""
    print("share of runs within one point of the grid's best (mean loss in points)")
    print(f"{'combination':<44}{'race':>16}{'uniform':>16}{'random':>16}{'answers':>9}")


def print_row(name: str, runs: Sequence[Mapping[str, float]]) -> None:
    """Print how each way did."""
    cells = []
    for way in WAYS:
        losses = np.array([one[way] for one in runs])
        cells.append(f"{100 * (losses <= POINT + ROUNDING).mean():.1f} % ({100 * losses.mean():.2f})")
    asked = 100 * np.mean([one["asked"] for one in runs])
    print(f"{name:<44}{cells[0]:>16}{cells[1]:>16}{cells[2]:>16}{asked:>7.1f} %")


if __name__ == "__main__":
    main()
