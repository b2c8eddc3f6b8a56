"""Errors are one line with exit code 1 in the hosts' own programs, and plain exceptions in other programs."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from mergekit_finance.errors import DataError
from mergekit_finance.hosts import programs

FAILS = """
import sys
from mergekit_finance.hosts.programs import report_mistakes
from mergekit_finance.errors import DataError
report_mistakes()
report_mistakes()
raise {error}("rows.jsonl: broken. Copy it again.")
"""


def run_program(folder, name, error="DataError"):
    (folder / name).write_text(FAILS.format(error=error))
    return subprocess.run([sys.executable, str(folder / name)], capture_output=True, text=True)


@pytest.mark.parametrize(
    "name", ["lm_eval", "lm-eval", "mergekit-yaml", "mergekit-multi", "lm_eval-script.py"]
)
def test_in_a_hosts_program_a_mistake_is_reported_in_one_line_with_exit_code_1(tmp_path, name):
    done = run_program(tmp_path, name)
    assert (done.returncode, done.stderr) == (1, "Error: rows.jsonl: broken. Copy it again.\n")


@pytest.mark.parametrize(
    ("name", "error"), [("mine.py", "DataError"), ("lm_eval_all.py", "DataError"), ("lm_eval", "ValueError")]
)
def test_other_programs_and_other_exceptions_keep_their_traceback(tmp_path, name, error):
    done = run_program(tmp_path, name, error)
    assert done.returncode == 1 and done.stderr.startswith("Traceback")
    assert done.stderr.endswith(f"{error}: rows.jsonl: broken. Copy it again.\n")


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("lm_eval.__main__", True),
        ("mergekit.scripts.run_yaml", True),
        ("mergekit_finance.merging.compare", False),
        ("mine", False),
    ],
)
def test_python_m_is_recognized_by_the_modules_name(monkeypatch, module, expected):
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=SimpleNamespace(name=module)))
    assert programs.is_host_program() == expected


def test_python_m_is_recognized_also_if_the_hook_is_installed_before_the_module_is_found(monkeypatch, capsys):
    """The start-up hook runs while Python looks for `lm_eval.__main__`, when sys.argv[0] is still `-m`."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(sys, "argv", ["-m"])
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=None))
    programs.report_mistakes()
    spec = SimpleNamespace(name="lm_eval.__main__")
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=spec))
    sys.excepthook(DataError, DataError("x: missing"), None)
    assert capsys.readouterr().err == "Error: x: missing\n"


def test_the_exception_hook_of_a_users_program_is_not_replaced(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mine.py"])
    before = sys.excepthook
    programs.report_mistakes()
    assert sys.excepthook is before


RECIPE = "merge_method: cpt_ties\nbase_model: a\nparameters: {lambda: %s}\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (RECIPE % ("9" * 5000), "Error: r.yml, line 3: not valid YAML (a number of 5000 characters"),
        (RECIPE % "1" + "x: a\x07b\n", "Error: r.yml, line 4: not valid YAML (control character"),
        ((RECIPE % "1").encode("utf-16"), "Error: r.yml: cannot be read as text (UTF-16, not UTF-8)"),
        (RECIPE % "1", "ValueError"),  # nothing is wrong with the recipe
        (("9" * 5000).join(["merge_method: ties\nx: ", "\n"]), "ValueError"),  # not one of our methods
    ],
)
def test_a_recipe_that_mergekits_parser_refuses_is_reported_in_one_line(tmp_path, text, line):
    (tmp_path / "r.yml").write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "mergekit-yaml").write_text(FAILS.format(error="ValueError"))
    command = [sys.executable, "mergekit-yaml", "r.yml", "out"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(line)
    assert ("Traceback" in done.stderr) == (line == "ValueError")


def test_a_recipe_that_is_missing_or_not_yaml_is_reported_in_one_line_whatever_its_method(tmp_path):
    (tmp_path / "mergekit-yaml").write_text(
        FAILS.format(error="DataError").rpartition("raise")[0]
        + "import yaml\nyaml.safe_load(open(sys.argv[1]))"
    )
    (tmp_path / "broken.yml").write_text("merge_method: linear\nmodels: [\n")
    lines = {
        "missing.yml": "Error: missing.yml: cannot be read (No such file or directory). Give the file of a recipe.\n",
        "broken.yml": "Error: broken.yml, line 3: not valid YAML (did not find expected node content). "
        "[file.unreadable]\n",
    }
    for name, line in lines.items():
        command = [sys.executable, "mergekit-yaml", name, "out"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (1, line)


OPTIONS = """
from mergekit_finance.hosts.programs import report_mistakes
from lm_eval.config.evaluate_config import EvaluatorConfig
report_mistakes()
EvaluatorConfig({options})._configure() if {options!r} else int("x")
"""


@pytest.mark.parametrize(
    ("model", "options", "line"),
    [
        ("--model mergekit", "tasks='x', log_samples=True", "Specify --output_path if providing --log_samples or --predict_only"),
        ("--model=mergekit", "tasks='x', samples={'x': [0]}, limit=1", "If --samples is not None, then --limit must be None"),
        ("-M mergekit", "", None),  # not lm-eval's check of options
        ("--model hf", "tasks='x', log_samples=True", None),
    ],
)  # fmt: skip
def test_options_that_lm_eval_refuses_are_one_line_for_our_model_only(tmp_path, model, options, line):
    (tmp_path / "lm_eval").write_text(OPTIONS.format(options=options))
    command = [sys.executable, str(tmp_path / "lm_eval"), *model.split()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    if line is None:
        assert "Traceback" in done.stderr and "Error: " not in done.stderr.splitlines()[0]
    else:
        assert done.stderr.splitlines()[-1] == f"Error: {line}. Correct the options of lm_eval."
        assert "Traceback" not in done.stderr
