"""The facts in the benchmark's READMEs are those of YAMLs and registry: tasks, metrics, groups, sources, licenses.

Their wording is free. Of the headings, those of lm-eval's README template are required, and those that are read here.
"""

import json
import re
from pathlib import Path

import pytest

from mergekit_finance.data.adapters.english import SHOTS_CHOICE, SHOTS_ENTITIES
from mergekit_finance.data.registry import dataset, datasets
from mergekit_finance.files import bundled
from mergekit_finance.hosts.lm_eval import task_index, tasks_by_name

FOLDER = bundled("lm_eval_tasks")
FOLDERS = sorted({path.parent for path in FOLDER.rglob("*.yaml")} - {FOLDER / "_groups"})
# lm_eval/tasks/README.md asks for these in every task folder.
TEMPLATE = [
    "Paper",
    "Citation",
    "Groups, Tags, and Tasks",
    "Groups",
    "Tags",
    "Tasks",
    "Checklist",
    "Changelog",
]
LETTERS = {"finance": "F", "math": "M", "japanese": "J"}
TYPES = {"multiple_choice": "choice", "generate_until": "write", "loglikelihood": "word"}
F1_METRICS = {
    "weighted_f1": "weighted F1",
    "headline_mean_f1": "mean over questions of weighted F1",
    "corpus_entity_f1": "entity F1 over the corpus",
    "macro_f1_two_class": "2-class adjusted macro F1",
}
READMES = [FOLDER / "README.md", *(folder / "README.md" for folder in FOLDERS)]


def table(text, first):
    """Rows of the table whose first column is named `first`, as dictionaries."""
    lines = text[re.search(rf"^\| {first} \|", text, re.MULTILINE).start() :].split("\n\n")[0].splitlines()
    header, _, *body = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): dict(zip(header, row, strict=True)) for row in body}


def section(text, heading):
    """The text under a heading, up to the next heading of its level or above."""
    level, rest = re.search(rf"^(#+) {heading}\n(.*)", text, re.MULTILINE | re.DOTALL).groups()
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


@pytest.fixture(scope="module")
def tasks(manager):
    return manager.load(list(manager.all_subtasks))["tasks"]


@pytest.fixture(scope="module")
def members(manager):
    """The tasks of every group."""
    return {name: list(tasks_by_name(manager.load([name]))) for name in manager.all_groups}


@pytest.fixture(scope="module")
def readme():
    return (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_table_has_every_task_once_and_no_other(tasks, readme):
    names = re.findall(r"^\| `(finance_bench_\w+)` \| [\d,]+", readme, re.MULTILINE)
    named = [name for name in names if name in tasks]
    assert sorted(named) == sorted(tasks) == sorted(table(readme, "task"))


def test_the_table_states_skills_type_shots_license_and_gate(tasks, readme):
    stated = table(readme, "task")
    for name, task in tasks.items():
        row, entry = stated[name], dataset(task.config.dataset_kwargs["fb_dataset"])
        assert row["skills"] == ("+".join(LETTERS[s] for s in task.config.metadata["skills"]) or "none"), name
        assert row["type"] == TYPES[task.OUTPUT_TYPE], name
        shots = SHOTS_CHOICE if task.OUTPUT_TYPE == "multiple_choice" else SHOTS_ENTITIES
        assert int(row["shots"]) == (shots if "shot in shots" in task.config.doc_to_text else 0), name
        assert row["license"] == entry.license, name
        gates = [source.gate for source in entry.sources.values() if source.gate]
        assert row["gate"] == (f"[page]({gates[0]})" if gates else "no"), name
        assert re.fullmatch(r"[\d,]+( [ᶜᵒᵍ])?", row["n"]), name


def test_the_table_states_the_metric_that_the_yaml_aggregates(tasks, readme):
    for name, row in table(readme, "task").items():
        aggregation = tasks[name].aggregation()["score"].__name__
        assert row["primary metric"] == F1_METRICS.get(aggregation, row["primary metric"]), name
        assert (aggregation == "mean") == (row["primary metric"] not in F1_METRICS.values()), name


def test_the_benchmark_comes_first(members, readme):
    assert list(table(readme, "task"))[:18] == members["finance_bench"]


def test_the_groups_table_states_their_sizes(members, readme):
    stated = table(readme, "group")
    assert sorted(stated) == sorted(members)
    for name, row in stated.items():
        assert int(row["tasks"]) == len(members[name]), name


def test_the_overview_names_every_option_command_and_common_metric(readme):
    for name in (
        '--metadata \'{"source": "sample"}\'', "FINANCE_BENCH_DATA", "mergekit-finance data adopt", "--limit",
        "mergekit-finance data pull", "`score`", "`correct`", "`no_answer`", "`acc`", "`acc_norm`",
        "`acc_token`", "hf auth login", "arXiv 2511.02451",
    ):  # fmt: skip
        assert name in readme, name
    assert all(f"({folder.name}/README.md)" in readme for folder in FOLDERS)


def test_the_overview_says_what_is_known_chosen_measured_and_unknown(readme):
    rows = dict(re.findall(r"^\| (known|chosen|measured|unknown) \| (.+) \|$", readme, re.MULTILINE))
    assert list(rows) == ["known", "chosen", "measured", "unknown"]
    assert "list of tasks" in rows["chosen"] and "list of tasks" in rows["unknown"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folders_readme_follows_the_template_of_lm_eval(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#{2,4} (.+)$", text, re.MULTILINE)
    assert [heading for heading in headings if heading in TEMPLATE] == TEMPLATE and text.startswith("# ")
    assert len(headings) == len(set(headings))
    assert "Homepage: " in text and "```bibtex" in section(text, "Citation")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folders_readme_names_its_tasks_groups_tags_and_sources(folder, manager, members, tasks):
    text = (folder / "README.md").read_text(encoding="utf-8")
    names = [path.stem for path in folder.glob("*.yaml")]
    assert names and all(f"`{name}`" in section(text, "Tasks") for name in names)
    groups = {name for name in members if set(names) & set(members[name])}
    stated = section(text, "Groups").replace("Not in `finance_bench_open`", "")
    assert set(re.findall("`(finance_bench\\w*)`", stated)) == groups
    for name in names:
        entry = dataset(tasks[name].config.dataset_kwargs["fb_dataset"])
        assert entry.license.split(" (")[0].split(" as ")[0] in section(text, "Dataset"), entry.name
        for source in entry.sources.values():
            assert source.repo in text and source.revision in text, entry.name
            assert not source.gate or source.gate in text
        assert all(f"`{tag}`" in section(text, "Tags") for tag in task_index(manager)[name].tags)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_metric_of_a_folders_tasks_is_explained(folder, tasks, readme):
    """In the folder's README, or in the overview where all tasks have it."""
    text = (folder / "README.md").read_text(encoding="utf-8") + section(readme, "Metrics")
    for path in folder.glob("*.yaml"):
        for metric in tasks[path.stem].aggregation():
            assert f"`{metric}`" in text, (path.stem, metric)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_published_scores_have_a_command_and_are_marked_as_not_reproduced(folder, members):
    text = (folder / "README.md").read_text(encoding="utf-8")
    folder_tasks = {path.stem for path in folder.glob("*.yaml")}
    scores = section(text, "Published scores")
    commands = re.findall(r"^lm_eval --model hf .*--tasks (\S+)", scores, re.MULTILINE)
    names = [name for command in commands for name in command.split(",")]
    assert folder_tasks & {task for name in names for task in members.get(name, [name])}
    assert re.search(r"^\* \[ \] .*published score.*reproduced", section(text, "Checklist"), re.MULTILINE)


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
    """Every string in JSON, without keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)


def test_no_real_row_is_quoted_in_readmes_or_tests(real_rows):
    """Licenses differ, and one is NC-ND: READMEs and tests may quote only what we wrote."""
    tests = Path(__file__).resolve().parents[2]
    written_by_us = [*READMES, *tests.rglob("*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in written_by_us)
    beginnings = {text[i : i + 26] for i in range(len(text))}
    seen = 0
    for path in real_rows.rglob("*"):
        if path.suffix == ".tsv":
            texts = [line.split("\t")[2] for line in path.read_text(encoding="utf-8").splitlines()[1:]]
        elif path.suffix in (".json", ".jsonl"):
            raw = path.read_text(encoding="utf-8")
            whole = raw.lstrip().startswith("[") or "\n{" not in raw.strip()
            texts = strings(
                json.loads(raw) if whole else [json.loads(line) for line in raw.split("\n") if line.strip()]
            )
        else:
            continue
        for string in texts:
            if len(string) > 25:
                seen += 1
                assert string[:26] not in beginnings or string not in text, f"{path.name}: {string[:40]}"
    assert seen > 5000
