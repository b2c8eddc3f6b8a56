"""Inline SVG: a tree of elements that the XML library escapes. Colors are classes of report.css.

Sizes are in units of the view box, which is as wide as a phone's screen: texts stay readable there.
"""

import math
import unicodedata
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

from mergekit_finance.report import labels

WIDTH = 340.0
TEXT_SIZE = 11.0
LETTER = 0.58  # mean width of a letter, as a share of the text's size
RADIUS = 4.0
CORNERS: dict[str, Sequence[tuple[float, float]]] = {
    "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    "triangle": ((0, -1.2), (1.15, 0.9), (-1.15, 0.9)),
    "diamond": ((0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)),
    "down": ((0, 1.2), (1.15, -0.9), (-1.15, -0.9)),
    "star": tuple(
        (size * math.sin(n * math.pi / 5), -size * math.cos(n * math.pi / 5))
        for n, size in enumerate((1.9, 0.8) * 5)
    ),
}  # of a mark of size 1
SHAPES = ("circle", "square", "triangle", "diamond", "down")


def drawing(height: float, label: str, width: float = WIDTH) -> Element:
    """Return an empty picture that is as wide as its place; `label` is its name for screen readers."""
    return Element(
        "svg",
        {
            "class": "chart",
            "viewBox": f"0 0 {_text(width)} {_text(height)}",
            "role": "group",
            "aria-label": labels.without_direction_marks(label),
        },
    )


def add(parent: Element, tag: str, style: str, text: str = "", **places: float) -> Element:
    """Append an element with these classes, a text and coordinates, and return it."""
    attributes = {"class": style} if style else {}
    attributes |= {name: _text(value) for name, value in places.items()}
    child = SubElement(parent, tag, attributes)
    if text:
        child.text = labels.without_direction_marks(text)
    return child


def write(parent: Element, x: float, y: float, text: str, style: str = "", width: float = WIDTH) -> Element:
    """Write a text whose baseline is at y; cut to a width if it is longer."""
    return add(parent, "text", style, fitted(text, width), x=x, y=y)


def value(shape: Element, text: str) -> None:
    """Make a shape show a text: on hover, and on focus. Arrow keys of report.js move between values."""
    shape.set("class", f"value {shape.get('class', '')}".strip())
    shape.set("role", "img")
    shape.set("tabindex", "-1")
    add(shape, "title", "", text)


def dot(
    parent: Element, x: float, y: float, style: str, shape: str = "circle", size: float = RADIUS
) -> Element:
    """Draw a mark of one of SHAPES, so that series differ in more than color."""
    if shape == "circle":
        return add(parent, "circle", f"dot {style}", cx=x, cy=y, r=size)
    path = add(parent, "path", f"dot {style}")
    path.set(
        "d",
        "M" + "L".join(f"{_text(x + size * dx)} {_text(y + size * dy)}" for dx, dy in CORNERS[shape]) + "Z",
    )
    return path


def line(parent: Element, points: Sequence[tuple[float, float]], style: str) -> Element:
    """Draw a line through points."""
    path = add(parent, "path", f"line {style}")
    path.set("d", "M" + "L".join(f"{_text(x)} {_text(y)}" for x, y in points))
    return path


def markup(picture: Element) -> Markup:
    """Return a picture as text for the page; the first of its values can be reached by the tab key."""
    first = next((shape for shape in picture.iter() if shape.get("tabindex")), None)
    if first is not None:
        first.set("tabindex", "0")
    return Markup(tostring(picture, encoding="unicode"))  # escaped by the XML library


def swatch(style: str, shape: str = "circle") -> Markup:
    """Return the mark of a legend's entry."""
    picture = Element("svg", {"class": "swatch", "viewBox": "0 0 14 14", "aria-hidden": "true"})
    if shape in ("line", "dashed", "dotted"):
        line(picture, [(0, 7), (14, 7)], f"{style} {shape if shape != 'line' else ''}".strip())
    elif shape == "ring":
        add(picture, "circle", "ring", cx=7, cy=7, r=5.5)
    else:
        dot(picture, 7, 7, style, shape, 3.4 if shape == "star" else 5)
    return markup(picture)


def text_width(text: str, size: float = TEXT_SIZE) -> float:
    """Return about how wide a text is."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return size * (LETTER * (len(text) - wide) + wide)


def fitted(text: str, width: float, size: float = TEXT_SIZE) -> str:
    """Return a text, cut with an ellipsis if it is wider than `width`."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text, size) > width - size:
        text = text[:-1]
    return f"{text.rstrip()}…"


def both_ends(text: str, width: float) -> str:
    """Return a text, its middle cut if it is wider than `width`: names of methods differ at their ends."""
    cut, kept = text, len(text)
    while text_width(cut) > width and kept > 2:
        kept -= 1
        cut = f"{text[: (kept + 1) // 2].rstrip()}…{text[len(text) - kept // 2 :].lstrip()}"
    return cut


def _text(number: float) -> str:
    """Return a coordinate with at most one digit after the point."""
    return f"{round(number, 1) + 0.0:g}"
