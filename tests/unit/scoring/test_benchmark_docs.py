"""The benchmark's READMEs say what YAMLs and registry say."""

import json
import re
from pathlib import Path

import pytest
from lm_eval.tasks import TaskManager

from mergekit_finance import registration as integration
from mergekit_finance.data.adapters.english import SHOTS_CHOICE, SHOTS_ENTITIES
from mergekit_finance.data.registry import dataset
from mergekit_finance.files import bundled
from mergekit_finance.plugins.manager import datasets

integration.register()

FOLDER = bundled("lm_eval_tasks")
FOLDERS = sorted({path.parent for path in FOLDER.rglob("*.yaml")} - {FOLDER / "_groups"})
HEADINGS = [
    "## Paper",
    "### Citation",
    "### Groups, Tags, and Tasks",
    "#### Groups",
    "#### Tags",
    "#### Tasks",
    "### Dataset",
    "### Prompt, metric and split",
    "### Differences from the original",
    "### Published scores",
    "### Pitfalls",
    "### Known, chosen, measured, unknown",
    "### Checklist",
    "### Changelog",
]
LETTERS = {"finance": "F", "math": "M", "japanese": "J"}
TYPES = {"multiple_choice": "choice", "generate_until": "write"}
READMES = [FOLDER / "README.md", *(folder / "README.md" for folder in FOLDERS)]


def table(text, first):
    """Rows of the table whose first column is named `first`, as dictionaries."""
    lines = text[re.search(rf"^\| {first} \|", text, re.MULTILINE).start() :].split("\n\n")[0].splitlines()
    header, _, *body = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): dict(zip(header, row, strict=True)) for row in body}


@pytest.fixture(scope="module")
def manager():
    return TaskManager(include_defaults=False, metadata={"source": "sample"})


@pytest.fixture(scope="module")
def tasks(manager):
    return manager.load(list(manager.all_subtasks))["tasks"]


@pytest.fixture(scope="module")
def members(manager):
    """The tasks of every group."""
    return {name: list(manager.load([name])["tasks"]) for name in manager.all_groups}


@pytest.fixture(scope="module")
def readme():
    return (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_table_has_every_task_once_and_no_other(tasks, readme):
    names = re.findall(r"^\| `(finance_bench_\w+)` \| [\d,]+", readme, re.MULTILINE)
    named = [name for name in names if name in tasks]
    assert sorted(named) == sorted(tasks) == sorted(table(readme, "task"))


def test_the_table_states_skills_type_shots_licence_and_gate(tasks, readme):
    stated = table(readme, "task")
    for name, task in tasks.items():
        row, known = stated[name], dataset(task.config.dataset_kwargs["fb_dataset"])
        assert row["skills"] == ("+".join(LETTERS[s] for s in task.config.metadata["skills"]) or "none"), name
        assert row["type"] == TYPES[task.OUTPUT_TYPE], name
        shots = SHOTS_CHOICE if task.OUTPUT_TYPE == "multiple_choice" else SHOTS_ENTITIES
        assert int(row["shots"]) == (shots if "shot in shots" in task.config.doc_to_text else 0), name
        assert row["licence"] == known.licence, name
        gates = [source.gate for source in known.sources.values() if source.gate]
        assert row["gate"] == (f"[page]({gates[0]})" if gates else "no"), name
        assert re.fullmatch(r"[\d,]+( [ᶜᵒᵍ])?", row["n"]), name


def test_the_benchmark_comes_first(members, readme):
    assert list(table(readme, "task"))[:18] == members["finance_bench"]


def test_the_groups_table_states_their_sizes(members, readme):
    stated = table(readme, "group")
    assert sorted(stated) == sorted(members)
    for name, row in stated.items():
        assert int(row["tasks"]) == len(members[name]), name


def test_the_overview_says_what_must_be_said(readme):
    for text in (
        '--metadata \'{"source": "sample"}\'', "FINANCE_BENCH_DATA", "mergekit-finance data adopt", "--limit",
        "mergekit-finance data pull", "`score`", "`correct`", "`no_answer`", "hf auth login", "is our choice",
        "is our reading", "not a target to the digit", "None was run by us", "lm-eval's built-in",
    ):  # fmt: skip
        assert text in readme, text
    assert all(f"({folder.name}/README.md)" in readme for folder in FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folders_readme_has_the_headings_in_order(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    found = [line for line in text.splitlines() if re.match("#{2,4} ", line)]
    assert found == HEADINGS and text.startswith("# ")
    assert "Homepage: " in text and "```bibtex" in text


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folders_readme_names_its_tasks_groups_tags_and_sources(folder, manager, members, tasks):
    text = (folder / "README.md").read_text(encoding="utf-8")
    own = [path.stem for path in folder.glob("*.yaml")]
    assert own and all(f"`{name}`" in text for name in own)
    section = text.split("#### Groups")[1].split("#### Tags")[0]
    groups = {name for name in members if set(own) & set(members[name])}
    assert (
        set(re.findall("`(finance_bench\\w*)`", section.replace("Not in `finance_bench_open`", ""))) == groups
    )
    for name in own:
        known = dataset(tasks[name].config.dataset_kwargs["fb_dataset"])
        assert known.licence.split(" (")[0].split(" as ")[0] in text, known.name
        for source in known.sources.values():
            assert source.repo in text and source.revision in text, known.name
            assert not source.gate or source.gate in text
        assert all(f"`{tag}`" in text for tag in manager.task_index[name].tags)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_published_scores_are_marked_as_not_run_and_have_a_command(folder, manager):
    text = (folder / "README.md").read_text(encoding="utf-8")
    section = text.split("### Published scores")[1].split("### Pitfalls")[0]
    assert "ot run by us" in section or "Nothing was run by us" in section
    assert "lm_eval --model hf" in section


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.parent.name)
def test_commands_name_tasks_and_datasets_that_exist(path, manager):
    text = path.read_text(encoding="utf-8")
    names = [name for line in re.findall(r"--tasks (\S+)", text) for name in line.strip("`;").split(",")]
    assert names and not [name for name in names if name not in manager.all_tasks]
    pulled = [
        name for line in re.findall(r"^mergekit-finance data pull (.+)$", text, re.M) for name in line.split()
    ]
    assert not [name for name in pulled if name not in datasets() and not name.startswith("-")]


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.parent.name)
def test_files_that_a_readme_names_exist(path):
    root = Path(__file__).resolve().parents[3]
    text = path.read_text(encoding="utf-8")
    assert all((root / name).is_file() for name in re.findall(r"`(tests/[\w/]+\.py)`", text))
    assert all((path.parent / name).is_file() for name in re.findall(r"\]\((\w+/README\.md)\)", text))


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)


def test_no_real_row_is_quoted_in_readmes_or_tests(real_rows):
    """Licences differ, and one is NC-ND: what the files of this folder quote must be written by us."""
    tests = Path(__file__).resolve().parents[2]
    written_by_us = [*READMES, *tests.rglob("*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in written_by_us)
    seen = 0
    for path in real_rows.rglob("*"):
        if path.suffix == ".tsv":
            found = [line.split("\t")[2] for line in path.read_text(encoding="utf-8").splitlines()[1:]]
        elif path.suffix in (".json", ".jsonl"):
            raw = path.read_text(encoding="utf-8")
            whole = raw.lstrip().startswith("[") or "\n{" not in raw.strip()
            found = strings(
                json.loads(raw) if whole else [json.loads(line) for line in raw.split("\n") if line.strip()]
            )
        else:
            continue
        for string in found:
            if len(string) > 25:
                seen += 1
                assert string not in text, f"{path.name}: {string[:40]}"
    assert seen > 5000
