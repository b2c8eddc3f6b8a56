"""What `mergekit-finance demo` prints at its end: what was merged, a table, and what the table shows.

It is written for readers who have not merged models before, so it defines its terms and fits 80 columns.
"""

import textwrap
from collections.abc import Mapping, Sequence

from mergekit_finance.study.analysis.advice_wording import short_advice
from mergekit_finance.study.analysis.phrases import in_points, merge_name
from mergekit_finance.study.schema import ModelResult, PointResult, Summary

WIDTH = 80
Result = ModelResult | PointResult


def demo_text(summary: Summary) -> str:
    """Return the text of a study with one operator at one value of lambda; every line fits WIDTH columns."""
    parts = [
        [_wrapped(_what_was_merged(summary))],
        _aligned(_rows(summary)),
        [_wrapped(_legend(summary))],
        [_wrapped(f"- {sentence}", "  ") for sentence in _sentences(summary)],
    ]
    return "\n\n".join("\n".join(lines) for lines in parts)


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def _what_was_merged(summary: Summary) -> str:
    experts = _listed([name for name in summary.models if name != "base"])
    scale = next(iter(summary.points.values())).values["lambda"]
    return (
        f"Merged: a tiny base model and {len(summary.models) - 1} experts ({experts}), which are the base "
        f"after more training on one domain. A merge is the base plus {scale:g} times the change that each "
        "expert's training made to the weights."
    )


# ---- the table


def _merges(summary: Summary) -> dict[str, PointResult]:
    """Return the merges by name, in the order of their stages."""
    rows = sorted(summary.combinations.items(), key=lambda item: item[1].stage)
    return {merge_name(name): summary.points[row.selected] for name, row in rows}


def _tasks_by_skills(summary: Summary) -> dict[str, list[str]]:
    """Return the tasks of the macro average by the initials of their skills: `F+M` for finance and math."""
    groups: dict[str, list[str]] = {}
    for name, task in summary.tasks.items():
        if task.kind == "tasks":
            initials = "+".join(skill[0].upper() for skill in sorted(task.skills, key=_order_of_skill))
            groups.setdefault(initials, []).append(name)
    return dict(sorted(groups.items(), key=lambda item: (len(item[0]), item[0] != "F+M")))


def _order_of_skill(skill: str) -> int:
    return ["finance", "math", "japanese"].index(skill)


def _mean(scores: Mapping[str, float], tasks: Sequence[str]) -> float:
    return sum(scores[task] for task in tasks) / len(tasks)


def _rows(summary: Summary) -> list[list[str]]:
    """Return the header, a row of each model, and a row of each merge."""
    groups = _tasks_by_skills(summary)

    def scores(name: str, result: Result) -> list[str]:
        retention = in_points(result.retention.value) if result.retention else ""
        means = [in_points(_mean(result.scores, tasks), digits=0) for tasks in groups.values()]
        return [name, in_points(result.macro.value), *means, retention]

    rows = [["", "macro", *groups, "retention", "Gain", "OG"]]
    rows += [[*scores(name, model), "", ""] for name, model in summary.models.items()]
    for name, point in _merges(summary).items():
        gain, gap = point.macro_gain, point.macro_og
        assert gain is not None and gap is not None  # the demo's tasks are scores in [0, 1]
        rows.append([*scores(name, point), in_points(gain, True), in_points(gap, True)])
    return rows


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines with the first column left-aligned and the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return lines


def _legend(summary: Summary) -> str:
    tasks = [task for task in summary.tasks.values() if task.kind == "tasks"]
    items = max(task.items for task in tasks)
    return (
        f"Points of 100 on {len(tasks)} tasks with up to {items} questions. macro: mean of all tasks; "
        "F, M, J: tasks that need finance, math, Japanese. retention: general knowledge, which training "
        "can make a model forget. Gain: the merge minus the mean of the models in it; OG (Outperform Gap): "
        "minus the best of them, task by task."
    )


# ---- what it shows


def _sentences(summary: Summary) -> list[str]:
    every = _forgetting(summary), _combining(summary), _by_task(summary), _advice(summary)
    return [sentence for sentence in every if sentence]


def _forgetting(summary: Summary) -> str:
    """Compare the retention of experts, and of their merges with the base, with the base; "" without it."""
    before, after = [], []
    base = summary.models["base"].retention
    for name, row in summary.combinations.items():
        expert, merged = summary.models.get(name), summary.points[row.selected]
        if row.stage == 1 and base and expert and expert.retention and merged.retention:
            before.append(f"{in_points(expert.retention.value - base.value, True)} ({name})")
            after.append(in_points(merged.retention.value - base.value, True))
    if not before:
        return ""
    items = sum(task.items for task in summary.tasks.values() if task.kind == "retention")
    return (
        f"Forgetting: training changed the retention of the experts by {_listed(before)} against the base; "
        f"after each is merged with the base, the differences are {_listed(after)}. One of the {items} "
        f"questions counts {in_points(1 / items)}."
    )


def _combining(summary: Summary) -> str:
    """Count the merges of several experts that are better than everything they were made from."""
    several = [row for row in summary.combinations.values() if row.stage > 1]
    above = 0
    for row in several:
        point = summary.points[row.selected]
        others = [summary.models[name].macro.value for name in ("base", *point.combination)]
        above += point.macro.value > max(others)
    best = max(_merges(summary).items(), key=lambda item: item[1].macro.value)[0]
    return (
        f"Combining: {above} of {len(several)} merges of two or three experts have a higher macro than the "
        f"base and each of these experts. The best of all merges is {best}."
    )


def _by_task(summary: Summary) -> str:
    merges = list(_merges(summary).values())
    behind = sum(merge.macro_og is not None and merge.macro_og < 0 for merge in merges)
    return (
        f"Single tasks: {behind} of {len(merges)} merges have an OG below 0: on single tasks, one of the "
        "models in the merge is often better than the merge."
    )


def _advice(summary: Summary) -> str:
    advice = short_advice(summary)
    brackets = (
        " In brackets: the 95 % interval. More questions can change the answer." if "[" in advice else ""
    )
    return f"Ship a merge? {advice}{brackets}"


def _listed(words: Sequence[str]) -> str:
    """Return `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
