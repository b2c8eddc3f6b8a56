"""report.html: one file that opens offline. Everything from a study is escaped; scripts run by hash only."""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from mergekit_finance.report import item_browser, labels, leaderboard, page_text, tables
from mergekit_finance.report.charts import all_charts
from mergekit_finance.report.imported_table import imported_tables
from mergekit_finance.report.time_bar import time_bar
from mergekit_finance.study.analysis.wording import verdict_sentences
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import Sentence

HEADINGS = {  # what a sentence is about -> its heading, in the order of the page
    "recovery": "Base and expert: what the merge recovers and what it does not (stage 1)",
    "complementarity": "Pairs: where they complement each other and where they interfere (stage 2)",
    "emergence": "Three experts: what emerges and what does not (stage 3)",
    "interference": "Interference by task",
    "operators": "Operators",
    "similarity": "Does similarity predict the result?",
    "objective": "Your objective and its bounds",
    "units": "Measures in other units",
    "search": "What the search did not ask",
}
MAX_PAGE = 4_800_000  # bytes; item texts fill what figures and tables leave
DATA_MARK = "\0data\0"


def page(results: StudyResults) -> str:
    """Return the page as HTML. Item texts are added last, as many as fit into MAX_PAGE bytes."""
    before, _, after = _frame(results).rpartition(DATA_MARK)  # only our own script follows it
    data = item_browser.browser_data(results)
    parts = (before, after, item_browser.script_json(data))
    used = sum(len(part.encode("utf-8", "replace")) for part in parts)
    item_browser.add_texts(results, data, max(0, MAX_PAGE - used))
    return before + item_browser.script_json(data) + after


def _frame(results: StudyResults) -> str:
    """Render the page with a mark in place of the item browser's data."""
    style, script = template_text("report.css"), template_text("tables.js") + template_text("report.js")
    return compiled_template("report.html.j2").render(
        policy=Markup(policy(style, script)),
        style=Markup(style),
        script=Markup(script),
        data=Markup(DATA_MARK),
        charts=all_charts(results),
        with_text=results.with_text,
        splits=results.summary.selection.is_split,
        title=page_text.title(results),
        partial=page_text.partial_note(results),
        ship=page_text.recommendation(results),
        selection_note=page_text.selection_note(results),
        counts=page_text.counts(results),
        leaderboard=leaderboard.leaderboard(results),
        effects=leaderboard.effects(results),
        sentences=page_text.combination_sentences(results),
        scores=leaderboard.scores_by_task(results),
        findings=_findings(verdict_sentences(results.summary)),
        cautions=page_text.cautions(results),
        tables=[*tables.tables(results), *imported_tables(results)],
        recipes=page_text.selected_recipes(results),
        choices=page_text.choices(results),
        time_bar=time_bar(results),
        versions=page_text.stored_versions(results),
        hashes=page_text.hashes(results),
        sections=page_text.plugin_sections(results),
    )


def _findings(verdict: Sequence[Sentence]) -> dict[str, list[str]]:
    """Return heading -> sentences. What to ship and cautions are elsewhere on the page."""
    subjects = dict.fromkeys(s.about for s in verdict if s.about not in ("ship", "caution"))
    order = [*(name for name in HEADINGS if name in subjects), *(n for n in subjects if n not in HEADINGS)]
    return {
        HEADINGS.get(name, name.capitalize()): [s.text for s in verdict if s.about == name] for name in order
    }


def policy(style: str, script: str) -> str:
    """Return a content security policy: no requests, and no style or script except these two."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def compiled_template(name: str) -> Template:
    """Return a template with the macros of all pages; compiling it takes longer than rendering it."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_without_direction_marks,
    )
    return environment.from_string(template_text("macros.html.j2") + template_text(name))


def template_text(name: str) -> str:
    return (files("mergekit_finance.report") / "templates" / name).read_text(encoding="utf-8")


def _without_direction_marks(value: object) -> object:
    """Remove characters that change the direction of text from names; Markup, such as a recipe, is kept."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return labels.without_direction_marks(value)
    return value
