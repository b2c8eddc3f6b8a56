"""The card of a merge of another domain does not mention finance."""

from types import SimpleNamespace

import pytest

from mergekit_finance.share import body, front_matter, usage


@pytest.mark.parametrize(("skill", "cited"), [("legal", False), ("finance", True)])
def test_the_paper_on_finance_is_cited_only_if_an_expert_is_in_finance(skill, cited):
    """Also where the study has a finance task."""
    choice = SimpleNamespace(
        entry=SimpleNamespace(operator="ties"),
        results=SimpleNamespace(
            all_tasks={"task": SimpleNamespace(skills=["finance"], dataset="fpb")},
            study=SimpleNamespace(
                source="lab", skills={"one": frozenset([skill]), "two": frozenset(["math"])}
            ),
        ),
    )
    text = "\n".join(body._citation(choice))
    assert ("Finance" in text) is cited and "yadav2023ties" in text and "malo2014good" not in text


def test_only_tasks_of_this_project_have_generated_rows():
    """`source: lab` is for finance_bench tasks; the rows of arc_easy are its own."""
    tasks = {
        name: SimpleNamespace(dataset=name.removeprefix("finance_bench_"))
        for name in ("arc_easy", "finance_bench_fpb")
    }
    choice = SimpleNamespace(results=SimpleNamespace(study=SimpleNamespace(source="lab"), tasks=tasks))
    assert front_matter._dataset(choice, "arc_easy").name == "arc_easy"
    assert "rows generated" in front_matter._dataset(choice, "finance_bench_fpb").name


@pytest.mark.parametrize(("folders", "said"), [(("my_tasks",), True), ((), False)])
def test_the_card_says_that_the_authors_task_files_are_needed(folders, said):
    """The study.yml of a card has no include_path, so its study cannot be repeated as it is."""
    choice = SimpleNamespace(
        name="", point="p", results=SimpleNamespace(study=SimpleNamespace(include_path=folders))
    )
    text = "\n".join(usage.reproduce(choice, SimpleNamespace(install="pip install x", has_weights=False)))
    assert ("name their folder as `include_path` in `study.yml`" in text) is said
