"""Shared by all figures: colors for color-blind readers (Okabe and Ito), fonts, encoding, label placement.

Figures are drawn without pyplot, dates or random ids, so that the same results give the same bytes.
"""

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.typing import LineStyleType, RcKeyType

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
INK, QUIET, FAINT = "#1b1f24", "#5b636e", "#d5d9de"
STAGE_COLORS = {1: SKY, 2: BLUE, 3: "#11365c"}
OPERATOR_COLORS = {"task_arithmetic": BLUE, "ties": RED, "dare_ties": GREEN}
METHOD_COLORS = (PURPLE, ORANGE, SKY, "#8c510a", INK, "#666633", "#b3a300", "#4b0082")  # of other methods
EXPERT_COLORS = (ORANGE, PURPLE, "#8c510a", SKY, GREEN, RED)
BASE_LINE: "LineStyleType" = (0, (1, 1.2))  # dots; only the base has this line style
EXPERT_LINES: "tuple[LineStyleType, ...]" = ("--", "-.", (0, (9, 2)), (0, (5, 1, 1, 1, 1, 1)))
DPI = 150
JAPANESE_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "IPAexGothic",
    "IPAGothic",
    "IPAPGothic",
    "VL Gothic",
    "TakaoPGothic",
    "Hiragino Sans",
    "Yu Gothic",
    "Meiryo",
    "MS Gothic",
)


@dataclass(frozen=True)
class Drawn:
    """One figure and its texts.

    Attributes:
        name: the name of its files without ending, for example `1-stages`.
        title: its heading on the page.
        caption: the explanation below it.
        alt: the description for readers who cannot see it.
        figure: matplotlib's figure.
        shaded: whether colors encode values, so that the PNG must keep all of them.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure
    shaded: bool = False

    def png(self) -> bytes:
        """Return the figure as PNG.

        Line art is quantized to 256 colors (about 4x smaller, visually lossless); heatmaps keep full color
        because their colors encode values.
        """
        canvas = FigureCanvasAgg(laid_out(self.figure))
        canvas.draw()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        if not self.shaded:
            image = image.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        stream = io.BytesIO()
        image.save(stream, format="png", dpi=(DPI, DPI))
        return stream.getvalue()

    def svg(self) -> bytes:
        """Return the figure as SVG, without the date and the version of matplotlib."""
        stream = io.BytesIO()
        FigureCanvasSVG(laid_out(self.figure)).print_svg(stream, metadata={"Date": None, "Creator": None})
        return stream.getvalue()


def laid_out(figure: Figure) -> Figure:
    """Run a figure's layout engine once, for all formats; remove the engine and return the figure."""
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine("none")
    return figure


@cache
def japanese_font() -> str | None:
    """Return a font with Japanese glyphs: matplotlib-fontja's, or an installed one, or None."""
    spec = find_spec("matplotlib_fontja")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for file in sorted((Path(folder) / "fonts").glob("*.ttf")):
            font_manager.fontManager.addfont(str(file))
            return font_manager.FontProperties(fname=str(file)).get_name()
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return next((name for name in JAPANESE_FONTS if name in installed), None)


@contextmanager
def settings(names: str = "") -> Iterator[None]:
    """Use our matplotlib settings while figures are drawn and saved; restore the caller's afterwards.

    Args:
        names: text that the figures will contain. The search for a Japanese font is slow, so it runs only
            if a character needs it.
    """
    needs_japanese = any(character >= "\u2e80" for character in names)
    families = [name for name in ("DejaVu Sans", japanese_font() if needs_japanese else None) if name]
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    log.setLevel(logging.ERROR)  # hides warnings that the Japanese font has no bold weight
    try:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_SETTINGS)
            matplotlib.rcParams["font.family"] = families
            yield
    finally:
        log.setLevel(level)


_SETTINGS: "dict[RcKeyType, str | float | bool]" = {
    "svg.hashsalt": "mergekit-finance",
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
}


def canvas(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches, outside pyplot's global state."""
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def expert_colors(models: Sequence[str]) -> dict[str, str]:
    """Return a color for each model: gray for the base, a distinct one for every expert."""
    experts = [name for name in models if name != "base"]
    return {"base": QUIET} | {name: EXPERT_COLORS[i % len(EXPERT_COLORS)] for i, name in enumerate(experts)}


def expert_lines(models: Sequence[str]) -> "dict[str, LineStyleType]":
    """Return a line style for each model, so that they can be told apart without color."""
    experts = [name for name in models if name != "base"]
    return {"base": BASE_LINE} | {name: EXPERT_LINES[i % len(EXPERT_LINES)] for i, name in enumerate(experts)}


def hide_frame(axes: Axes) -> None:
    """Remove frame and tick marks; labels stay."""
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)


Mark = tuple[float, float, float, float]  # x, y, and the two ends of the interval
Box = tuple[float, float, float, float]  # left, bottom, right, top
PANEL = (250.0, 200.0)  # approximate size of a panel in points
OFFSETS = [(dx, dy) for dy in (3, -9, 12, -18, 24, -30, 36, -42) for dx in (6, -6)]  # tried in this order
HALO = withStroke(linewidth=1.8, foreground="white")  # keeps a name readable where it must cross a line


def place_names(axes: Axes, marks: Sequence[Mark], names: Sequence[str], size: float = 7.5) -> None:
    """Write a name beside every mark, avoiding marks, intervals and other names where possible."""
    positions = [_in_points(axes, *mark) for mark in marks]
    taken: list[Box] = [(x - 4, y - 4, x + 4, y + 4) for x, y, _, _ in positions]
    taken += [(x - 1.5, low, x + 1.5, high) for x, _, low, high in positions]
    for (x, y, _, _), mark, name in zip(positions, marks, names, strict=True):
        length = 0.62 * size * len(name)
        boxes = [_box(x + dx, y + dy, length if dx > 0 else -length, size) for dx, dy in OFFSETS]
        costs = [sum(_overlap(box, other) for other in taken) + 9 * (not _inside(box)) for box in boxes]
        best = costs.index(min(costs))
        taken.append(boxes[best])
        axes.annotate(
            name,
            mark[:2],
            OFFSETS[best],
            textcoords="offset points",
            fontsize=size,
            ha="left" if OFFSETS[best][0] > 0 else "right",
            zorder=5,
            path_effects=[HALO],
        )


def _in_points(axes: Axes, x: float, *heights: float) -> Mark:
    """Convert x and three heights from data units to points within a panel."""
    (left, right), (low, high), (width, height) = axes.get_xlim(), axes.get_ylim(), PANEL
    y, first, last = ((value - low) / (high - low) * height for value in heights)
    return (x - left) / (right - left) * width, y, first, last


def _inside(box: Box) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= PANEL[0] and box[3] <= PANEL[1]


def _box(x: float, y: float, length: float, height: float) -> Box:
    return (min(x, x + length), y, max(x, x + length), y + height)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
