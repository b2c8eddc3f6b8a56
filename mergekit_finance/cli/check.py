"""`mergekit-finance check`: find errors in a recipe, a study or models before a run."""

import gc
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import click

from mergekit_finance.checks.catalog import CATALOG, LEVELS
from mergekit_finance.checks.findings import Finding, Findings, finding_of
from mergekit_finance.cli.common import echo
from mergekit_finance.errors import MergekitFinanceError, RecipeError
from mergekit_finance.files import read_yaml

if TYPE_CHECKING:
    from mergekit_finance.models.facts import FactsReader

PARTS = (".safetensors", ".bin", ".json", ".gguf")  # endings of a model's files
RECIPE_KEYS = ("merge_method", "models", "slices", "modules")


class CheckReport(TypedDict):
    """The JSON object that `--json` prints."""

    target: list[str]
    kind: str  # recipe, study, models, or file: neither a recipe nor a study
    errors: int
    warnings: int
    notes: int
    bytes_read: int
    findings: list[dict[str, str]]


@click.command(
    epilog="""\b
Examples:
  mergekit-finance check study.yml             a study: its models, sizes, tokenizers, licenses
  mergekit-finance check recipe.yml            a recipe: its keys and parameters, too
  mergekit-finance check ./base ./finance      models; the others are compared with the first
  mergekit-finance check study.yml --json      the same for programs
"""
)
@click.argument("targets", metavar="RECIPE | STUDY.YML | MODEL...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(targets: tuple[str, ...], as_json: bool) -> None:
    """Report errors, warnings and notes about a recipe, a study, or models, in seconds.

    Reads configs, tokenizers, the headers of weight files and a few values of each tensor; at most 64 MB of
    weights. Nothing is downloaded, loaded or written. Models that are not on this machine are listed as
    not checked. Every finding has an id (docs/checks.md) and a remedy. Exits with 1 if there is an error.
    """
    # Imported here to keep --help fast: numpy and pydantic take half a second.
    from mergekit_finance.models.facts import FactsReader

    reader = FactsReader()
    try:
        with _without_collector():
            kind, findings = _check(targets, reader)
    except MergekitFinanceError as error:
        if not as_json:
            raise
        kind, findings = "file", Findings([finding_of(error, "file.unreadable")])
    if as_json:
        report = CheckReport(
            target=list(targets),
            kind=kind,
            errors=len(findings.errors),
            warnings=len(findings.warnings),
            notes=len(findings.notes),
            bytes_read=reader.bytes_read,
            findings=[_as_json(one) for one in findings],
        )
        echo(json.dumps(report, indent=2))
    else:
        echo(_text(kind, targets, findings))
    if findings.errors:
        raise SystemExit(1)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Turn the cyclic garbage collector off.

    It would run hundreds of times while tokenizers are parsed and a host is imported, a tenth of a check's
    time, and find nothing: parsed files contain no cycles.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _as_json(one: "Finding") -> dict[str, str]:
    """Return a finding with a remedy of its own: that of the catalog where the message has one already."""
    return {**vars(one), "remedy": one.remedy or CATALOG[one.id].remedy}


def _check(targets: Sequence[str], reader: "FactsReader") -> tuple[str, "Findings"]:
    for target in targets:
        if os.path.isfile(target) and target.endswith(PARTS):
            folder = os.path.dirname(target) or "."
            raise RecipeError(f"{target}: a file of a model. Name its folder, {folder}", id="file.unreadable")
    files = [target for target in targets if _is_yaml(target)]
    if not files:
        return "models", check_models(targets, reader)
    if len(targets) > 1:
        raise click.UsageError(f"{files[0]} is a file. Check it alone, or give models only.")
    path = Path(files[0])
    kind = _kind(path)
    return kind, (check_study if kind == "study" else findings_of_recipe)(path, reader)


def _is_yaml(target: str) -> bool:
    path = Path(target)
    return (os.path.exists(path) and not os.path.isdir(path)) or path.suffix in (".yml", ".yaml")


def _kind(path: Path) -> str:
    """Return `recipe` or `study`, from the keys in the file. Raises RecipeError if it is neither."""
    try:
        content = read_yaml(path)
    except FileNotFoundError:
        raise RecipeError(
            f"{path}: no such file. Give a recipe, a study or models.",
            id="file.unreadable",
        ) from None
    if not isinstance(content, dict):
        raise RecipeError(
            f"{path}: neither a recipe nor a study. It must be a mapping of keys.",
            id="file.unreadable",
        )
    return "recipe" if any(key in content for key in RECIPE_KEYS) else "study"


def check_models(references: Sequence[str], reader: "FactsReader") -> "Findings":
    """Return the findings on models; the first is the base of the others. Loads neither torch nor a host."""
    from mergekit_finance.checks.model_checks import examine_models
    from mergekit_finance.checks.resources import resource_note

    findings, merge = examine_models(references, "", reader)
    findings += resource_note(merge)
    return findings


def check_study(path: Path, reader: "FactsReader") -> "Findings":
    """Return the findings on a study: file, models, tasks, licenses.

    Neither torch nor a host is loaded, unless the study names a merge method besides the three operators.
    """
    from mergekit_finance.checks.model_checks import examine_models
    from mergekit_finance.checks.resources import resource_note
    from mergekit_finance.checks.tasks import TaskFacts, check_tasks
    from mergekit_finance.plugins.manager import task_folders
    from mergekit_finance.study import config
    from mergekit_finance.study.methods import skipped_stages
    from mergekit_finance.study.task_findings import study_task_findings

    try:
        study = config.load_study(path)
    except RecipeError as error:
        return Findings([finding_of(error, "study.invalid")])
    references = [study.base, *(expert.model for expert in study.experts.values())]
    findings, merge = examine_models(
        references,
        str(path),
        reader,
        evaluated=frozenset(references),
        out_dtype=study.out_dtype,
        licenses=study.licenses,
        batch_size=study.evaluation.batch_size,
        parallelize=study.evaluation.parallelize,
        chat=bool(study.evaluation.apply_chat_template),
        densities=study.densities,
        filters=study.filters,
    )
    tasks = TaskFacts(
        [*study.tasks, *study.retention, *study.probes],
        task_folders(),
        [Path(folder) for folder in study.include_path],
        study.evaluation.max_gen_toks,
    )
    findings += check_tasks(tasks, merge.models)
    findings += study_task_findings(study, [*tasks.folders, *tasks.include_paths], str(path))
    findings += skipped_stages(study.operators, study.stages, list(study.experts))
    findings += resource_note(merge)
    return findings


def findings_of_recipe(path: Path, reader: "FactsReader") -> "Findings":
    """Return the findings on a recipe: keys and parameters, checked with mergekit, models and tasks."""
    from mergekit_finance.checks.model_checks import examine_models
    from mergekit_finance.checks.resources import resource_note
    from mergekit_finance.recipe.load import load_recipe

    try:
        recipe = load_recipe(path)
    except RecipeError as error:
        return Findings([finding_of(error, "recipe.invalid")])
    evaluated = frozenset((recipe.models[0], *recipe.constituents))
    settings = recipe.merge_settings
    settings["evaluated"] = evaluated
    findings, merge = examine_models(recipe.models, str(path), reader, **settings)
    if names := recipe.finance.tasks:
        # Imported here because a recipe without tasks does not need them: they take 0.1 s.
        from mergekit_finance.checks.tasks import TaskFacts, check_tasks
        from mergekit_finance.evaluation.task_measures import choices_of
        from mergekit_finance.plugins.manager import task_folders
        from mergekit_finance.study.task_findings import task_findings

        included = [path.parent / recipe.finance.include_path] if recipe.finance.include_path else []
        models = [model for model in merge.models if model.reference in evaluated]
        findings += check_tasks(TaskFacts(names, task_folders(), included), models)
        choices = choices_of(recipe.finance.task_settings)
        findings += task_findings(names, choices, [*task_folders(), *included])
    findings += resource_note(merge)
    return findings


def _text(kind: str, targets: Sequence[str], findings: "Findings") -> str:
    """Return the report: errors, warnings and notes, each with its id and remedy."""
    subject = (
        f"{kind} {targets[0]}" if kind != "models" else f"{len(targets)} model{'s' * (len(targets) != 1)}"
    )
    lines = []
    for level in LEVELS:
        group = findings.of_level(level)
        if group:
            lines += ["", f"{level.capitalize()}s"]
        for item in group:
            lines += [f"  [{item.id}] {' '.join(item.message.split())}"]
            lines += [f"      {item.remedy}"] if item.remedy else []
    amounts = {level: len(findings.of_level(level)) for level in LEVELS}
    counts = ", ".join(f"{n} {level}{'s' * (n != 1)}" for level, n in amounts.items())
    return "\n".join([f"Checked {subject}: {counts}.", *lines])
