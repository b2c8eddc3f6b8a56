"""Check whether the experts differ from their base as real ones do.

In recipes/lab: `python -m training.criteria DIR`. The criteria were written before the training that they
are for. They look at the four models and never at a merge. Scores are those of `training.profile`, distances
those of `mergekit-finance similarity`. Prints a table and writes DIR/criteria.json. DIR/profile.json is used
if it exists; otherwise the models are evaluated first.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mergekit_finance.files import Json, read_json, write_json
from mergekit_finance.similarity.compute import compute_similarity

from . import profile
from .probe import RETENTION, SKILL, change
from .profile import Table

NOT_IN_MACRO = ("probe_", "retention_")  # prefixes of the tasks that are not among the 18 of finance_bench
VISIBLE = (0.15, 0.95)  # a score above chance from which a merge can be seen to gain and to lose

Values = dict[str, float]  # criterion, value


@dataclass(frozen=True)
class Criterion:
    """A value that the trained models must have.

    Attributes:
        name: In tables.
        low, high: The bounds; None: there is none.
        unit: A miss of this size counts as 1 in a total of misses.
        digits: Decimals that are shown.
    """

    name: str
    low: float | None
    high: float | None
    unit: float
    digits: int = 2

    def miss(self, value: float) -> float:
        """Return by how much a value is outside of the bounds: negative if too low, 0 if it is within."""
        if self.low is not None and value < self.low:
            return round(value - self.low, 6)
        if self.high is not None and value > self.high:
            return round(value - self.high, 6)
        return 0.0

    def bounds(self) -> str:
        """Return the bounds in words."""
        if self.high is None:
            return f"at least {self.low:g}"
        return f"at most {self.high:g}" if self.low is None else f"{self.low:g} to {self.high:g}"

    def shown(self, value: float) -> str:
        """Return a value, and by how much it misses the bounds."""
        miss, digits = self.miss(value), self.digits
        text = f"{value:.{digits}f}"
        return f"{text}: {abs(miss):.{digits}f} too {'low' if miss < 0 else 'high'}" if miss else text


# Of one expert. Skills and tasks are in shares of the range (0: guessing, 1: all correct).
OF_EXPERT = {
    "relative_norm": Criterion("task vector / base (L2 norms)", 0.05, 0.15, 0.1, 3),
    "cosine": Criterion("cosine with the base", 0.99, None, 0.01, 4),
    "skill_gain": Criterion("own skill minus that of the base", 0.2, None, 0.2),
    "skill": Criterion("own skill", None, 0.95, 0.05),
    "retention_lost": Criterion("retention below the base (points)", 3, 15, 12, 1),
    "lowest_other": Criterion("lowest task of another skill", -0.2, None, 0.2),
}
# Of the four models together.
OF_ALL = {
    "visible_tasks": Criterion(f"tasks with a model between {VISIBLE[0]} and {VISIBLE[1]}", 14, None, 14, 0)
}


def distances(base: Path, experts: Sequence[Path]) -> list[Values]:
    """Return the relative length of each expert's task vector, and its cosine with the base."""
    total = compute_similarity(str(base), [str(path) for path in experts], everything=False).total
    cosines = {pair.b: pair.cosine for pair in total.pairs if pair.a == str(base)}
    return [
        {"relative_norm": _number(total.task_vectors[name].relative_norm), "cosine": _number(cosines[name])}
        for name in map(str, experts)
    ]


def _number(value: float | None) -> float:
    return 0.0 if value is None else round(value, 5)


def of_expert(table: Table, role: str, distance: Values) -> Values:
    """Return the values of an expert's criteria.

    Args:
        table: The profile of the base and the expert.
        role: finance, math or japanese; the expert's column in `table`.
        distance: From `distances`.
    """
    shares = {task: {r: c["above_chance"] for r, c in cells.items()} for task, cells in table.items()}
    lost = [table[task]["base"]["score"] - table[task][role]["score"] for task in RETENTION]
    tasks = SKILL[role]
    return {
        **distance,
        "skill_gain": round(change(shares, role)[0], 4),
        "skill": round(sum(shares[task][role] for task in tasks) / len(tasks), 4),
        "retention_lost": round(100 * sum(lost) / len(lost), 2),
        "lowest_other": min(cells[role] for task, cells in shares.items() if task not in tasks),
    }


def of_all(table: Table) -> Values:
    """Return the values of the criteria of the four models together."""
    low, high = VISIBLE
    scored = [cells for task, cells in table.items() if not task.startswith(NOT_IN_MACRO)]
    visible = [cells for cells in scored if any(low <= c["above_chance"] <= high for c in cells.values())]
    return {"visible_tasks": float(len(visible))}


def total_miss(values: Values, criteria: Mapping[str, Criterion] = OF_EXPERT) -> float:
    """Return the sum of all misses, each in units of its criterion; 0 if all criteria are met."""
    misses = (abs(criterion.miss(values[key])) / criterion.unit for key, criterion in criteria.items())
    return round(sum(misses), 4)


def judge(folder: Path, table: Table) -> dict[str, Values]:
    """Return the values of all criteria, by expert and for `all`, of the four models in a folder."""
    measured = distances(folder / "base", [folder / role for role in SKILL])
    by_role = {role: of_expert(table, role, d) for role, d in zip(SKILL, measured, strict=True)}
    return {**by_role, "all": of_all(table)}


def markdown(values: Mapping[str, Values]) -> str:
    """Return the values as a table: a row per criterion, with the size of every miss."""
    lines = [f"| criterion | bounds | {' | '.join(SKILL)} |", f"|---|---|{'---|' * len(SKILL)}"]
    for key, criterion in OF_EXPERT.items():
        cells = [criterion.shown(values[role][key]) for role in SKILL]
        lines.append(f"| {criterion.name} | {criterion.bounds()} | {' | '.join(cells)} |")
    for key, criterion in OF_ALL.items():
        cell = f"{criterion.shown(values['all'][key])} (all models)"
        lines.append(f"| {criterion.name} | {criterion.bounds()} | {cell} |{' |' * (len(SKILL) - 1)}")
    missed = [role for role in SKILL if total_miss(values[role])]
    missed += ["all models"] if total_miss(values["all"], OF_ALL) else []
    verdict = f"Criteria are missed by: {', '.join(missed)}." if missed else "All criteria are met."
    return "\n".join([*lines, "", verdict]) + "\n"


def as_json(values: Mapping[str, Values]) -> dict[str, Json]:
    """Return the values, the misses and the bounds for criteria.json."""
    criteria = {**OF_EXPERT, **OF_ALL}
    return {
        "bounds": {key: {"low": c.low, "high": c.high, "unit": c.unit} for key, c in criteria.items()},
        "models": {
            role: {key: {"value": v, "miss": criteria[key].miss(v)} for key, v in by_key.items()}
            for role, by_key in values.items()
        },
        "total_miss": {
            role: total_miss(by_key, OF_ALL if role == "all" else OF_EXPERT)
            for role, by_key in values.items()
        },
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Print the criteria of the models in a folder, and write criteria.json."""
    parser = argparse.ArgumentParser(prog="python -m training.criteria", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder with base, finance, math, japanese")
    parser.add_argument("--out", type=Path, help="file to write (default: DIR/criteria.json)")
    options = parser.parse_args(argv)
    stored = options.folder / "profile.json"
    if not stored.is_file():
        profile.main([str(options.folder)])
    values = judge(options.folder, read_json(stored)["tasks"])
    write_json(options.out or options.folder / "criteria.json", as_json(values), indent=1)
    print(markdown(values))


if __name__ == "__main__":
    main()
