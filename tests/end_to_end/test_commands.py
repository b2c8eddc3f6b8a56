"""The commands as a user types them: `mergekit-yaml`, `lm_eval`, `mergekit-finance`."""

import json

import pytest
from click.testing import CliRunner
from helpers.commands import error_line, run, run_installed, run_warm

from mergekit_finance.cli import main

SAMPLE = ("--metadata", '{"source": "sample"}')


def model(tiny):
    return (
        "--model",
        "hf",
        "--model_args",
        f"pretrained={tiny}/base",
        "--device",
        "cpu",
        "--batch_size",
        "4",
    )


@pytest.mark.slow
def test_plain_mergekit_yaml_runs_our_recipe(recipe, tmp_path):
    done = run_installed("mergekit-yaml", recipe(), "merged", "--no-write-model-card", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "merged" / "model.safetensors").is_file()


@pytest.mark.slow
def test_plain_lm_eval_runs_our_three_tasks(tiny, tmp_path):
    tasks = "finance_bench_fpb,finance_bench_docmath_cs_cot,finance_bench_jfinqa_numerical"
    short = ("--gen_kwargs", "max_gen_toks=16", "--limit", 2)
    output = ("--output_path", "out", "--log_samples")
    done = run_installed("lm_eval", *model(tiny), "--tasks", tasks, *short, *SAMPLE, *output, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "out").rglob("results_*.json")
    results = json.loads(path.read_text())["results"]
    assert all(0 <= results[task]["score,none"] <= 1 for task in tasks.split(","))
    assert len(list((tmp_path / "out").rglob("samples_*.jsonl"))) == 3


@pytest.mark.slow
def test_plain_lm_eval_lists_and_validates_our_tasks(tmp_path):
    listed = run("lm_eval", "ls", "groups", cwd=tmp_path)  # `ls tasks` reads 14,000 files of the host
    assert "|finance_bench " in listed.stdout, listed.stderr
    validated = run("lm_eval", "validate", "--tasks", "finance_bench_fpb", cwd=tmp_path)
    assert "All tasks found" in validated.stdout, validated.stderr


@pytest.mark.slow
def test_with_the_hook_off_tasks_are_found_by_include_path(tiny, installed_mkf, tmp_path):
    folder = installed_mkf("tasks", "--path").stdout.strip()
    tasks = ("--tasks", "finance_bench_fpb", "--include_path", folder)
    off = {"MERGEKIT_FINANCE_AUTOLOAD": "0"}
    done = run_warm("-m", "lm_eval", *model(tiny), *tasks, "--limit", 2, *SAMPLE, cwd=tmp_path, env=off)
    assert done.returncode == 0 and "finance_bench_fpb" in done.stdout, done.stderr


@pytest.mark.slow
def test_plain_lm_eval_without_data_ends_with_one_line(tiny, tmp_path):
    tasks = ("--tasks", "finance_bench_fpb", "--limit", 2)
    done = run("lm_eval", *model(tiny), *tasks, cwd=tmp_path, env={"FINANCE_BENCH_DATA": "nowhere"})
    line = error_line(done)
    assert "nowhere: not a mirror, it has no MANIFEST.json" in line and "data adopt" in line


@pytest.mark.slow
def test_simple_evaluate_finds_our_tasks_with_its_own_task_manager(tiny):
    code = (
        "import lm_eval; r = lm_eval.simple_evaluate(model='hf', model_args={'pretrained': %r}, device='cpu', limit=2,"
        " tasks=['finance_bench_fpb'], metadata={'source': 'sample'}); print(r['results']['finance_bench_fpb']['score,none'])"
    )
    done = run("python", "-c", code % str(tiny / "base"))
    assert 0 <= float(done.stdout.split()[-1]) <= 1, done.stderr


def test_the_help_shows_examples(mkf):
    assert "mergekit-finance demo" in mkf("--help").stdout
    assert "Examples:" in mkf("run", "--help").stdout


# Started as installed in a test of their own: data, plugins, tasks.
@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (("card", "--help"), "Usage: mergekit-finance card "),
        (("check", "--help"), "Usage: mergekit-finance check "),
        (("demo", "--help"), "Usage: mergekit-finance demo "),
        (("lab", "--help"), "Usage: mergekit-finance lab "),
        (("recipes",), "llama3-8b/study"),
        (("report", "--help"), "Usage: mergekit-finance report "),
        (("run", "--help"), "Usage: mergekit-finance run "),
        (("share", "--help"), "Usage: mergekit-finance share "),
        (("similarity", "--help"), "Usage: mergekit-finance similarity "),
        (("study", "--help"), "Usage: mergekit-finance study "),
    ],
    ids=lambda part: part[0] if isinstance(part, tuple) else "",
)
def test_an_installed_command_starts(installed_mkf, command, shown):
    done = installed_mkf(*command)
    assert done.returncode == 0 and shown in done.stdout, done.stderr


def test_adopt_then_list(installed_mkf, mkf, tmp_path):
    (tmp_path / "raw" / "fpb").mkdir(parents=True)
    row = {"id": 1, "sentence": "Sales rose .", "label": "positive"}
    (tmp_path / "raw" / "fpb" / "test.jsonl").write_text(json.dumps(row))
    done = installed_mkf("data", "adopt", "raw", "--mirror", "m", cwd=tmp_path)
    assert (
        done.returncode == 0
        and "adopted fpb/fpb/test.jsonl" in done.stdout
        and "FINANCE_BENCH_DATA=m" in done.stdout
    )
    assert "CC-BY-NC-SA" in mkf("data", "list").stdout


def test_adopting_a_folder_without_known_files_lists_the_patterns(mkf, tmp_path):
    assert "Looked for: " in error_line(mkf("data", "adopt", tmp_path, "--mirror", tmp_path / "m"))
    assert not (tmp_path / "m").exists()


def test_plugins_are_listed(installed_mkf):
    assert installed_mkf("plugins").stdout.startswith("builtin")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (("lambda: 0.5", "densty: 0.5"), (), "recipe.yml: parameters: unknown parameter 'densty'"),
        (
            ("cpt_task_arithmetic", "cpt_tie"),
            (),
            "merge_method 'cpt_tie' is not known. Did you mean 'cpt_ties'",
        ),
        (("/base", "/bse"), (), "no such folder"),
        (None, ("--tasks", "finance_bench_x"), "unknown task 'finance_bench_x'"),
        (None, ("--source", "smple"), "unknown source 'smple'. Did you mean 'sample'"),
        (None, ("--data-dir", "nowhere"), "nowhere: not a mirror, it has no MANIFEST.json"),
        (None, ("--device", "cuda:9"), "--device cuda:9"),
        (None, ("--batch-size", "many"), "--batch-size 'many'"),
    ],
)
def test_a_users_mistake_is_reported_in_one_line_and_leaves_nothing(
    recipe, tmp_path, monkeypatch, change, options, message
):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(
        main, ["run", str(recipe(*([change] if change else []))), "-o", "out", *options]
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert done.exit_code == 1 and len(errors) == 1 and message in errors[0], done.stderr
    assert not (tmp_path / "out").exists()


def test_a_mistake_ends_the_process_without_a_traceback(recipe, tmp_path):
    wrong = recipe(("lambda: 0.5", "densty: 0.5"))
    done = run("mergekit-finance", "run", wrong, "-o", "out", cwd=tmp_path)
    assert "unknown parameter 'densty'" in error_line(done)


@pytest.mark.slow
def test_the_demo_runs_the_study_on_the_lab_and_draws_it(tmp_path):
    done = run("mergekit-finance", "demo", "--limit", 2, "--workers", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "finance + math + japanese" in done.stdout and "Ship" in done.stdout
    printed = done.stdout.splitlines()
    assert max(map(len, printed)) <= 80 and len(printed) + done.stderr.count("\n") <= 40
    page = (tmp_path / "demo" / "study" / "report.html").read_text(encoding="utf-8")
    assert "nothing was swept" in page and len(page) > 10_000
    assert len(list((tmp_path / "demo" / "study" / "points").iterdir())) == 4 + 7
