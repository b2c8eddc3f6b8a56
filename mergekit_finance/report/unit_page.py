"""report.html of a study without a selection: tables in each unit, and what the results depend on."""

from markupsafe import Markup

from mergekit_finance.report import page_text, tables
from mergekit_finance.report.imported_table import imported_tables
from mergekit_finance.report.page import compiled_template, policy, template_text
from mergekit_finance.study.results import StudyResults


def unit_page(results: StudyResults) -> str:
    """Return the page of a study whose tasks are measured in other units. It has no figures."""
    style, script = template_text("report.css"), template_text("tables.js")
    return compiled_template("units.html.j2").render(
        policy=Markup(policy(style, script)),
        style=Markup(style),
        script=Markup(script),
        title=page_text.title(results),
        partial=page_text.partial_note(results),
        cautions=page_text.cautions(results),
        tables=[*tables.tables(results), *imported_tables(results)],
        settings=page_text.study_settings(results),
        versions=page_text.stored_versions(results),
        hashes=page_text.hashes(results),
    )
