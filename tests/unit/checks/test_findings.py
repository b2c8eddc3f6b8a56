"""Findings become one-line errors, printed warnings and notes."""

import pytest

from mergekit_finance.checks.catalog import CATALOG
from mergekit_finance.checks.findings import Findings, finding
from mergekit_finance.errors import ModelError, RecipeError


def test_level_and_remedy_come_from_the_catalog():
    one = finding("model.rope", "x has another rope")
    assert (one.level, one.remedy) == ("warning", CATALOG["model.rope"].remedy)
    assert finding("model.rope", "x", "Do this.").remedy == "Do this."


def test_an_id_that_the_catalog_lacks_raises_key_error():
    with pytest.raises(KeyError):
        finding("model.nothing", "x")


@pytest.mark.parametrize(("id", "error"), [("model.broken", ModelError), ("recipe.same-model", RecipeError)])
def test_the_first_error_is_raised_as_one_line(id, error):
    findings = Findings(
        [finding("model.rope", "r"), finding(id, "bad\nfile", "Mend it."), finding(id, "later")]
    )
    with pytest.raises(error) as caught:
        findings.raise_errors("r.yml")
    assert str(caught.value) == f"r.yml: bad file. Mend it. [{id}]"


def test_without_errors_nothing_is_raised():
    findings = Findings([finding("model.rope", "r"), finding("model.unseen", "u")])
    findings.raise_errors()
    lines: list[str] = []
    findings.print_rest(lines.append)
    assert [line.partition(".")[0] for line in lines] == ["warning: r", "note: u"]


def test_warnings_come_before_notes_and_a_line_is_printed_once():
    findings = Findings([finding("model.unseen", "u", "A."), finding("model.rope", "r\x1b[31m", "B.")])
    lines: list[str] = []
    findings.print_rest(lines.append)
    findings.print_rest(lines.append)
    assert lines == ["warning: r\\x1b[31m. B. [model.rope]", "note: u. A. [model.unseen]"]


def test_findings_are_grouped_by_level():
    findings = Findings([finding(id, id) for id in ("model.rope", "model.broken", "model.unseen")])
    assert [[one.id for one in group] for group in (findings.errors, findings.warnings, findings.notes)] == [
        ["model.broken"],
        ["model.rope"],
        ["model.unseen"],
    ]
