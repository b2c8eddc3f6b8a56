"""The card of a merge of another domain does not mention finance."""

import re
from types import SimpleNamespace

import pytest

from mergekit_finance.share import body, front_matter, usage


@pytest.mark.parametrize(("skill", "cited"), [("legal", False), ("finance", True)])
def test_the_title_of_the_paper_on_finance_is_in_the_text_only_if_an_expert_is_in_finance(skill, cited):
    """Also where the study has a finance task. Its BibTeX is there for every domain: it defines Gain and OG."""
    text, bibtex = citation_of({"task": SimpleNamespace(skills=["finance"], dataset="fpb")}, skill)
    assert ("Finance" in text) is cited and "Gain and OG: Ueda, Portet, Suwa, Yasumoto, " in text
    keys = re.findall(r"^@\w+\{(.*),$", bibtex, re.M)
    assert keys == ["ueda2025merging", "yadav2023ties", "goddard2024mergekit", "eval-harness"]


def test_whose_tasks_are_cited_is_right_for_tasks_of_lm_eval_and_of_the_author():
    tasks = {name: SimpleNamespace(skills=["code"], dataset=name) for name in ("arc_easy", "my_code")}
    text, _ = citation_of(tasks, "code")
    assert (
        "Cite also the sources of the tasks that are not part of mergekit-finance: arc_easy, my_code." in text
    )
    assert "other projects" not in text


def citation_of(tasks, skill):
    """Return the text and the BibTeX of a card whose merge has an expert with this skill."""
    choice = SimpleNamespace(
        entry=SimpleNamespace(operator="ties"),
        results=SimpleNamespace(
            all_tasks=tasks,
            study=SimpleNamespace(
                source="lab", skills={"one": frozenset([skill]), "two": frozenset(["math"])}
            ),
        ),
    )
    before, bibtex, after = "\n".join(body._citation(choice)).split("```")
    return before + after, bibtex


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
