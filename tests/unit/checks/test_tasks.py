"""`check` on names and lengths of tasks: the findings of `run`, `study plan` and `study`, without their hosts."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from helpers import study as studies
from helpers.lm_versions import HAS_SCORERS
from helpers.merging import WORDS, random_models, recipe, write_tokenizer

from mergekit_finance.cli import main
from mergekit_finance.models.facts import ModelFacts


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = random_models(tmp_path_factory.mktemp("tasks") / "m", max_position_embeddings=128)
    for name in ("base", "finance", "math"):
        write_tokenizer(folder / name, WORDS)
    return folder


def study(models: Path, **changes: Any) -> dict[str, Any]:
    return studies.content(models, source="sample", **{"evaluation": {"batch_size": 8}, **changes})


def findings(file: Path, content: dict[str, Any]) -> list[tuple[str, str]]:
    """Return id and line of the errors that `check` reports."""
    file.write_text(yaml.safe_dump(content))
    done = CliRunner().invoke(main, ["check", str(file), "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    report = json.loads(done.output)
    return [(f["id"], f"{f['message']} {f['remedy']}") for f in report["findings"] if f["level"] == "error"]


# lm-eval 0.5 has a group arc_test, whose name is nearer than arc_eu_easy.
LIKE_ARC_ESAY = f"'arc_easy', 'arc_es' or '{'arc_test' if HAS_SCORERS else 'arc_eu_easy'}'"
CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a misspelled task": ({"tasks": ["finance_bench_fbp"]}, "task.unknown", "'finance_bench_fpb'"),
    "a misspelled group": ({"tasks": ["finance_bench_opne"]}, "task.unknown", "'finance_bench_open'"),
    "unknown in retention": ({"retention": ["arc_esay"]}, "task.unknown", "'arc_esay'"),
    "unknown in probes": ({"probes": [{"task": "nothing"}]}, "task.unknown", "'nothing'"),
    "a misspelled task of lm-eval": (
        {"tasks": ["arc_esay"]},
        "task.unknown",
        f"unknown task 'arc_esay' Did you mean {LIKE_ARC_ESAY}? `mergekit-finance tasks` lists "
        "the tasks of this package, `lm_eval ls tasks` all.",
    ),
    "a text with commas": (
        {"tasks": "arc_easy, hellaswag"},
        "task.unknown",
        "unknown task 'arc_easy, hellaswag' Write a YAML list: [arc_easy, hellaswag]; for --tasks put commas between names.",
    ),
    "a text with blanks": ({"probes": "arc_easy piqa"}, "task.unknown", "Write a YAML list: [arc_easy, piqa]; for"),
    "a mapping": ({"tasks": {"task": "arc_easy", "metric": "ac"}}, "task.unknown-metric", "'ac'"),
    "a pattern": ({"tasks": ["finance_bench_f*"]}, "task.unknown", "Patterns are not supported"),
    "a long answer": ({"tasks": ["finance_bench_probe_m"]}, "task.context", "512 tokens"),
    "a long answer in a group": ({"tasks": ["finance_bench_fm"]}, "task.context", "docmath_ss_cot generates"),
    "a long answer of a task of lm-eval": ({"retention": ["gsm8k"]}, "task.context", "gsm8k generates up to 256"),
    "a bound above the context": (
        {"tasks": ["finance_bench_probe_m"], "evaluation": {"max_gen_toks": 128}},
        "task.context",
        "128 tokens",
    ),
    "a task and its group": ({"tasks": ["finance_bench_fpb"], "retention": ["finance_bench_f"]}, "task.twice", "fpb"),
    "no folder of own tasks": ({"include_path": "./mine"}, "task.include-path", "mine"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_task_of_a_study(case: str, models: Path, tmp_path: Path) -> None:
    changes, id, text = CASES[case]
    reported = findings(tmp_path / "study.yml", study(models, **changes))
    assert {one for one, _ in reported} == {id}
    assert any(text in line for _, line in reported)


def test_tasks_that_fit(models: Path, tmp_path: Path) -> None:
    bounded = study(models, tasks=["finance_bench"], evaluation={"max_gen_toks": 100}, retention=["gsm8k"])
    assert findings(tmp_path / "study.yml", bounded) == []
    assert (
        findings(tmp_path / "study.yml", study(models, tasks=["finance_bench_f"], probes=["arc_easy"])) == []
    )


def test_a_task_of_the_users_own(models: Path, tmp_path: Path) -> None:
    own = tmp_path / "mine"
    own.mkdir()
    (own / "a.yaml").write_text(
        "task: mine\noutput_type: generate_until\ngeneration_kwargs: {max_gen_toks: x}\n"
    )
    content = study(models, tasks=["mine"], include_path="mine")
    assert [one for one, _ in findings(tmp_path / "study.yml", content)] == ["task.broken"]
    (own / "a.yaml").write_text("task: finance_bench_fpb\n")
    content = study(models, tasks=["finance_bench_fpb"], include_path="mine")
    assert [one for one, _ in findings(tmp_path / "study.yml", content)] == ["task.twice"]


@pytest.mark.parametrize(
    ("function", "code", "reason"),
    [
        ("gone.score", "", "no module 'gone' for function 'score'"),
        ("helper.score", "def score(: pass", "SyntaxError"),
        ("helper.score", "def other(doc, outputs): pass", "helper.py has no function 'score'"),
        ("helper.score", "import no_such_package\ndef score(doc, outputs): pass", "'no_such_package'"),
        ("helper.score", "try:\n    import no_such_package\nexcept ImportError: pass\nscore = len", ""),
        ("helper.score", "import json\nfrom math import *", ""),
    ],
)
def test_functions_of_the_users_own_tasks_are_found_without_running_code(
    models: Path, tmp_path: Path, function: str, code: str, reason: str
) -> None:
    own = tmp_path / "mine"
    own.mkdir()
    text = f"task: mine\noutput_type: multiple_choice\nprocess_results: !function {function}\n"
    (own / "a.yaml").write_text(f"{text}metric_list: [{{metric: acc}}]\n")
    (own / "helper.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n{code}\n")
    reported = findings(tmp_path / "study.yml", study(models, tasks=["mine"], include_path="mine"))
    assert [one for one, _ in reported] == ["task.broken"] * bool(reason)
    assert all(reason in line for _, line in reported) and not (tmp_path / "run").exists()


def test_a_task_that_a_recipe_names_twice(models: Path, tmp_path: Path) -> None:
    content = recipe(models, "cpt_task_arithmetic", semantics="paper")
    content["finance"] = {"tasks": ["finance_bench_fpb", {"task": "finance_bench_fpb", "weight": 2}]}
    assert [
        "'finance_bench_fpb' appears twice" in line for _, line in findings(tmp_path / "r.yml", content)
    ] == [True]


def test_tasks_of_a_recipe(models: Path, tmp_path: Path) -> None:
    content = recipe(models, "cpt_task_arithmetic", semantics="paper")
    assert findings(tmp_path / "r.yml", content) == []
    content["finance"] = {"tasks": ["finance_bench_fbp", "finance_bench_probe_m"]}
    reported = findings(tmp_path / "r.yml", content)
    assert {one for one, _ in reported} == {"task.unknown", "task.context"}
    assert len(reported) == 2  # all models have the same context


def test_models_that_are_not_on_this_machine_and_configs_without_a_context(tmp_path: Path) -> None:
    from mergekit_finance.checks.tasks import TaskFacts, check_tasks
    from mergekit_finance.plugins.manager import task_folders

    tasks = TaskFacts(["finance_bench_probe_m"], task_folders())
    absent, silent = ModelFacts("a/b"), ModelFacts("c/d", config={"hidden_size": 1})
    assert [one.id for one in check_tasks(tasks, [absent])] == []
    assert [one.id for one in check_tasks(tasks, [silent])] == ["model.unseen"]
    stated = ModelFacts("e/f", config={"text_config": {"n_positions": 512, "max_position_embeddings": 4096}})
    assert [one.id for one in check_tasks(tasks, [stated])] == ["task.context"]


def test_neither_torch_nor_a_host_is_imported(models: Path, tmp_path: Path) -> None:
    studies.write(tmp_path / "study.yml", models, tasks=["finance_bench", "arc_easy"], source="sample")
    code = (
        "import sys; from mergekit_finance.cli import main\n"
        f"try: main(['check', {str(tmp_path / 'study.yml')!r}], standalone_mode=False)\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'transformers', 'mergekit', 'lm_eval', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
