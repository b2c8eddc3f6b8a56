"""Panels of a chart: two axes with their lines, or rows of labels with one axis below them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from markupsafe import Markup

from mergekit_finance.report.charts.svg import (
    TEXT_SIZE,
    WIDTH,
    add,
    dot,
    drawing,
    line,
    markup,
    text_width,
    value,
    write,
)

LEFT, RIGHT, TOP, BOTTOM = 38.0, 10.0, 8.0, 34.0
ROW = 19.0
NAMES = (60.0, 178.0)  # least and most width of the labels of rows
BOLD = 1.13  # how much wider bold letters are


@dataclass(frozen=True)
class LegendEntry:
    """A mark and what it stands for."""

    mark: Markup
    text: str


@dataclass(frozen=True)
class Panel:
    """One picture of a chart with its heading, and a note below the heading; both may be empty."""

    title: str
    svg: Markup
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """One figure of the page.

    Attributes:
        name: the end of its id.
        title, caption: above and below it.
        panels: side by side where the screen is wide enough.
        legend: above the panels.
        is_folded: shown on demand only.
    """

    name: str
    title: str
    caption: str
    panels: Sequence[Panel]
    legend: Sequence[LegendEntry] = ()
    is_folded: bool = False


@dataclass(frozen=True)
class Scale:
    """Where values of an axis are drawn: `low` at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, number: float) -> float:
        """Return the coordinate of a value."""
        share = (number - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values within the axis."""
        size = (self.high - self.low) / most
        if size <= 0:
            return [self.low]
        power = 10.0 ** math.floor(math.log10(size))
        step = next(power * n for n in (1, 2, 2.5, 5, 10) if power * n >= size * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def spread(numbers: Sequence[float], margin: float = 0.06) -> tuple[float, float]:
    """Return the ends of an axis that shows all numbers."""
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    room = margin * (high - low) or max(0.05 * abs(high), 0.5)
    return low - room, high + room


def tick_text(number: float) -> str:
    """Return a tick's label."""
    return f"{number:.6g}"


@dataclass
class Plot:
    """A panel with a horizontal and a vertical axis.

    Attributes:
        label: its name for screen readers.
        x_range, y_range: the ends of the axes.
        x_label, y_label: what the axes show.
        x_ticks: (value, text) of the horizontal axis; round values if None.
    """

    label: str
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_label: str = ""
    y_label: str = ""
    height: float = 220.0
    x_ticks: Sequence[tuple[float, str]] | None = None
    svg: Element = field(init=False)

    def __post_init__(self) -> None:
        """Draw the axes."""
        self.svg = drawing(self.height, self.label)
        top = TOP + (TEXT_SIZE + 4 if self.y_label else 0)
        self.x = Scale(*self.x_range, LEFT, WIDTH - RIGHT)
        self.y = Scale(*self.y_range, self.height - BOTTOM, top)
        for tick in self.y.ticks(5):
            self.horizontal(tick, "grid")
            write(self.svg, LEFT - 5, self.y.at(tick) + 4, tick_text(tick), "end quiet")
        ticks = [(tick, tick_text(tick)) for tick in self.x.ticks()] if self.x_ticks is None else self.x_ticks
        for place, text in ticks:
            half = text_width(text) / 2
            middle = max(half, min(self.x.at(place), WIDTH - half))  # the whole label is in the panel
            write(self.svg, middle, self.height - BOTTOM + 14, text, "middle quiet")
        if self.y_label:
            write(self.svg, 0, TEXT_SIZE, self.y_label, "quiet")
        write(self.svg, (LEFT + WIDTH - RIGHT) / 2, self.height - 5, self.x_label, "middle quiet")

    def horizontal(self, height: float, style: str) -> Element:
        """Draw a line across the panel at a value."""
        y = self.y.at(height)
        return line(self.svg, [(LEFT, y), (WIDTH - RIGHT, y)], style)

    def vertical(self, place: float, style: str) -> Element:
        """Draw a line from top to bottom at a value."""
        x = self.x.at(place)
        return line(self.svg, [(x, self.y.start), (x, self.y.end)], style)

    def path(self, points: Sequence[tuple[float, float]], style: str) -> Element:
        """Draw a line through values."""
        return line(self.svg, [(self.x.at(x), self.y.at(y)) for x, y in points], style)

    def mark(
        self, x: float, y: float, style: str, text: str, shape: str = "circle", size: float = 4.0
    ) -> None:
        """Draw a mark that shows a text."""
        value(dot(self.svg, self.x.at(x), self.y.at(y), style, shape, size), text)

    def ring(self, x: float, y: float) -> None:
        """Draw a ring around a mark."""
        add(self.svg, "circle", "ring", cx=self.x.at(x), cy=self.y.at(y), r=8)

    def write_names(self, places: Sequence[tuple[float, float, str]]) -> None:
        """Write (x, y, name) beside each mark: where it is in the way of the fewest other names and marks."""
        marks = [(self.x.at(x), self.y.at(y)) for x, y, _ in places]
        taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in marks]
        for (x, y), (_, _, name) in zip(marks, places, strict=True):
            width = text_width(name)
            boxes = [_name_box(x + dx, y + dy, width if dx > 0 else -width) for dx, dy in OFFSETS]
            costs = [sum(_overlap(box, other) for other in taken) + 99 * _outside(box) for box in boxes]
            best = costs.index(min(costs))
            taken.append(boxes[best])
            write(self.svg, boxes[best][0], y + OFFSETS[best][1], name, "halo")

    def panel(self, title: str = "", note: str = "") -> Panel:
        """Return the finished panel."""
        return Panel(title, markup(self.svg), note)


Box = tuple[float, float, float, float]  # left, top, right, bottom
OFFSETS = [(dx, dy) for dy in (4, -7, 15, -17, 25) for dx in (8, -8)]  # of a name's baseline; in this order


def _name_box(x: float, y: float, width: float) -> Box:
    return (min(x, x + width), y - TEXT_SIZE + 2, max(x, x + width), y + 2)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _outside(box: Box) -> bool:
    return box[0] < LEFT or box[2] > WIDTH + RIGHT


def names_width(names: Sequence[str]) -> float:
    """Return the width that labels of rows need, within limits."""
    widest = max(map(text_width, names), default=0.0)
    return max(NAMES[0], min(NAMES[1], BOLD * widest))


@dataclass
class Rows:
    """A panel with a label for every row and a horizontal axis below them."""

    label: str
    names: Sequence[str]
    x_range: tuple[float, float]
    x_label: str = ""
    strong: Sequence[str] = ()
    width: float = 0.0  # of the labels; by default what they need
    svg: Element = field(init=False)

    def __post_init__(self) -> None:
        """Draw the labels and the axis."""
        bottom = TOP + ROW * len(self.names)
        width = self.width or names_width(self.names)
        self.svg = drawing(bottom + BOTTOM, self.label)
        self.x = Scale(*self.x_range, width + 8, WIDTH - RIGHT)
        self.bottom = bottom
        is_mirrored = self.x.low == -self.x.high  # both sides count up from 0
        for tick in self.x.ticks(4):
            self.vertical(tick, "grid")
            text = tick_text(abs(tick) if is_mirrored else tick)
            write(self.svg, self.x.at(tick), bottom + 14, text, "middle quiet")
        for row, name in enumerate(self.names):
            style = "end strong" if name in self.strong else "end"
            write(self.svg, width, self.y(row) + 4, name, style, width)
        write(self.svg, (width + WIDTH) / 2, bottom + BOTTOM - 5, self.x_label, "middle quiet")

    def y(self, row: int) -> float:
        """Return the middle of a row."""
        return TOP + ROW * (row + 0.5)

    def vertical(self, place: float, style: str) -> None:
        """Draw a line through all rows at a value."""
        x = self.x.at(place)
        line(self.svg, [(x, TOP), (x, self.bottom)], style)

    def panel(self, title: str = "") -> Panel:
        """Return the finished panel."""
        return Panel(title, markup(self.svg))
