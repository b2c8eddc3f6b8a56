"""The lab's findings: `python -m mergekit_finance.lab.findings OUT0 OUT1 ...`, one study a training seed.

As recipes/lab/FINDINGS.md designed them before the runs: per combination the merge's mean score over its named
tasks less that of its best constituent; Holm over the combinations of the first study; the same direction in
most seeds. Prints markdown.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ALPHA = 0.05
WORDS = {1: "came back", 2: "complement", 3: "emerged"}
Summary = Mapping[str, Any]


def read(folder: Path) -> Summary:
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def needed(seeds: int) -> int:
    """Seeds that must agree: three of four, and in general three quarters."""
    return -(-3 * seeds // 4)


def findings(studies: Sequence[Summary]) -> list[dict[str, Any]]:
    """One row per combination; the first study is the one that is tested."""
    from mergekit_finance.statistics.multiplicity import holm

    first = {name: _named(studies[0], name) for name in studies[0]["combinations"]}
    adjusted = holm({name: row["p_over_all_parents"] for name, row in first.items()})
    rows = [_row(studies, name, first[name], adjusted[name]) for name in first]
    return sorted(rows, key=lambda row: (row["stage"], row["combination"]))


def _named(study: Summary, combination: str) -> Mapping[str, Any]:
    point = study["combinations"][combination]["selected"]
    return {"point": point, **study["selected"][point]["sets"]["named"]}


def _row(studies: Sequence[Summary], combination: str, first: Mapping[str, Any], p: float) -> dict[str, Any]:
    values = [_named(study, combination)["over_best_parent"][0] for study in studies]
    stage = studies[0]["combinations"][combination]["stage"]
    return {
        "combination": combination,
        "stage": stage,
        "point": first["point"],
        "tasks": len(first["tasks"]),
        "score": first["score"][0],
        "best_parent": first["best_parent"],
        "parent_score": first["parents"][first["best_parent"]][0],
        "base": first["base"][0],
        "over_base": first["over_base"],
        "difference": first["over_best_parent"],
        "gain": first["gain"],
        "p": first["p_over_all_parents"],
        "holm": p,
        "seeds": values,
        "over_base_by_seed": [_named(study, combination)["over_base"][0] for study in studies],
        "finding": word(stage, first["over_best_parent"], p, values),
    }


def word(stage: int, difference: Sequence[float], p: float, seeds: Sequence[float]) -> str:
    """The design's words."""
    if p < ALPHA and sum(value > 0 for value in seeds) >= needed(len(seeds)):
        return WORDS[stage]
    if difference[2] < 0 and sum(value < 0 for value in seeds) >= needed(len(seeds)):
        return "interfered"
    return "did not appear"


def pooled(studies: Sequence[Summary]) -> list[dict[str, Any]]:
    """Each predictor with each outcome over all combinations of all seeds: n grows, but the rows of one seed
    share their models, so p describes."""
    from mergekit_finance.statistics.correlation import spearman
    from mergekit_finance.study.analysis.predictors import OUTCOMES, PREDICTORS

    rows = [row for study in studies for row in study["similarity"]["combinations"]]
    found = []
    for predictor in PREDICTORS:
        for outcome in OUTCOMES:
            one = spearman([r[predictor] for r in rows], [r[outcome] for r in rows])
            found.append({"predictor": predictor, "outcome": outcome, "rho": one.rho, "p": one.p, "n": one.n})
    return found


def markdown(studies: Sequence[Summary]) -> str:
    """Tables of the findings, of the experts of every seed, of the operators and of similarity."""
    return "\n\n".join(
        [_findings_table(studies), _experts(studies), _operators(studies), _similarity(studies)]
    )


def _findings_table(studies: Sequence[Summary]) -> str:
    lines = [
        "| merge | selected (seed 0) | tasks | score | best constituent | difference, 95 % | p (Holm) | "
        "other seeds | finding | base | merge less base | other seeds |",
        "|---|---|---:|---:|---|---|---:|---|---|---:|---|---|",
    ]
    for row in findings(studies):
        value, low, high = (100 * v for v in row["difference"])
        others, over_base = (_others(row[key]) for key in ("seeds", "over_base_by_seed"))
        point = row["point"].split("-", 1)[1].removeprefix(row["combination"].replace("+", "-") + "-")
        name = row["combination"].replace("+", " + ")
        lines.append(
            f"| {'base + ' if row['stage'] == 1 else ''}{name} | {point} | {row['tasks']} | "
            f"{100 * row['score']:.1f} | {row['best_parent']} {100 * row['parent_score']:.1f} | "
            f"{value:+.1f} [{low:+.1f}, {high:+.1f}] | {row['p']:.4f} ({row['holm']:.4f}) | {others} | "
            f"**{row['finding']}** | {100 * row['base']:.1f} | {_signed(row['over_base'])} | {over_base} |"
        )
    return "\n".join(lines)


def _others(by_seed: Sequence[float]) -> str:
    """Of the seeds after the first."""
    return ", ".join(f"{round(100 * value, 1) + 0.0:+.1f}" for value in by_seed[1:])


def _signed(numbers: Sequence[float]) -> str:
    value, low, high = (100 * n for n in numbers)
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def _experts(studies: Sequence[Summary]) -> str:
    """The four models of every seed: macro, retention, probes."""
    lines = ["| seed | model | macro of 18 tasks | retention | probes |", "|---|---|---:|---:|---:|"]
    for seed, study in enumerate(studies):
        for name, model in study["models"].items():
            cells = " | ".join(f"{100 * model[k][0]:.1f}" for k in ("macro", "retention", "probes"))
            lines.append(f"| {seed} | {name} | {cells} |")
    return "\n".join(lines)


def _operators(studies: Sequence[Summary]) -> str:
    lines = ["| seed | operator | best macro | spread over the grid | within a point of the best |"]
    lines.append("|---|---|---|---|---|")
    for seed, study in enumerate(studies):
        for name, row in study["operators"]["operators"].items():
            cells = " | ".join(_cell(row[k]) for k in ("best", "spread", "near"))
            lines.append(f"| {seed} | {name} | {cells} |")
    return "\n".join(lines)


def _cell(numbers: Sequence[float]) -> str:
    value, low, high = (100 * n for n in numbers)
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _similarity(studies: Sequence[Summary]) -> str:
    lines = ["| predictor | outcome | ρ by seed | ρ over all | n |", "|---|---|---|---:|---:|"]
    for row in pooled(studies):
        own = [_rho(study, row["predictor"], row["outcome"]) for study in studies]
        lines.append(
            f"| {row['predictor']} | {row['outcome']} | {', '.join(own)} | {row['rho']:+.2f} | {row['n']} |"
        )
    return "\n".join(lines)


def _rho(study: Summary, predictor: str, outcome: str) -> str:
    rows = study["similarity"]["correlations"]
    found = next(r for r in rows if (r["over"], r["predictor"], r["outcome"]) == ("all", predictor, outcome))
    return "none" if found["rho"] is None else f"{found['rho']:+.2f}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m mergekit_finance.lab.findings", description=__doc__)
    parser.add_argument("studies", nargs="+", type=Path, metavar="OUT")
    print(markdown([read(folder) for folder in parser.parse_args(argv).studies]))


if __name__ == "__main__":
    main()
