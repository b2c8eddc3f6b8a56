"""Differences over training seeds: selection on other items, paired replicates, and one test for all seeds."""

import json
from itertools import permutations

import numpy as np
import pytest
from helpers import report
from helpers.lab_training import over_seeds
from scipy.stats import spearmanr

from mergekit_finance.study.results import load_results

TASK = "finance_bench_fpb"
CLUSTERS = 40


def _study(folder, scores):
    """A study of the pair finance + math on one task with a cluster per item.

    Args:
        scores: by model or by (λ of finance, λ of math): shares of right answers on the items that select
            hyperparameters, and on the other items.
    """
    merges = [key for key in scores if isinstance(key, tuple)]
    tasks = {TASK: report.default_tasks()[TASK]}
    combinations = {2: [("finance", "math")]}
    lambdas = [float(k) for k in range(len(merges))]
    out = report.study(folder, tasks, combinations, {"task_arithmetic": lambdas}, items=CLUSTERS)
    index = json.loads((out / "index.json").read_text())
    summary = json.loads((out / "summary.json").read_text())
    for point, (finance, math) in zip(index["points"], merges, strict=True):
        point["values"] = {"lambda.finance": finance, "lambda.math": math}
        summary["points"][point["name"]]["values"] = point["values"]
    for name, content in (("index.json", index), ("summary.json", summary)):
        (out / name).write_text(json.dumps(content))
    selecting = np.array(load_results(out).is_selection_item(TASK))
    folders = {p["name"]: (m, p["folder"]) for p, m in zip(index["points"], merges, strict=True)}
    folders |= {name: (name, entry["folder"]) for name, entry in index["models"].items()}
    for key, place in folders.values():
        on_selection, on_report = scores.get(key, (0.0, 0.0))
        right = np.zeros(CLUSTERS)
        for share, rows in (
            (on_selection, np.flatnonzero(selecting)),
            (on_report, np.flatnonzero(~selecting)),
        ):
            right[rows[: round(share * len(rows))]] = 1.0
        path = out / "points" / place / "scores.json"
        content = json.loads(path.read_text())
        content[TASK] |= {"correct": right.tolist(), "score": right.tolist()}
        path.write_text(json.dumps(content))
    return out


def _points_of(out, *values):
    points = load_results(out).points.items()
    return [
        name
        for v in values
        for name, p in points
        if (p.values["lambda.finance"], p.values["lambda.math"]) == v
    ]


GRID = {
    (0.3, 0.3): (0.2, 1.0),
    (1.0, 1.0): (0.6, 0.5),
    (1.0, 0.3): (0.9, 0.75),
    (0.3, 1.0): (0.1, 1.0),
    "base": (0.0, 0.25),
    "finance": (0.0, 0.5),
}


def test_both_kinds_of_scales_are_selected_on_selection_items_and_compared_on_the_others(tmp_path):
    out = _study(tmp_path / "0", GRID)
    [chosen] = over_seeds.scales(load_results(out)).values()
    assert [chosen.one, chosen.each] == _points_of(out, (1.0, 1.0), (1.0, 0.3))
    table = over_seeds.scales_table(over_seeds.Seeds([out]))
    assert "| finance + math | +25.0 [" in table and "| mean | +25.0 [" in table


def test_one_scale_that_is_the_best_of_all_is_compared_with_itself(tmp_path):
    out = _study(tmp_path / "0", GRID | {(1.0, 1.0): (1.0, 0.5)})
    table = over_seeds.scales_table(over_seeds.Seeds([out]))
    assert table.splitlines()[-1] == "| mean | +0.0 [+0.0, +0.0] | +0.0 [+0.0, +0.0] |"


def test_the_mean_over_seeds_is_paired_by_item_and_has_the_mean_value(tmp_path):
    same = _study(tmp_path / "0", GRID)
    other = _study(tmp_path / "1", GRID | {(1.0, 0.3): (0.9, 1.0)})
    line = over_seeds.scales_table(over_seeds.Seeds([same, same])).splitlines()[-1].split(" | ")
    assert line[1] == line[2] == line[3].removesuffix(" |")  # the same draws in both: no narrower interval
    seeds = over_seeds.Seeds([same, other])
    cells = over_seeds.scales_table(seeds).splitlines()[-1].split(" | ")
    assert [cell.split(" ")[0] for cell in cells[1:]] == ["+25.0", "+50.0", "+37.5"]


def test_the_interval_is_that_of_a_mean_of_independent_items(tmp_path):
    out = _study(tmp_path / "0", GRID)
    seeds = over_seeds.Seeds([out])
    estimate = seeds.mean([TASK], [[("finance", "base")]])
    value, low, high = (
        float(part) for part in estimate.replace("[", "").replace("]", "").replace(",", "").split()
    )
    n = 28  # of 40 items, 30 % select
    half = 100 * 2.05 * np.sqrt(0.25 * 0.75 / (n - 1))  # t with 27 degrees of freedom
    assert value == 25.0
    assert (low, high) == (pytest.approx(25 - half, abs=4), pytest.approx(25 + half, abs=4))


def test_effects_are_differences_from_the_base_and_from_the_experts_of_the_merge(tmp_path):
    table = over_seeds.effects_table(over_seeds.Seeds([_study(tmp_path / "0", GRID)]))
    selected, strongest = (
        [cell.split(" [")[0] for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]
    )
    assert selected == [" finance + math", "+75.0", "+50.0", "", "+100.0"]  # base, finance, japanese, math
    assert strongest == [" finance + math, all λ at 1", "+25.0", "+0.0", "", "+50.0"]


def test_skills_are_compared_with_the_expert_of_the_skill(tmp_path):
    table = over_seeds.skills_table(over_seeds.Seeds([_study(tmp_path / "0", GRID)]))
    base, merge, strongest = table.splitlines()[2:]
    assert base.startswith("| base | -25.0 [") and base.endswith("| none | none |")
    assert merge.startswith("| finance + math | +50.0 [")  # the first of the grid
    assert merge.endswith(" |  | none |")  # no Japanese expert in it, and no task of math alone
    assert strongest.startswith("| finance + math, all λ at 1 | +0.0 [")


def test_studies_of_other_rows_are_refused(tmp_path):
    first = _study(tmp_path / "0", GRID)
    second = report.study(tmp_path / "1", items=6)
    with pytest.raises(SystemExit, match="Error: the studies were evaluated on different rows"):
        over_seeds.Seeds([first, second])


def test_the_p_over_seeds_exchanges_combinations_alike_in_all_seeds():
    x = [[1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 3.0, 4.0]]
    y = [[1.0, 3.0, 2.0, 4.0], [1.0, 2.0, 4.0, 3.0]]
    rho, p = over_seeds.joint_spearman(x, y)
    means = [
        np.mean([spearmanr(a, [b[k] for k in order])[0] for a, b in zip(x, y, strict=True)])
        for order in permutations(range(4))
    ]
    assert rho == pytest.approx(means[0])
    assert p == pytest.approx(np.mean([abs(value) >= abs(means[0]) - 1e-9 for value in means]))
    assert np.isnan(over_seeds.joint_spearman([[1.0, 1.0, 1.0]], [[1.0, 2.0, 3.0]])).all()
