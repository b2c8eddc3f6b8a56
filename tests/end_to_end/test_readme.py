"""Every command and every program that README.md shows, run on the lab's tiny models."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from helpers.commands import run

from mergekit_finance.study.config import parse_study

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
NOT_RUN = {
    "git clone": "needs a network, and the address is the reader's",
    "make demo": "installs a virtual environment from a package index; .ci/run runs it",
    "make test": "is this test suite",
    "mergekit-finance data pull": "downloads the datasets",
    "export FINANCE_BENCH_DATA": "names what the command above downloads",
}
SMALLER = {  # the beginning of a command -> what is replaced, because there is no GPU, or to save time
    "lm_eval --model mergekit": {
        "--tasks finance_bench ": "--tasks finance_bench_fpb --metadata '{\"source\": \"sample\"}' ",
        "--device cuda": "--device cpu --limit 2",
    },
    "mergekit-finance run": {"--limit 48": "--limit 2 --tasks finance_bench_fpb"},
}  # fmt: skip
SMALLER_STUDY = {  # the same of the study file
    "meta-llama/Meta-Llama-3-8B": "./lab/base",
    "instruction-pretrain/finance-Llama3-8B": "./lab/finance",
    "tokyotech-llm/Llama-3-Swallow-8B-v0.1": "./lab/japanese",
    "[0.2, 0.4, 0.6, 0.8, 1.0]": "[0.4]",
    "[0.2, 0.5, 0.9]": "[0.5]",
    "tasks: finance_bench_open": "tasks: [finance_bench_fpb, finance_bench_cma_basics]\nsource: lab\nlimit: 4\nworkers: 1",
    "retention: finance_bench_retention": "",
}


def blocks(language: str, text: str = TEXT) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def commands(block: str) -> list[tuple[str, str]]:
    """Return the commands of a block, each with the output that is shown below it."""
    parts = re.split(r"^\$ ", block.replace("\\\n", ""), flags=re.M)[1:]
    return [(line, output) for line, _, output in (part.partition("\n") for part in parts)]


CONSOLE = [commands(block) for block in blocks("console")]


def replaced(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, f"README.md no longer shows {old!r}"
        text = text.replace(old, new)
    return text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout as the README's reader has it, with a recipe and a study of the lab's models."""
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "lab").symlink_to(ROOT / "mergekit_finance" / "lab" / "weights")
    recipe = ROOT / "recipes" / "lab" / "stage2-finance-japanese-ties.yml"
    (tmp_path / "recipe.yml").write_text(recipe.read_text())
    (study,) = blocks("yaml")
    (tmp_path / "study.yml").write_text(replaced(study, SMALLER_STUDY))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("block", CONSOLE, ids=lambda block: block[0][0].split("#")[0].strip()[:40])
def test_the_commands_of_the_readme_run_and_print_what_it_shows(
    folder: Path, block: list[tuple[str, str]]
) -> None:
    if block[0][0].startswith("mergekit-finance lab export"):
        (folder / "lab").unlink()
    for line, output in block:
        if any(line.startswith(start) for start in NOT_RUN):
            continue
        for start, changes in SMALLER.items():
            line = replaced(line, changes) if line.startswith(start) else line
        done = run(*shlex.split(line, comments=True), cwd=folder)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        assert output in done.stdout, line


@pytest.mark.slow
def test_the_path_of_getting_started_begins_without_editing_a_file(tmp_path: Path) -> None:
    """The study itself is that of the README's test, with its own models; it takes two minutes."""
    page = (ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8")
    lines = [line for block in blocks("console", page) for line, _ in commands(block)]
    words = [shlex.split(line, comments=True) for line in lines]
    path = [line for line in words if line[0] == "mergekit-finance" and line[1:2] != ["data"]]
    names = [line[1:3] for line in path]
    assert [name for name in names if name != ["demo"]] == [
        ["lab", "export"], ["study", "init"], ["check", "study.yml"], ["study", "study.yml"], ["report", "out"],
        ["card", "out"], ["study", "plan"],
    ]  # fmt: skip
    for line in path:
        if line[1:3] in (["lab", "export"], ["study", "init"], ["check", "study.yml"]):
            done = run(*line, cwd=tmp_path)
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
def test_the_program_of_the_readme_prints_a_loss_for_each_density(folder: Path) -> None:
    (program,) = blocks("python")
    done = run("python", "-c", program, cwd=folder)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == ["0.2", "0.5", "0.9"], done.stderr
    assert len({float(row[1]) for row in rows}) == 3


def test_the_readme_is_at_most_1200_words() -> None:
    assert len(TEXT.split()) <= 1200


@pytest.mark.parametrize(
    "term",
    ["Continual pre-training", "expert", "Task Arithmetic", "TIES", "DARE-TIES", "retention", "constituent"],
)
def test_a_term_is_defined_where_it_first_appears(term: str) -> None:
    """Definitions are in italics."""
    assert TEXT[TEXT.index(term) - 1] == "*"
    assert "a factor λ" in TEXT[: TEXT.index("λ") + 1]


def test_the_readme_says_what_writes_a_first_study_file_in_ten_lines() -> None:
    assert any(line.startswith("mergekit-finance study init ") for block in CONSOLE for line, _ in block)
    (text,) = blocks("yaml")
    assert len(text.splitlines()) == 10


def test_the_study_file_of_the_readme_is_valid() -> None:
    (text,) = blocks("yaml")
    assert parse_study(yaml.safe_load(text), "README.md").stages == (1, 2)


def test_the_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"\bmake ([\w-]+)", TEXT)) - {"up"} <= targets


def test_every_exception_is_a_command_that_the_readme_shows() -> None:
    lines = [line for block in CONSOLE for line, _ in block]
    for start in (*NOT_RUN, *SMALLER):
        assert any(line.startswith(start) for line in lines), start
