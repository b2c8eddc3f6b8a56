"""What `study` and `run` refuse before anything is evaluated: tasks, contexts, the output folder."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from mergekit_finance.checks.check_all import Say
from mergekit_finance.checks.contexts import (
    check_context,
    check_special_tokens,
    context_of,
    tokenizer_context,
)
from mergekit_finance.checks.findings import Findings, finding
from mergekit_finance.checks.output import CARD_MANIFEST, RESULT_FOLDERS, Input, check_output, refusal
from mergekit_finance.errors import RecipeError, default_id
from mergekit_finance.evaluation.chat import ChatTemplate
from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.files import writable_folder
from mergekit_finance.hosts.lm_eval_output import quiet
from mergekit_finance.models.facts import load_config
from mergekit_finance.models.loading import load_tokenizer, torch_dtype
from mergekit_finance.study import config
from mergekit_finance.study.config import Study
from mergekit_finance.study.read_files import optional_object
from mergekit_finance.study.schema import answer, gain, stored

FILES = (
    "study.json",
    "tasks.json",
    "index.json",
    "similarity.json",
    "summary.json",
    "timings.json",
    "analysis.json",
    "unfinished.json",
)
RESULTS_NAME = re.compile(r".+-[0-9a-f]{12}", re.DOTALL)  # of a model's folder in OUT/points: see `digest`
# The newest format that this version writes.
FORMATS = {
    "study.json": stored.FORMAT,
    "summary.json": answer.FORMAT,
    "unfinished.json": stored.FORMAT,
    "gain.json": gain.FORMAT,
}


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


def check_chat(evaluator: Evaluator, references: Sequence[str], say: Say, trust_remote_code: bool) -> None:
    """Raise if a model's chat template fails on a short conversation.

    A warning is printed where a template refuses the system instruction, or has no name and one is asked for.

    Args:
        evaluator: its settings.
        references: the models that are evaluated.
        say: prints a line.
        trust_remote_code: whether their tokenizers may run code.
    """
    choice = evaluator.chat.apply_chat_template
    if not choice:
        return
    tokenizers = {one: evaluator.tokenizer(one, trust_remote_code) for one in references}
    unnamed = [one for one, tokenizer in tokenizers.items() if isinstance(tokenizer.chat_template, str)]
    if unnamed and isinstance(choice, str):
        models = ", ".join(unnamed)
        message = f"{models}: each has one chat template without a name, which is used for {choice!r:.60}"
        Findings([finding("model.chat-template-name", message)]).print_rest(say)
    refusing = [one for one in references if _refuses_system(evaluator, one, trust_remote_code)]
    if refusing and evaluator.chat.system_instruction:
        message = f"the chat template of {', '.join(refusing)} refuses system messages"
        Findings([finding("model.chat-system", message)]).print_rest(say)


def check_processes(study: Study, where: str) -> None:
    """Raise RecipeError if an option asks for several processes where one has all GPUs."""
    try:
        config.check_processes(study)
    except ValueError as error:
        raise RecipeError(f"{where}: {error}", id="study.invalid") from None


def check_spread(evaluator: Evaluator, reference: str, say: Say, trust_remote_code: bool) -> None:
    """Print how a model is spread over the GPUs, if it is; raise ModelError if it does not fit.

    Args:
        evaluator: its settings.
        reference: the base; merges and experts have its shapes.
        say: prints a line.
        trust_remote_code: whether its config may run code.
    """
    if evaluator.spread is None:
        return
    base = load_config(reference, trust_remote_code)
    message = evaluator.spread.summary(base, torch_dtype(evaluator.dtype))
    Findings([finding("resources.parallelize", message, "")]).print_rest(say)


def _refuses_system(evaluator: Evaluator, reference: str, trust_remote_code: bool) -> bool:
    template = chat_template(evaluator, reference, trust_remote_code)
    assert template is not None
    messages = [{"role": "system", "content": "instruction"}, {"role": "user", "content": "question"}]
    if "question" not in template(messages[1:]):
        message = f"the chat template of {reference!r} leaves out what the user says"
        raise finding("model.chat-template", message).as_error()
    with quiet():
        return "instruction" not in template(messages)


def chat_template(evaluator: Evaluator, reference: str, trust_remote_code: bool) -> ChatTemplate | None:
    """Return what renders a model's prompts; None: they are as the tasks define them."""
    if not evaluator.chat.apply_chat_template:
        return None
    return evaluator.chat_template(evaluator.tokenizer(reference, trust_remote_code), reference)


def check_folder(out: Path, inputs: Sequence[Input]) -> None:
    """Raise if results cannot be written to the output folder, or would change an input. Nothing is created.

    Selected merges in OUT/selected are inputs of later stages, and of recipes that use them.
    """
    check_output(out, inputs, writes=RESULT_FOLDERS, may_hold=("selected",))
    if (out / CARD_MANIFEST).is_file():
        message = f"-o {out}: holds a model card, whose figures a report of these results would overwrite"
        raise refusal("output.foreign-file", message)
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
    _check_results(out)


def _check_results(out: Path) -> None:
    """Refuse to overwrite files with names of results that are not ours, or that a newer version wrote."""
    is_ours = _holds_results(out / "points")
    for name, newest in FORMATS.items():
        number = optional_object(out / name).get("format")
        is_ours |= isinstance(number, int)
        if isinstance(number, int) and number > newest:
            raise refusal(
                "output.foreign-file",
                f"-o {out}: {out / name} has format {number}, of a newer version of mergekit-finance",
            )
    for name in (*FILES, "gain.json"):
        if not is_ours and (out / name).exists():
            raise refusal("output.foreign-file", f"-o {out}: {out / name} exists, and no study wrote it")


def _holds_results(points: Path) -> bool:
    """Return whether a folder has folders of evaluated models; a folder called `points` may be anybody's."""
    return points.is_dir() and any(map(RESULTS_NAME.fullmatch, os.listdir(points)))
