"""The card of a merge of another domain does not mention finance."""

from types import SimpleNamespace

import pytest

from mergekit_finance.share import body


@pytest.mark.parametrize(("skill", "cited"), [("legal", False), ("finance", True)])
def test_the_paper_on_finance_is_cited_only_if_a_task_needs_finance(skill, cited):
    choice = SimpleNamespace(
        entry=SimpleNamespace(operator="ties"),
        results=SimpleNamespace(tasks={"task": SimpleNamespace(skills=[skill])}),
    )
    assert ("Finance" in "\n".join(body._citation(choice))) is cited
