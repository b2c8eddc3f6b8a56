"""report.html: one file that opens offline. Everything from a study is escaped; scripts run by hash only."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from mergekit_finance.report import facts, items, labels, tables
from mergekit_finance.report.figures.style import Drawn
from mergekit_finance.report.stored import Stored

ORDER = {
    "recovery": "Base and expert: what came back, what did not (stage 1)",
    "complementarity": "Pairs: what complements, what interferes (stage 2)",
    "emergence": "Three experts: what emerged, what did not (stage 3)",
    "interference": "What interfered",
    "operators": "Operators",
    "similarity": "Does similarity predict it?",
}
LIMIT = 4_800_000  # bytes of a page: texts of items fill what figures and tables leave
VECTOR_MOST = 220_000  # bytes: of a larger SVG, its PNG goes in where that is smaller
HOLE = "\0data\0"


@dataclass(frozen=True)
class Picture:
    """A figure with its two files."""

    drawn: Drawn
    png: bytes
    svg: bytes

    @cached_property
    def uri(self) -> Markup:
        """The sharper one unless it is large."""
        kind, data = "image/svg+xml", self.svg
        if len(self.svg) > VECTOR_MOST and len(self.png) < len(self.svg):
            kind, data = "image/png", self.png
        return Markup(f"data:{kind};base64,{base64.b64encode(data).decode()}")


def page(stored: Stored, pictures: Sequence[Picture]) -> str:
    """The whole page. Its data go in last: how much of the texts does, is what the rest leaves of LIMIT."""
    before, _, after = _frame(stored, pictures).rpartition(HOLE)  # only our own script comes after it
    content = items.browser(stored)
    spent = sum(len(part.encode("utf-8", "replace")) for part in (before, after, items.escaped(content)))
    items.spend(stored, content, max(0, LIMIT - spent))
    return before + items.escaped(content) + after


def _frame(stored: Stored, pictures: Sequence[Picture]) -> str:
    style, script = _part("report.css"), _part("report.js")
    return (
        _environment()
        .from_string(_part("report.html.j2"))
        .render(
            policy=Markup(policy(style, script)),
            style=Markup(style),
            script=Markup(script),
            data=Markup(HOLE),
            pictures=pictures,
            stored=stored,
            overview=tables.overview(stored),
            tables=tables.tables(stored),
            **_words(stored),
        )
    )


def _words(stored: Stored) -> dict[str, Any]:
    return {
        "title": facts.title(stored),
        "ship": facts.ship(stored),
        "numbers": facts.numbers(stored),
        "counts": facts.counts(stored),
        "findings": _findings(stored.summary["verdict"]),
        "cautions": facts.cautions(stored),
        "chosen": facts.chosen(stored),
        "recipes": facts.recipes(stored),
        "versions": facts.versions(stored),
        "hashes": facts.hashes(stored),
        "sections": facts.sections(stored),
    }


def _findings(verdict: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Heading -> sentences, in the order of the stages; what to ship and cautions stand elsewhere."""
    about = [s["about"] for s in verdict if s["about"] not in ("ship", "caution")]
    order = [*(name for name in ORDER if name in about), *(n for n in dict.fromkeys(about) if n not in ORDER)]
    return {
        ORDER.get(name, name.capitalize()): [s["text"] for s in verdict if s["about"] == name]
        for name in order
    }


def policy(style: str, script: str) -> str:
    """Nothing is loaded, nothing is sent, and no style or script runs but these two."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _part(name: str) -> str:
    return (files("mergekit_finance.report") / "templates" / name).read_text(encoding="utf-8")


def _environment() -> Environment:
    return Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )


def _shown(value: Any) -> Any:
    """What a study calls things; escaped before, as recipes are, it is copied as it is."""
    return labels.straight(value) if isinstance(value, str) and not isinstance(value, Markup) else value
