"""Run every command that writes, in process, so that tests can check that its inputs are unchanged."""

import functools
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from click.testing import CliRunner, Result

from helpers import study as studies

Write = Callable[[Path, Path, Any], Result]  # (folder of models, output, monkeypatch) -> what happened


def merge_recipe(folder: Path, **changes: Any) -> dict[str, Any]:
    """Task Arithmetic of base, finance and math."""
    recipe = {
        "merge_method": "cpt_task_arithmetic",
        "base_model": str(folder / "base"),
        "models": [{"model": str(folder / "finance")}, {"model": str(folder / "math")}],
        "parameters": {"lambda": 0.5},
        "dtype": "float32",
        "out_dtype": "bfloat16",
    }
    return {key: value for key, value in {**recipe, **changes}.items() if value is not None}


def write_recipe(path: Path, recipe: Mapping[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return path


def mergekit_yaml(recipe: Path, out: Path | str, *options: str) -> Result:
    """Run mergekit's own command; a mistake of ours is `result.exception`."""
    from mergekit.scripts.run_yaml import main

    from helpers import merging  # registers our methods  # noqa: F401

    return CliRunner().invoke(main, [str(recipe), str(out), "--quiet", *options])


def mkf(*arguments: Any) -> Result:
    """Run `mergekit-finance`."""
    from mergekit_finance.cli import main

    return CliRunner().invoke(main, list(map(str, arguments)))


def _work(models: Path, name: str) -> Path:
    folder = models.parent / "recipes of tests"
    folder.mkdir(exist_ok=True)
    return folder / name


def _recipe(models: Path) -> Path:
    return write_recipe(_work(models, "recipe.yml"), merge_recipe(models))


def _study(models: Path) -> Path:
    return studies.write(_work(models, "study.yml"), models)


def _card(models: Path, out: Path, monkeypatch: Any) -> Result:
    from mergekit_finance.share import card

    sources = [SimpleNamespace(reference=str(models / name)) for name in ("base", "finance", "math")]
    chosen = SimpleNamespace(models=sources, out=models.parent / "study", text_may_be_shared=True, point="p")
    monkeypatch.setattr(card, "choose_point", lambda *_: chosen)
    monkeypatch.setattr(
        card, "_check_target", lambda *_: None
    )  # a folder that is not a card would be refused
    monkeypatch.setattr(card, "_fill", lambda chosen, folder, *_: (folder / "README.md").write_text("card"))
    monkeypatch.setattr(card, "_require_same_models", lambda *_: None)
    return mkf("card", models.parent / "study", "-o", out, "--weights")


def lm_eval(
    recipe: Path,
    tasks: Sequence[Any] = ("finance_bench_fpb",),
    max_length: int | None = None,
    output_path: Path | str | None = None,
    **options: Any,
) -> Result:
    """Run lm-eval on a merge, on two sample rows of a task; a mistake of ours is `result.exception`."""
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker

    from mergekit_finance import register

    register()
    tracker = EvaluationTracker(output_path=str(output_path) if output_path else None)
    try:
        simple_evaluate(
            model="mergekit", model_args={"recipe": str(recipe), "max_length": max_length}, tasks=list(tasks),
            task_manager=_task_manager(), evaluation_tracker=tracker, device="cpu", limit=2, bootstrap_iters=0, **options,
        )  # fmt: skip
    except Exception as error:
        return Result(CliRunner(), b"", b"", b"", None, 1, error)
    return Result(CliRunner(), b"", b"", b"", None, 0, None)


@functools.cache
def _task_manager() -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_defaults=False, metadata={"source": "sample"})


WRITERS: dict[str, Write] = {
    "mergekit-yaml": lambda models, out, _: mergekit_yaml(_recipe(models), out),
    "run": lambda models, out, _: mkf("run", _recipe(models), "-o", out, "--source", "lab", "--limit", 2),
    "study": lambda models, out, _: mkf("study", _study(models), "-o", out, "--quiet"),
    "study plan": lambda models, out, _: mkf("study", "plan", _study(models), "-o", out, "--no-sample"),
    "card": _card,
    "recipes export": lambda models, out, _: mkf("recipes", "export", _study(models), "-o", out, "--force"),
    "similarity": lambda models, out, _: mkf(
        "similarity", "--base", models / "base", models / "finance", "-o", out / "config.json"
    ),
    "lm_eval": lambda models, out, _: lm_eval(_recipe(models), output_path=out),
}


def refusal(result: Result) -> str:
    """Return the one line with which a command refused."""
    from mergekit_finance.errors import MergekitFinanceError

    assert result.exit_code == 1, result.output
    error = result.exception
    if isinstance(error, MergekitFinanceError):  # raised through a host's command
        line = str(error)
    else:
        assert isinstance(error, SystemExit), repr(error)
        (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert "\n" not in line
    return line


def snapshot(folder: Path) -> dict[str, str]:
    """Every path below a folder, with a hash of each file or the target of each link."""
    return {str(path.relative_to(folder)): _state(path) for path in sorted(folder.rglob("*"))}


def _state(path: Path) -> str:
    if path.is_symlink():
        return f"-> {os.readlink(path)}"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
