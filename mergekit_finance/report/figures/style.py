"""Colours for colour-blind readers (Okabe and Ito), fonts with Japanese, the same bytes twice."""

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
INK, QUIET, FAINT = "#1b1f24", "#5b636e", "#d5d9de"
STAGE = {1: SKY, 2: BLUE, 3: "#11365c"}
OPERATOR = {"task_arithmetic": BLUE, "ties": RED, "dare_ties": GREEN}
EXPERTS = (ORANGE, PURPLE, "#8c510a", SKY, GREEN, RED)
LINES = ("--", "-.", (0, (9, 2)), (0, (5, 1, 1, 1, 1, 1)))  # none of dots alone: that is the base's
DPI = 150
JAPANESE = (
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
    """One figure and its words."""

    name: str  # "1-stages": the file's name
    title: str
    caption: str
    alt: str
    figure: Figure
    shaded: bool = False  # its colours are numbers, and must stay apart

    def png(self) -> bytes:
        """In 256 colours, chosen to be near every one there is: lines and letters, a quarter of the size, and
        no eye sees it. A colour map has more of them than that, and would be read off wrongly."""
        canvas = FigureCanvasAgg(laid_out(self.figure))
        canvas.draw()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        if not self.shaded:
            image = image.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        stream = io.BytesIO()
        image.save(stream, format="png", dpi=(DPI, DPI))
        return stream.getvalue()

    def svg(self) -> bytes:
        stream = io.BytesIO()
        FigureCanvasSVG(laid_out(self.figure)).print_svg(stream, metadata={"Date": None, "Creator": None})
        return stream.getvalue()


def laid_out(figure: Figure) -> Figure:
    """Lay out once; `savefig` would do it once a format and draw everything once more for it."""
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine("none")
    return figure


@cache
def japanese() -> str | None:
    """A font with Japanese glyphs: matplotlib-fontja's file, which is a dependency, or an installed one."""
    spec = find_spec("matplotlib_fontja")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for file in sorted((Path(folder) / "fonts").glob("*.ttf")):
            font_manager.fontManager.addfont(str(file))
            return font_manager.FontProperties(fname=str(file)).get_name()
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return next((name for name in JAPANESE if name in installed), None)


@contextmanager
def settings(names: str = "") -> Iterator[None]:
    """matplotlib's settings while the figures are drawn and saved; the caller's own are back after it.

    names: what the figures will say; a font with Japanese is looked for where they need one, for it is slow.
    """
    needed = any(character >= "\u2e80" for character in names)
    families = [name for name in ("DejaVu Sans", japanese() if needed else None) if name]
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    log.setLevel(logging.ERROR)  # the Japanese font has no bold: its only weight stands in, and that is fine
    try:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_SETTINGS | {"font.family": families})
            yield
    finally:
        log.setLevel(level)


_SETTINGS = {
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
    """An empty figure that no global state knows of."""
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def expert_colours(names: list[str]) -> dict[str, str]:
    """The base in grey, every expert in a colour of its own."""
    experts = [name for name in names if name != "base"]
    return {"base": QUIET} | {name: EXPERTS[i % len(EXPERTS)] for i, name in enumerate(experts)}


def expert_lines(names: list[str]) -> dict[str, object]:
    experts = [name for name in names if name != "base"]
    return {"base": (0, (1, 1.2))} | {name: LINES[i % len(LINES)] for i, name in enumerate(experts)}


def bare(axes: Axes) -> None:
    """No frame and no tick marks, the labels kept."""
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)


Mark = tuple[float, float, float, float]  # x, y, and the interval's ends
PANEL = (250.0, 200.0)  # points of a panel, roughly
TRIES = [(dx, dy) for dy in (3, -9, 12, -18, 24, -30, 36, -42) for dx in (6, -6)]
HALO = withStroke(
    linewidth=1.8, foreground="white"
)  # where there is no free place, a line can be read through


def beside(axes: Axes, marks: Sequence[Mark], names: Sequence[str], size: float = 7.5) -> None:
    """A name beside every mark, where it covers no mark, interval or other name if there is such a place."""
    spots = [_in_points(axes, *mark) for mark in marks]
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y, _, _ in spots]
    taken += [(x - 1.5, low, x + 1.5, high) for x, _, low, high in spots]
    for (x, y, _, _), mark, name in zip(spots, marks, names, strict=True):
        long = 0.62 * size * len(name)
        boxes = [_box(x + dx, y + dy, long if dx > 0 else -long, size) for dx, dy in TRIES]
        met = [sum(_meet(box, other) for other in taken) + 9 * (not _within(box)) for box in boxes]
        best = met.index(min(met))
        taken.append(boxes[best])
        how = {
            "textcoords": "offset points",
            "fontsize": size,
            "ha": "left" if TRIES[best][0] > 0 else "right",
        }
        axes.annotate(name, mark[:2], TRIES[best], zorder=5, path_effects=[HALO], **how)


def _in_points(axes: Axes, x: float, *heights: float) -> Mark:
    (left, right), (low, high), (width, height) = axes.get_xlim(), axes.get_ylim(), PANEL
    y, first, last = ((value - low) / (high - low) * height for value in heights)
    return (x - left) / (right - left) * width, y, first, last


def _within(box: Sequence[float]) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= PANEL[0] and box[3] <= PANEL[1]


def _box(x: float, y: float, long: float, high: float) -> tuple[float, float, float, float]:
    return (min(x, x + long), y, max(x, x + long), y + high)


def _meet(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
