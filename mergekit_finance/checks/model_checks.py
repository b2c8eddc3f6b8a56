"""Checks of models before they are merged: where they are, and whether they fit together."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mergekit_finance.checks import configs, lineage, tensors
from mergekit_finance.checks.densities import check_densities
from mergekit_finance.checks.filters import check_filters
from mergekit_finance.checks.findings import Finding, Findings, finding
from mergekit_finance.checks.generation import check_generation
from mergekit_finance.checks.heads import check_heads
from mergekit_finance.checks.license_checks import check_licenses
from mergekit_finance.checks.loadable import check_loadable
from mergekit_finance.checks.merge_facts import Check, MergeFacts
from mergekit_finance.checks.resources import check_resources
from mergekit_finance.checks.small_files import check_chat_templates, check_templates, check_tokenizers
from mergekit_finance.checks.switches import check_switches
from mergekit_finance.checks.token_rows import check_token_rows
from mergekit_finance.errors import counted
from mergekit_finance.models.facts import HUB_ID, SHAPE, VOCABULARY, WEIGHTS, FactsReader
from mergekit_finance.models.json_files import CONFIG
from mergekit_finance.models.weight_files import FLOATS

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from mergekit_finance.checks.merge_facts import How
    from mergekit_finance.files import Json

PAIR = 2  # names in an example


def examine(merge: MergeFacts) -> Findings:
    """Run every check of CHECKS on facts that were read; without a model there is nothing to check."""
    findings = [one for check in CHECKS for one in check(merge)] if merge.models else []
    return Findings(replace(one, level="warning") if one.id in merge.accepted else one for one in findings)


def examine_models(
    references: Sequence[str],
    where: str,
    reader: FactsReader,
    folders: Mapping[str, Path] | None = None,
    **how: "Unpack[How]",
) -> tuple[Findings, MergeFacts]:
    """Check references, read the facts of models and run all checks. No host is loaded, nothing is fetched.

    Args:
        references: the models, the base first.
        where: the file that names them, for messages.
        reader: reads the models and counts the bytes.
        folders: the folders of models that a host has opened, by reference; these references are not checked.
        how: fields of MergeFacts.

    Returns:
        The findings and the facts. A model whose reference is wrong is not among the facts.
    """
    findings, usable, folders = Findings(), [], folders or {}
    for reference in references:
        wrong = [] if reference in folders else list(reference_findings(reference))
        findings += wrong
        if not wrong:
            usable.append(reference)
    findings += same_folder(usable)
    models = tuple(reader.read(reference, folders.get(reference)) for reference in dict.fromkeys(usable))
    merge = MergeFacts(where, models, **how)
    findings += examine(merge)
    return findings, merge


# ---- references


def check_references(references: Sequence[str], where: str) -> None:
    """Check every model's reference, and that no model is named twice.

    Args:
        references: the models to merge.
        where: the file that names them, for messages.

    Raises:
        ModelError: a reference is neither a checkpoint folder nor a Hub id.
        RecipeError: two references are the same folder.
    """
    wrong = [one for reference in references for one in reference_findings(reference)]
    Findings([*wrong, *same_folder(references)]).raise_errors(where)


def check_reference(reference: str, where: str) -> None:
    """Check that a reference is a local folder with a checkpoint, or looks like a Hub id."""
    Findings(reference_findings(reference)).raise_errors(where)


def reference_findings(reference: str) -> Iterator[Finding]:
    """Yield what is wrong with a reference: it must be a local folder with a checkpoint, or a Hub id."""
    model = f"model {reference!r}"
    path = Path(reference.split("+")[0].split("@")[0])
    local = path.is_absolute() or reference.startswith((".", "~")) or os.path.exists(path)
    if not reference:
        yield finding("model.missing", "a model's name is empty", "Name a folder or a Hub id.")
    elif "+" in reference:
        yield finding("model.adapter", f"{model} names a LoRA adapter")
    elif not local:
        if not HUB_ID.fullmatch(reference.split("@")[0]):
            yield finding(
                "model.missing",
                f"{model}: no such folder, and not a Hub id",
                "Correct the path, or write a Hub id as owner/name.",
            )
    elif not os.path.isdir(path):
        yield finding(
            "model.missing", f"{model}: no such folder", "Paths are relative to where you run the command."
        )
    elif not path.is_absolute() and not reference.startswith("."):
        yield finding(
            "model.missing",
            f"{model} is a local folder, and mergekit would ask the Hub for it",
            f"Write ./{reference}.",
        )
    elif "@" in reference:
        yield finding(
            "model.local-revision", f"{model}: {str(path)!r} is a local folder, which has no revisions"
        )
    elif not _may_be_read(path):
        yield finding("model.broken", f"{model}: the folder cannot be read", "Change its permissions.")
    elif not os.path.exists(path / CONFIG):
        yield finding("model.missing", f"{model}: no config.json in that folder")
    elif not any(os.path.exists(path / name) for names in WEIGHTS.items() for name in names):
        yield finding(
            "model.missing",
            f"{model}: no weights in that folder (model.safetensors, or an index of shards)",
        )


def _may_be_read(folder: Path) -> bool:
    try:
        (folder / CONFIG).lstat()
        os.listdir(folder)
    except PermissionError:
        return False
    except OSError:
        return True
    return True


def same_folder(references: Sequence[str]) -> Iterator[Finding]:
    """Yield a finding for each reference to a folder that an earlier one names, links followed."""
    by_place: dict[str, str] = {}
    for reference in references:
        place = os.path.realpath(reference) if os.path.exists(reference) else reference
        if place in by_place:
            yield finding("recipe.same-model", f"{reference!r} and {by_place[place]!r} are the same model")
        by_place[place] = reference


# ---- checks of facts


def check_files(merge: MergeFacts) -> Iterator[Finding]:
    """Return findings on broken model files, and on what could not be checked."""
    for model in merge.models:
        for problem in model.problems:
            yield finding(problem.id, problem.message, "" if problem.message.endswith(".") else None)
        for sentence in model.unseen:
            yield finding("model.unseen", sentence)


def check_architectures(merge: MergeFacts) -> Iterator[Finding]:
    """Every config must name one class: mergekit and transformers choose by it how to read the model."""
    for model in merge.models:
        if model.config:
            yield from architecture_findings(model.reference, model.config.get("architectures"))


def architecture_findings(reference: str, architectures: object) -> Iterator[Finding]:
    """Yield a finding unless `architectures` of config.json is a list of one name."""
    is_one = isinstance(architectures, list) and len(architectures) == 1 and isinstance(architectures[0], str)
    if not is_one:
        yield finding(
            "model.broken",
            f"{reference}: config.json does not name one class under architectures",
            'Write one, such as ["LlamaForCausalLM"], or copy or fetch config.json again.',
        )


def check_sizes(merge: MergeFacts) -> Iterator[Finding]:
    """Models must have one architecture and the same sizes; vocabularies unless they are aligned."""
    for other in merge.others:
        expected, sizes = merge.base.sizes, other.sizes
        for name in SHAPE if merge.aligned else (*SHAPE, VOCABULARY):
            if None not in (expected[name], sizes[name]) and expected[name] != sizes[name]:
                yield finding(
                    "model.vocabulary" if name == VOCABULARY else "model.architecture",
                    f"{other.reference!r} has {name} {sizes[name]}, {merge.base.reference!r} has "
                    f"{expected[name]}: they cannot be merged element by element",
                )


def check_tensors(merge: MergeFacts) -> Iterator[Finding]:
    """All tensors must hold floats, and a tensor must have one shape in all models."""
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
    with_floats = {
        name
        for model in merge.models
        for name, tensor in (model.tensors or {}).items()
        if tensor.dtype in FLOATS
    }
    for model in merge.models:
        tensors = [] if model.tensors is None else model.tensors.values()
        integers = [tensor for tensor in tensors if tensor.dtype not in FLOATS]
        integers.sort(key=lambda tensor: tensor.name not in with_floats)  # stable: quantized weights first
        if integers:
            yield finding(
                "model.quantized" if integers[0].name in with_floats else "model.not-floats",
                f"{model.reference!r} holds {integers[0].name} as {integers[0].dtype}, not as floats "
                "(is it quantized?)",
            )
        for tensor in tensors if not merge.aligned else ():
            owner, shape = shapes.setdefault(tensor.name, (model.reference, tensor.shape))
            if shape != tensor.shape:
                yield finding(
                    "model.shape",
                    f"{model.reference!r} has {tensor.name} of shape {list(tensor.shape)}, {owner!r} of "
                    f"{list(shape)}: they cannot be merged element by element",
                )
                break


def check_rope(merge: MergeFacts) -> Iterator[Finding]:
    """Experts' rotary positions should be the base's."""
    base = merge.base
    for expert in merge.others:
        if base.config and expert.config and expert.rope != base.rope:
            keys = [key for key in (*base.rope, *expert.rope) if expert.rope.get(key) != base.rope.get(key)]
            one, other = (_rope_text(model.rope, keys) for model in (expert, base))
            yield finding("model.rope", f"{expert.reference} has {one}, {base.reference} has {other}")


def _rope_text(rope: "Mapping[str, Json]", keys: Sequence[str]) -> str:
    """Return the values of some keys for a message."""
    return ", ".join(
        f"{key} {rope[key]!r:.80}" if key in rope else f"no {key}" for key in dict.fromkeys(keys)
    )


def check_token_rules(merge: MergeFacts) -> Iterator[Finding]:
    """Tokenizers with equal ids should also split texts in the same way."""
    base = merge.base.tokenizer
    for expert in merge.others:
        other = expert.tokenizer
        if base is None or other is None or other is base or base.ids is None or base.ids != other.ids:
            continue
        shared = [part for part in base.rules if part in other.rules]
        differing = [part for part in shared if base.rules[part] != other.rules[part]]
        if differing:
            yield finding(
                "model.tokenizer-rules",
                f"{expert.reference} and {merge.base.reference} have the same tokens, but tokenizer.json "
                f"differs in {', '.join(differing)}",
            )


def check_token_ids(merge: MergeFacts) -> Iterator[Finding]:
    """A token should have one id in all models, unless a tokenizer block aligns them."""
    base = merge.base.tokenizer
    if merge.aligned or base is None or base.ids is None:
        return
    for expert in merge.others:
        tokenizer = expert.tokenizer
        if tokenizer is None or tokenizer.ids is None or tokenizer is base:
            continue
        moved = [token for token, number in tokenizer.ids.items() if base.ids.get(token, number) != number]
        if moved:
            examples = ", ".join(map(repr, moved[:PAIR]))
            yield finding(
                "model.token-ids",
                f"{counted(len(moved), 'token')} of {expert.reference} "
                f"{'has another id' if len(moved) == 1 else 'have other ids'} in {merge.base.reference} "
                f"({examples}), {len(moved) / len(tokenizer.ids):.1%} of all: their embeddings are merged "
                "with those of other tokens",
            )


CHECKS: tuple[Check, ...] = (
    check_files,
    check_heads,
    check_architectures,
    check_sizes,
    check_tensors,
    check_loadable,
    check_switches,
    check_rope,
    check_token_ids,
    check_token_rules,
    check_token_rows,
    check_generation,
    check_templates,
    check_tokenizers,
    check_chat_templates,
    tensors.check_layers,
    tensors.check_names,
    tensors.check_head,
    tensors.check_declared_shapes,
    tensors.check_stored_dtypes,
    tensors.check_output_dtype,
    lineage.check_finite,
    lineage.check_lineage,
    configs.check_biases,
    configs.check_settings,
    check_licenses,
    check_filters,
    check_densities,
    check_resources,
)
