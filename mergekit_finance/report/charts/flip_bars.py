"""Items that became right and wrong: the selected merge of every combination against another model."""

from collections.abc import Callable

from mergekit_finance.errors import counted
from mergekit_finance.report import labels
from mergekit_finance.report.charts.plot import Chart, LegendEntry, Panel, Rows
from mergekit_finance.report.charts.svg import add, swatch, value, write
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import ItemFlips, TaskSet

BAR = 12.0
Rival = Callable[[TaskSet], str]


def draw(results: StudyResults) -> Chart | None:
    """Draw the flips against the best constituent and the base; None if no merge has them."""
    panels = [
        _panel(results, "Against the best constituent", lambda row: row.best_constituent),
        _panel(results, "Against the base", lambda row: "base"),
    ]
    if not any(panels):
        return None
    return Chart(
        "item-flips",
        "Items that became right and wrong",
        "Counts of reported items in the tasks of the macro average. Two models with the same score may "
        "answer different items right: in the mean, what a merge gains cancels what it loses.",
        [panel for panel in panels if panel],
        [
            LegendEntry(swatch("c-gain", "square"), "became right"),
            LegendEntry(swatch("c-loss", "square"), "became wrong"),
        ],
    )


def _panel(results: StudyResults, title: str, rival: Rival) -> Panel | None:
    """Return the bars of every combination; None if no flips are stored."""
    rows: list[tuple[str, str, ItemFlips]] = []
    for combination, selected in results.combinations.items():
        macro = results.summary.selected[selected.selected].sets["macro"]
        flips = macro.flips.get(rival(macro))
        if flips:
            rows.append((labels.combination(combination.split("+")), rival(macro), flips))
    if not rows:
        return None
    most = 1.6 * max(1, *(n for _, _, flips in rows for n in (flips.gained, flips.lost)))
    bars = Rows(
        f"{title}: items that became right and wrong", [name for name, _, _ in rows], (-most, most), "items"
    )
    zero = bars.x.at(0)
    for row, (name, other, flips) in enumerate(rows):
        pair = add(bars.svg, "g", "")
        y = bars.y(row)
        lost, gained = bars.x.at(-flips.lost), bars.x.at(flips.gained)
        add(pair, "rect", "bar c-loss", x=lost, y=y - BAR / 2, width=zero - lost, height=BAR)
        add(pair, "rect", "bar c-gain", x=zero, y=y - BAR / 2, width=gained - zero, height=BAR)
        write(pair, lost - 3, y + 4, f"-{flips.lost}", "end")
        write(pair, gained + 3, y + 4, f"+{flips.gained}")
        value(
            pair,
            f"{name} against {other}: {counted(flips.gained, 'item')} became right, "
            f"{flips.lost} became wrong",
        )
    bars.vertical(0, "axis")
    return bars.panel(title)
