"""What `study plan` prints, within 80 columns, and the same numbers as JSON."""

import textwrap
from collections.abc import Callable

from mergekit_finance.files import Json
from mergekit_finance.statistics.power import expected_half_width, planning_error
from mergekit_finance.study.cost_estimate import COLUMNS, KINDS, NOTHING, Range, Table, total
from mergekit_finance.study.cost_plan import Plan
from mergekit_finance.study.cost_sample import BATCHES
from mergekit_finance.study.stored_answers import StoredAnswers

TEXT = 80
LABEL, WIDTH = 10, 10  # of a row's name, and of its cells
UNITS = ((10 * 3600.0, "hours", 3600.0), (120.0, "minutes", 60.0), (0.0, "seconds", 1.0))
HOW = (
    f"Ranges are the lowest and highest of {BATCHES} timed batches of each kind, times what is",
    "left. `other`: start-up, scores, similarity, statistics.",
)
ON_A_GPU = "Workers on one GPU share it: they save time only where one of them loads, merges or\nscores."


def plan_text(plan: Plan) -> str:
    """Return the text that `study plan` prints."""
    stages = ", ".join(f"stage {stage}: {count}" for stage, count in plan.points.items())
    count = sum(plan.points.values())
    tasks = "1 task" if len(plan.items) == 1 else f"{len(plan.items)} tasks"
    limited = f", the first {plan.limit} of each" if plan.limit else ""
    lines = [
        f"points      {count} ({stages}), and {plan.models - count} unmerged models; "
        f"{plan.stored} already scored",
        *([_answers_line(plan.answers)] if plan.answers and plan.budget is None else []),
        f"items       {sum(plan.items.values())} per model, {tasks}{limited}",
        f"disk        about {_size_in_words(plan.disk)}",
        f"workers     {len(plan.devices)} ({_devices_in_words(plan)})",
    ]
    if plan.shares:
        shares = ", ".join(f"stage {stage}: {100 * share:.0f} %" for stage, share in plan.shares.items())
        lines.append(f"search      at most this share of the full grid's answers: {shares}")
    if plan.captures:
        lines.append(f"engine      {plan.captures}")
    if plan.absent:
        lines.append(
            f"not here    {', '.join(plan.absent)}: hours, stored results and checkpoints are not counted. "
            "Run this again where the models are."
        )
    if plan.rates is not None:
        lines += _time_lines(plan)
    elif plan.answers is not None:
        lines += _count_lines(plan)
    if plan.budget is not None and plan.clusters is not None:
        lines.append(_budget_line(plan, plan.budget, plan.clusters))
    return "\n".join(part for line in lines for part in ([line] if len(line) <= TEXT else _wrapped(line)))


def _wrapped(line: str) -> list[str]:
    """Return a line in lines of at most 80 columns; those of tables are shorter."""
    return textwrap.wrap(line, TEXT, subsequent_indent=" " * 12, break_on_hyphens=False) or [line]


def plan_json(plan: Plan) -> dict[str, Json]:
    """Return the numbers of `plan_text`: seconds of all processes, and until the study ends."""
    content: dict[str, Json] = {
        "points": {str(stage): count for stage, count in plan.points.items()},
        "models": plan.models,
        "stored": plan.stored,
        "items": dict(plan.items),
        "limit": plan.limit,
        "disk": plan.disk,
        "devices": list(plan.devices),
        "shares": {str(stage): share for stage, share in plan.shares.items()},
        "budget": plan.budget,
        "absent": list(plan.absent),
    }
    if plan.answers is not None:
        content["answers"] = {"needed": plan.answers.needed, "missing": dict(plan.answers.missing)}
        content["left"] = {row: dict(cells) for row, cells in plan.left().by_row().items()}
    if plan.tokens is not None:
        content["tokens"] = {"read": plan.tokens[0], "generated_at_most": plan.tokens[1]}
    if plan.rates is not None:
        content["seconds"] = {
            row: {column: [cell.low, cell.high] for column, cell in cells.items()}
            for row, cells in plan.table().items()
        }
        hours = plan.hours()
        content["elapsed_seconds"] = [3600 * hours.low, 3600 * hours.high]
    return content


# ---- tables


def _time_lines(plan: Plan) -> list[str]:
    """Return the table of seconds, and how long the study takes."""
    table, hours = plan.table(), plan.hours()
    if not table or total(table).high <= 0:
        return ["time        nothing is left to ask; scores and statistics are computed again"]
    unit, seconds = _unit(total(table).high)
    lines = [f"{unit:<{LABEL}}" + _header(), *_rows(table, lambda cell: _cell(cell.times(1 / seconds)))]
    elapsed = hours.times(3600)
    word, each = _unit(elapsed.high)
    many = f", on {len(plan.devices)} workers" if len(plan.devices) > 1 else ""
    lines.append(f"time        {_cell(elapsed.times(1 / each)).strip()} {word}{many}, from a timed sample")
    shared = len(plan.devices) > len(set(plan.devices)) and plan.devices[0].startswith("cuda")
    return [*lines, *HOW, *(ON_A_GPU.splitlines() if shared else ())]


def _header() -> str:
    return "".join(f"{name:>{WIDTH}}" for name in (*COLUMNS, "all"))


def _rows(table: Table, cell: Callable[[Range], str]) -> list[str]:
    rows = {**table, "all": {column: total(table, [column]) for column in COLUMNS}}
    return [
        f"  {name:<{LABEL - 2}}"
        + "".join(f"{cell(cells.get(column, NOTHING)):>{WIDTH}}" for column in COLUMNS)
        + f"{cell(total({name: cells})):>{WIDTH}}"
        for name, cells in rows.items()
    ]


def _count_lines(plan: Plan) -> list[str]:
    """Return the table of merges and requests that are left, and the tokens of one model."""
    rows = plan.left().by_row()
    columns = ("merging", *KINDS.values())
    header = "".join(f"{name:>{WIDTH + 2}}" for name in ("models", *KINDS.values()))
    lines = [f"{'to ask':<{LABEL}}{header}"]
    lines += [
        f"  {row:<{LABEL - 2}}" + "".join(f"{cells[column]:>{WIDTH + 2},}" for column in columns)
        for row, cells in rows.items()
        if any(cells.values())
    ]
    if plan.tokens is not None:
        read, generated = plan.tokens
        lines.append(f"tokens      per model {read:,} of prompts, and at most {generated:,} generated")
    return lines


def _unit(high: float) -> tuple[str, float]:
    """Return the unit for seconds, and how many seconds it has."""
    return next((name, size) for least, name, size in UNITS if high >= least)


def _cell(values: Range) -> str:
    if values.high <= 0:
        return "-"
    low, high = _number(values.low), _number(values.high)
    return high if low == high else f"{low}-{high}"


def _number(value: float) -> str:
    if value >= 9.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 0.05 else "0"


# ---- lines


def _devices_in_words(plan: Plan) -> str:
    """Return how many workers each device has."""
    counts: dict[str, int] = {}
    for device in plan.devices:
        counts[device] = counts.get(device, 0) + 1
    return ", ".join(f"{count} on {device}" for device, count in counts.items())


def _answers_line(answers: StoredAnswers) -> str:
    missing = sum(answers.missing.values())
    reasons = [f"{count:,} ({reason})" for reason, count in sorted(answers.missing.items())]
    to_ask = f"; to ask: {', '.join(reasons)}" if reasons else ""
    return f"answers     {answers.needed - missing:,} of {answers.needed:,} stored{to_ask}"


def _size_in_words(size: float) -> str:
    return f"{size / 1e6:.2g} MB" if size < 1e8 else f"{size / 1e9:.2g} GB"


def _budget_line(plan: Plan, budget: float, clusters: tuple[int, int]) -> str:
    """Return how much a budget widens the intervals, shown for the largest task."""
    task, (full, limited) = plan.largest_task, clusters
    error = planning_error(full)
    before, after = (100 * expected_half_width(error, full, n) for n in (full, limited))
    wider = f" (±{before:.1f} on all {full})" if limited < full else ""
    return (
        f"budget      {budget:g} hours: {plan.items[task]} of {plan.all_items[task]} items of {task}, "
        f"nested. On it, a paired difference has an expected half width of ±{after:.1f} points with "
        f"{limited} reported clusters{wider}"
    )
