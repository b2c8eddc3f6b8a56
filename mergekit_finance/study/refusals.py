"""What `study` and `run` refuse before anything is evaluated: tasks, contexts, the output folder."""

import os
from collections.abc import Sequence
from pathlib import Path

from mergekit_finance.checks.contexts import (
    check_context,
    check_special_tokens,
    context_of,
    tokenizer_context,
)
from mergekit_finance.checks.findings import Findings
from mergekit_finance.checks.output import RESULT_FOLDERS, Input, check_output, refusal
from mergekit_finance.errors import RecipeError, default_id
from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.files import writable_folder
from mergekit_finance.models.facts import load_config
from mergekit_finance.models.loading import load_tokenizer

FILES = (
    "study.json",
    "tasks.json",
    "index.json",
    "similarity.json",
    "summary.json",
    "timings.json",
    "analysis.json",
)


@default_id("task.rows")
def require_metrics(evaluator: Evaluator, where: str) -> None:
    """Raise if there is no task, or one that computes no metric."""
    if not evaluator.task_names:
        raise RecipeError(f"{where}: no tasks to evaluate", id="task.none")
    _ = evaluator.measures  # raises where a task has no metric


def check_contexts(
    evaluator: Evaluator, references: Sequence[str], where: str, trust_remote_code: bool
) -> None:
    """Raise if lm-eval cannot evaluate a task with a model, or with a merge, which has the base's settings.

    A task's answers must fit the context, and log-likelihoods need a bos or eos token.
    """
    generated = evaluator.generated_tokens
    for reference in references:
        tokenizer = load_tokenizer(reference, trust_remote_code)
        if generated:
            context = context_of(load_config(reference, trust_remote_code)) or tokenizer_context(tokenizer)
            Findings(check_context(reference, context, generated)).raise_errors(where)
        if evaluator.compares_options:
            Findings(check_special_tokens(reference, tokenizer)).raise_errors(where)


def check_folder(out: Path, inputs: Sequence[Input]) -> None:
    """Raise if results cannot be written to the output folder, or would change an input. Nothing is created.

    Selected merges in OUT/selected are inputs of later stages, and of recipes that use them.
    """
    check_output(out, inputs, writes=RESULT_FOLDERS, may_hold=("selected",))
    if reason := writable_folder(out):
        raise refusal("output.not-writable", f"-o {out}: {reason}")
    for name in ("answers", "points", ".locks", "selected"):
        place = out / name
        if place.exists() and not place.is_dir():
            raise refusal("output.not-a-directory", f"-o {out}: {place} exists and is not a directory")
        if place.exists() and not os.access(place, os.R_OK | os.W_OK | os.X_OK):
            raise refusal("output.not-writable", f"-o {out}: {place} is not writable")
    for name in (*FILES, "gain.json"):
        if (out / name).is_dir():
            raise refusal("output.not-writable", f"-o {out}: {out / name} is a directory")
