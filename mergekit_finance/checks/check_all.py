"""The one function that every command calls before it merges or evaluates."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mergekit_finance.checks.findings import Findings, forget_printed
from mergekit_finance.checks.model_checks import examine_models
from mergekit_finance.errors import print_to_stderr
from mergekit_finance.models.facts import FactsReader, fetched_folder, load_config, stored_folder
from mergekit_finance.models.loading import load_tokenizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from mergekit_finance.checks.merge_facts import How

Say = Callable[[str], None]
_passed: set[tuple[object, ...]] = set()  # checks that passed in this process


def check_all(
    references: Sequence[str],
    where: str,
    *,
    say: Say = print_to_stderr,
    trust_remote_code: bool = False,
    tokenizers: Collection[str] = (),
    fetch: bool = True,
    folders: Mapping[str, Path] | None = None,
    **how: "Unpack[How]",
) -> None:
    """Check models before they are merged or evaluated; print warnings and notes, each once per process.

    The same models, unchanged on disk, are checked once per process.

    Args:
        references: every model, the base first.
        where: the file that names them, for messages.
        say: prints a line.
        trust_remote_code: whether transformers may run code of the models' repositories.
        tokenizers: references of models whose tokenizer is loaded with transformers, because it is used.
        fetch: fetch models of the Hub, first their configs, so that those that do not fit cost no download;
            and load every config with transformers. False: look at what is on this machine only.
        folders: the folders of models that a host has opened already, by reference.
        how: fields of MergeFacts.

    Raises:
        ModelError, RecipeError: in one line, the first error.
    """
    folders = folders or {}
    if (key := _key(references, where, fetch, tokenizers, folders, how)) in _passed:
        return
    findings = _examined(references, where, how, folders)
    if fetch:
        for reference in references:
            load_config(reference, trust_remote_code)
        remote = [reference for reference in references if not os.path.isdir(reference)]
        if remote:
            _examined(references, where, how, folders)
            for reference in remote:
                fetched_folder(reference)
            findings = _examined(references, where, how, folders)
    for reference in tokenizers:
        load_tokenizer(reference, trust_remote_code)
    findings.print_rest(say)
    _passed.add(key)


def start_again() -> None:
    """Clear the record of checked models and printed lines, as in a new process."""
    _passed.clear()
    forget_printed()


def _examined(references: Sequence[str], where: str, how: "How", folders: Mapping[str, Path]) -> Findings:
    findings, _ = examine_models(references, where, FactsReader(), folders, **how)
    findings.raise_errors(where)
    return findings


def _key(
    references: Sequence[str],
    where: str,
    fetch: bool,
    tokenizers: Collection[str],
    folders: Mapping[str, Path],
    how: "How",
) -> tuple[object, ...]:
    """Return the key of a check: its arguments, and size and time of every file of the models."""
    files = []
    for reference in references:
        folder = folders.get(reference) or stored_folder(reference)
        try:
            stats = [(p.name, p.stat()) for p in sorted(folder.iterdir())] if folder else []
        except OSError:
            stats = []
        files.append((str(folder), *((name, s.st_size, s.st_mtime_ns, s.st_ino) for name, s in stats)))
    return (tuple(references), where, fetch, tuple(tokenizers), tuple(sorted(how.items())), tuple(files))
