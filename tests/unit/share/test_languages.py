"""The languages that a card names are those of its experts and tasks."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from mergekit_finance.share import languages
from mergekit_finance.study.schema import TaskInfo


def choice(skills: set[str], folder: Path | None = None, base: Path | None = None) -> SimpleNamespace:
    models = [
        SimpleNamespace(name=name, reference=str(place or "/nowhere"))
        for name, place in (("base", base), ("one", folder))
    ]
    return SimpleNamespace(skills=skills, entry=SimpleNamespace(combination=["one"]), models=models)


@pytest.mark.parametrize(
    ("skills", "codes"),
    [
        ({"finance", "math"}, ["en"]),
        ({"finance", "japanese"}, ["en", "ja"]),
        ({"German", "legal"}, ["en", "de"]),
    ],
)
def test_a_skill_can_name_a_language(skills: set[str], codes: list[str]) -> None:
    assert languages.of_experts(choice(skills)) == codes


def test_an_experts_card_adds_languages_to_those_of_its_base(tmp_path: Path) -> None:
    for name, codes in (("base", "[en, ja]"), ("expert", "[en, ja, fr, 'x](y)', 1]"), ("german", "de")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "README.md").write_text(f"---\nlanguage: {codes}\n---\n")
    expert, base = tmp_path / "expert", tmp_path / "base"
    assert languages.of_experts(choice({"legal"}, expert, base)) == ["en", "fr"]
    assert languages.of_experts(choice({"legal", "japanese"}, expert, base)) == ["en", "fr", "ja"]
    assert languages.of_experts(choice({"legal"}, tmp_path / "german", tmp_path / "german")) == ["de"]


def test_the_language_of_another_projects_task_is_not_guessed() -> None:
    task = {"kind": "tasks", "aggregation": "mean"}
    tasks = {
        "arc_easy": TaskInfo(dataset="arc_easy", skills=["general"], **task),
        "finance_bench_fpb": TaskInfo(dataset="fpb", skills=["finance"], **task),
        "finance_bench_fp2": TaskInfo(dataset="fp2", skills=["finance", "japanese"], **task),
    }
    assert languages.of_tasks({"arc_easy": tasks["arc_easy"]}) == []
    assert languages.in_words(languages.of_tasks(tasks)) == "English and Japanese"
    assert languages.in_words(["en", "de", "ja"]) == "English, German and Japanese"
