"""`mergekit-finance run`: merge one recipe in memory and compare it with its constituents."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mergekit_finance.cli.common import (
    ITEMS,
    OutputFolder,
    check_device,
    default_device,
    echo,
    print_width,
    resumable,
)

if TYPE_CHECKING:
    from mergekit_finance.evaluation.chat import ChatSettings
    from mergekit_finance.models.spread import Spread

MAX_BATCH = 65536


@click.command(
    epilog="""\b
Examples:
  mergekit-finance run recipe.yml -o out
  mergekit-finance run recipe.yml -o out --tasks finance_bench_fpb --limit 200 --device cuda
  mergekit-finance run recipe.yml -o out --source sample        # bundled sample rows, no download
"""
)
@click.argument("recipe", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--out",
    required=True,
    type=OutputFolder(),
    help="Output directory: gain.json, and points/<name>/ with lm-eval's results and samples.",
)
@click.option(
    "--tasks", help="Comma-separated tasks or groups.  [default: the recipe's, else three finance tasks]"
)
@click.option(
    "--limit",
    type=ITEMS,
    help="First N items of every task (a random sample: rows are in hash order).",
)
@click.option("--device", help="cpu, cuda, cuda:1, …  [default: cuda if a GPU is available, else cpu]")
@click.option(
    "--batch-size", default="auto", show_default=True, help="A number, or auto: as many prompts as fit."
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "hf", "compiled"]),
    default="auto",
    show_default=True,
    help="What computes the answers: lm_eval's hf, or compiled (faster). auto: compiled where supported.",
)
@click.option(
    "--dtype",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    help="Dtype to evaluate in; auto: the stored one.",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Dataset mirror; overrides $FINANCE_BENCH_DATA.",
)
@click.option("--source", help="Dataset source by name, e.g. hub, github, sample.")
@click.option(
    "--include-path",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of your own lm-eval tasks, whose Python code runs; overrides the recipe's.",
)
@click.option(
    "--apply-chat-template",
    "--apply_chat_template",
    is_flag=False,
    flag_value="true",
    metavar="[NAME]",
    help="Prompts in each model's chat format, as with lm_eval; a name where a tokenizer has several.",
)
@click.option("--system-instruction", "--system_instruction", help="A system message for every prompt.")
@click.option(
    "--fewshot-as-multiturn",
    "--fewshot_as_multiturn",
    type=bool,
    is_flag=False,
    flag_value="true",
    metavar="[BOOL]",
    help="Few-shot examples as turns of the chat.  [default: with --apply-chat-template]",
)
@click.option(
    "--parallelize",
    is_flag=True,
    help="Spread one model over all GPUs, layer by layer, as with lm_eval.",
)
@click.option(
    "--max-memory-per-gpu",
    "--max_memory_per_gpu",
    metavar="SIZE",
    help="With --parallelize: weights that one GPU may hold, such as 40GiB.  [default: most of what is free]",
)
@click.option(
    "--trust-remote-code", is_flag=True, help="Allow model repositories to run Python code (dangerous)."
)
def run(
    recipe: Path,
    out: Path,
    tasks: str | None,
    limit: int | None,
    device: str | None,
    batch_size: str,
    engine: str,
    dtype: str,
    data_dir: Path | None,
    source: str | None,
    include_path: Path | None,
    apply_chat_template: str | None,
    system_instruction: str | None,
    fewshot_as_multiturn: bool | None,
    parallelize: bool,
    max_memory_per_gpu: str | None,
    trust_remote_code: bool,
) -> None:
    """Merge RECIPE in memory, evaluate it and its constituents, print Gain and OG.

    Models whose results are already in the output directory are not evaluated again.
    """
    # Imported here to keep --help fast: torch and the hosts take seconds.
    from mergekit_finance.evaluation.evaluator import Evaluator
    from mergekit_finance.evaluation.task_measures import choices_of
    from mergekit_finance.recipe import load as recipes
    from mergekit_finance.report.console import run_text
    from mergekit_finance.report.markdown import fitted_tables
    from mergekit_finance.study.config import DEFAULT_TASKS
    from mergekit_finance.study.single import SingleRun

    check_device(device)
    checked = recipes.load_recipe(recipe)
    if include_path is None and checked.finance.include_path:
        include_path = recipe.parent / checked.finance.include_path
        echo(f"{recipe}: include_path {include_path}: Python code of tasks in this folder may run", err=True)
    names = _task_names(tasks) if tasks is not None else checked.finance.tasks or DEFAULT_TASKS
    settings = {name: one for name, one in checked.finance.task_settings.items() if name in names}
    metadata = {key: str(value) for key, value in (("data_dir", data_dir), ("source", source)) if value}
    device = device or default_device()
    evaluator = Evaluator(
        names,
        batch_size=_batch_size(batch_size),
        engine="hf" if engine == "hf" else "compiled",
        device=device,
        dtype=dtype,
        include_paths=[include_path] if include_path else [],
        choices=choices_of(settings),
        chat=_chat(apply_chat_template, system_instruction, fewshot_as_multiturn),
        metadata={**metadata, "tokenizer": checked.base or checked.experts[0]},  # acc_token counts its tokens
        spread=_spread(parallelize, device, max_memory_per_gpu, engine),
    )
    with resumable(out):
        result = SingleRun(checked, evaluator, out, limit, trust_remote_code, task_settings=settings).run()
    echo(
        f"\n{fitted_tables(run_text(result), print_width())}\n\n"
        f"Written to {out / 'gain.json'}; lm-eval's results and samples in {out / 'points'}"
    )


def _task_names(text: str) -> tuple[str, ...]:
    """Return the names of `--tasks`."""
    from mergekit_finance.recipe.load import split_names  # see the note in run

    names = split_names(text)
    if repeated := [name for number, name in enumerate(names) if name in names[:number]]:
        raise click.ClickException(f"--tasks: {repeated[0]!r} appears twice. Name it once.")
    return names


def _chat(template: str | None, instruction: str | None, multiturn: bool | None) -> "ChatSettings":
    """Return how prompts are formatted; the options have the meaning of those of `lm_eval`."""
    from mergekit_finance.evaluation.chat import ChatSettings  # see the note in run

    if multiturn and not template:
        raise click.ClickException(
            "--fewshot-as-multiturn: needs --apply-chat-template, as with lm_eval. Add it, or leave both out."
        )
    return ChatSettings(template == "true" or template or False, instruction or None, multiturn)


def _spread(parallelize: bool, device: str, max_memory_per_gpu: str | None, engine: str) -> "Spread | None":
    """Return the devices that one model is spread over; the options mean what they do in `lm_eval`."""
    from mergekit_finance.models.spread import Spread  # see the note in run

    if parallelize and engine == "compiled":
        raise click.ClickException(
            "--engine compiled: answers on one GPU; with --parallelize, leave it out: hf answers."
        )
    if parallelize:
        return Spread.over(device, max_memory_per_gpu)
    if max_memory_per_gpu:
        raise click.ClickException("--max-memory-per-gpu: needs --parallelize. Add it, or leave both out.")
    return None


def _batch_size(text: str) -> int | str:
    """Return the batch size as lm-eval expects it: a number, `auto` or `auto:N`."""
    number = text.removeprefix("auto:")
    if text == "auto" or (re.fullmatch("[0-9]{1,5}", number) and 0 < int(number) <= MAX_BATCH):
        return text if text.startswith("auto") else int(text)
    raise click.ClickException(f"--batch-size {text!r}: use a number up to {MAX_BATCH}, auto or auto:N.")
