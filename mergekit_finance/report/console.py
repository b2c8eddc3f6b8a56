"""What `mergekit-finance run` prints: sections, each a title and a function from gain.json to text."""

from collections.abc import Mapping, Sequence
from typing import Any

from mergekit_finance.models.facts import short_name
from mergekit_finance.plugins.api import Section
from mergekit_finance.plugins.manager import report_sections


def builtin_sections() -> Sequence[Section]:
    return (Section("gain", "Gain and Outperform Gap", gain_table), Section("notes", "Notes", notes))


def gain_table(result: Mapping[str, Any]) -> str:
    """Score of every constituent and of the merge, Gain and OG, a row a task, as markdown."""
    models = list(result["macro"]["constituents"])
    short = [short_name(m) for m in models]
    header = ["task", "n", *(short if len(set(short)) == len(short) else models), "merged", "Gain", "OG"]
    rows = [[task, str(row["n"]), *_cells(row, models)] for task, row in result["tasks"].items()]
    rows.append(["macro", "", *_cells(result["macro"], models)])
    return _markdown([header, *rows])


def _cells(row: Mapping[str, Any], models: Sequence[str]) -> list[str]:
    plain = [f"{row['constituents'][m]:.3f}" for m in models] + [f"{row['merged']:.3f}"]
    return plain + [f"{row['gain']:+.3f}", f"{row['og']:+.3f}"]


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(_padded(c, w, i) for i, (c, w) in enumerate(zip(r, widths, strict=True))) + " |"
        for r in rows
    ]
    rule = "|" + "|".join("-" * (w + 1) + (":" if i else "-") for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _padded(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if column else cell.ljust(width)


def notes(result: Mapping[str, Any]) -> str:
    """What a reader must know before believing the table."""
    found = [f"semantics: {result['semantics']} ({result['method']}, stage {result['stage']})"]
    if result["random_weights"]:
        found.append(
            "the weights are RANDOM, never trained: "
            + ", ".join(map(short_name, result["random_weights"]))
            + ". The table shows that the path works, not that merging does."
        )
    if result.get("source") == "sample":
        found.append("the rows are a handful that this project wrote, not a benchmark.")
    for task, row in result["tasks"].items():
        if row.get("truncated"):
            found.append(
                f"{task}: {row['truncated']} of {row['n']} prompts did not fit the context; "
                "they were cut from the left, the question kept."
            )
    smallest = min(row["n"] for row in result["tasks"].values())
    if smallest < 100:
        found.append(f"the smallest task has {smallest} items: differences of this size are mostly noise.")
    return "\n".join(f"- {line}" for line in found)


def render(result: Mapping[str, Any]) -> str:
    """Every plugin's sections, in order."""
    parts = []
    for section in report_sections():
        text = section.render(result)
        if text:
            parts.append(f"{section.title}\n\n{text}")
    return "\n\n".join(parts)
