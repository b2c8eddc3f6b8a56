"""The JSON schema of study.yml accepts what a study accepts, and refuses misspelled keys as it does."""

import json
import re
from pathlib import Path

import pytest
import yaml
from helpers import study as helpers
from jsonschema import Draft202012Validator

from mergekit_finance.errors import RecipeError
from mergekit_finance.study import config
from mergekit_finance.study.json_schema import SCHEMA_FILE, study_schema

ROOT = Path(__file__).resolve().parents[3]
VALIDATOR = Draft202012Validator(study_schema())


def documented():
    """Every study.yml of the repository: files, and the YAML blocks of the documentation with experts."""
    for path in sorted((ROOT / "recipes").rglob("study.yml")):
        yield pytest.param(path.read_text(encoding="utf-8"), id=path.parent.name)
    for path in (*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"):
        blocks = re.findall(r"^```yaml\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)
        for k, block in enumerate(block for block in blocks if re.search("^experts:", block, re.M)):
            yield pytest.param(block, id=f"{path.stem}-{k}")


def accepts(content):
    """Whether the schema accepts a file's content; `config.parse_study` must agree."""
    try:
        config.parse_study(content, "study.yml")
        parsed = True
    except RecipeError:
        parsed = False
    assert VALIDATOR.is_valid(content) is parsed, [e.message for e in VALIDATOR.iter_errors(content)]
    return parsed


def test_the_packaged_file_is_the_schema_of_the_model():
    assert json.loads(SCHEMA_FILE.read_text(encoding="utf-8")) == study_schema()
    Draft202012Validator.check_schema(study_schema())


def test_the_largest_number_of_threads_is_that_of_a_study(tmp_path):
    for threads in (1024, 1025):
        content = helpers.content(tmp_path)
        content["evaluation"] |= {"threads": threads}
        assert accepts(content) is (threads == 1024)


@pytest.mark.parametrize("text", documented())
def test_every_study_of_the_repository_is_valid(text):
    assert accepts(yaml.safe_load(text))


@pytest.mark.parametrize(
    "change",
    [
        {"experts": {"legal": "./legal", "code": {"model": "./code", "skills": "code", "licence": "mit"}}},
        {"base_licence": "mit", "stages": 1},
        {"operators": {"ties": None}},
        {"operators": {"ties": {"density": 0.5}, "dare_ties": {"density": [0.2], "seeds": 3}}},
        {"operators": {"ties": {"density": {"finance": 0.2, "math": [0.2, 0.5]}, "weight": 0.5}}},
        {"operators": {"task_arithmetic": {"lambda": {"finance": 1}, "start": {"lambda": {"finance": 1}}}}},
        {"tasks": "arc_easy", "retention": ["piqa", {"task": "boolq", "metric": "acc"}]},
        {"tasks": [{"task": "a", "filter": "flexible-extract", "skills": "legal", "weight": 2}]},
        {"search": {"method": "successive_rejects", "budget": 0.25, "seed": 3}},
        {"search": {"method": "grid"}},
        {"include_path": ["./one", "./two"], "named": {"finance": "finance_bench_fpb"}},
        {
            "select": {
                "maximize": {"a": 1, "b": 2.5},
                "subject_to": {"retention": -2.0, "a": {"points": 1, "against": "math"}},
            }
        },
        {
            "evaluation": {
                "apply_chat_template": "rag",
                "system_instruction": "Be brief.",
                "fewshot_as_multiturn": False,
            }
        },
        {"limit": None, "workers": None, "selection": {"share": 0.5}},
    ],
)
def test_forms_that_a_file_may_use(change):
    assert accepts(helpers.content(".", **change))


@pytest.mark.parametrize(
    "change",
    [
        {"opertors": {}},
        {"experts": {"legal": {"model": "./legal", "skill": "legal"}}},
        {"operators": {"ties": {"densities_": 0.5}}},
        {"operators": {"ties": {"density": {"finance": 2}}}},
        {"operators": {"ties": {"density": {}}}},
        {"tasks": [{"task": "a", "wieght": 2}]},
        {"tasks": [{"metric": "acc"}]},
        {"tasks": [{"task": "a", "weight": 0}]},
        {"evaluation": {"batch": 3}},
        {"select": {"maximize": {}}},
        {"select": {"subject_to": {"retention": {"against": "base"}}}},
        {"selection": {"share": 1.5}},
        {"chain": "worst"},
        {"base": None},
    ],
)
def test_misspelled_keys_and_values_out_of_range_are_not_valid(change):
    assert not accepts(helpers.content(".", **change))
