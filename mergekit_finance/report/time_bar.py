"""Where a study's time went: one stacked bar as SVG, and the table behind it."""

from dataclasses import dataclass

from mergekit_finance.report.figures.style import BLUE, GREEN, ORANGE, PURPLE, RED, SKY
from mergekit_finance.report.tables import Cell, Table, text_cell
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.times import KINDS, duration, in_words, study_times

TITLE = "Where the time went"
WIDTH, HEIGHT = 1000.0, 40.0  # of the bar, in units of the SVG
LABELED = 0.08  # a smaller segment has no room for its name
COLORS = {
    "merging": PURPLE, "choices": SKY, "generate": BLUE, "rolling": GREEN, "scoring": ORANGE, "waiting": RED,
    "start_up": "#8c8c8c", "storing": "#8c510a", "similarity": "#666666", "statistics": "#404040",
}  # fmt: skip


LIGHT = (SKY, ORANGE, PURPLE)  # their names are black


@dataclass(frozen=True)
class Segment:
    """A segment of the bar.

    Attributes:
        x, width: in units of the SVG.
        color: of the segment.
        ink: of the name.
        name: short, shown in a segment that is wide enough; else "".
        words: what the time was spent on.
        seconds, share: in words.
    """

    x: float
    width: float
    color: str
    ink: str
    name: str
    words: str
    seconds: str
    share: str


@dataclass(frozen=True)
class TimeBar:
    """A stacked bar with its table, largest first.

    Attributes:
        summary: the whole in one line.
        segments: from left to right.
        table: the same numbers.
    """

    summary: str
    segments: list[Segment]
    table: Table


def time_bar(results: StudyResults) -> TimeBar | None:
    """Return where the time of a study went; None if no times are stored."""
    times = study_times(results.folder)
    if not times.total:
        return None
    segments: list[Segment] = []
    x = 0.0
    for kind, share in times.shares():
        name = kind.replace("_", "-") if share >= LABELED else ""
        seconds, percent = duration(times.seconds[kind]), f"{100 * share:.1f} %"
        width = round(WIDTH * share, 2)
        color = COLORS[kind]
        ink = "#000000" if color in LIGHT else "#ffffff"
        segments.append(Segment(round(x, 2), width, color, ink, name, KINDS[kind], seconds, percent))
        x += WIDTH * share
    rows = [
        [
            text_cell(KINDS[kind]),
            Cell(duration(times.seconds[kind]), times.seconds[kind], "number"),
            Cell(f"{100 * share:.1f} %", share, "number"),
        ]
        for kind, share in times.shares()
    ]
    table = Table("times", TITLE, in_words(times), ["work", "time", "share"], rows)
    return TimeBar(in_words(times), segments, table)
