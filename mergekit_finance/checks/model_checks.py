"""Checks of models before they are merged: where they are, and whether they fit together."""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from mergekit_finance.errors import ModelError, RecipeError
from mergekit_finance.models.facts import (
    SHAPE,
    VOCABULARY,
    ModelFacts,
    TensorFacts,
    read_facts,
    read_tensors,
)
from mergekit_finance.models.loading import load_tokenizer

WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
FLOATS = ("BF16", "F16", "F32", "F64")  # safetensors' names
ALIGN = (
    " A tokenizer block aligns them (tokenizer: {source: base}), if no tokenizer has more tokens than its "
    "model has rows."
)


def check_models(
    references: Sequence[str],
    where: str,
    *,
    evaluated: Collection[str],
    aligned: bool,
    trust_remote_code: bool = False,
) -> list[str]:
    """Check models before they are merged, from their configs, tokenizers and the headers of their files.

    Args:
        references: every model that is merged, the base first.
        where: the file that names them, for messages.
        evaluated: those that are also evaluated as they are, and so need a tokenizer.
        aligned: whether a tokenizer block aligns different vocabularies.
        trust_remote_code: whether transformers may run code of the models' repositories.

    Returns:
        Warnings for models that can be merged but probably should not be.

    Raises:
        ModelError, RecipeError: a model is missing, broken, or cannot be merged with the others.
    """
    check_references(references, where)
    facts = [read_facts(reference, trust_remote_code) for reference in references]
    check_fit(facts, where, vocabulary=not aligned)  # before any weights are fetched from the Hub
    tensors, token_ids = {}, {}
    for reference in references:
        tensors[reference] = read_tensors(reference)
        try:
            token_ids[reference] = load_tokenizer(reference, trust_remote_code).get_vocab()
        except ModelError:
            if reference in evaluated:
                raise
    if aligned:
        return []
    check_tensors(tensors, where)
    return compatibility_warnings(facts, token_ids)


def check_references(references: Sequence[str], where: str) -> None:
    """Check every model's reference, and that no model is named twice.

    Args:
        references: the models to merge.
        where: the file that names them, for messages.

    Raises:
        ModelError: a reference is neither a checkpoint folder nor a Hub id.
        RecipeError: two references are the same folder.
    """
    for reference in references:
        check_reference(reference, where)
    by_place: dict[str, str] = {}
    for reference in references:
        place = os.path.realpath(reference) if os.path.exists(reference) else reference
        if place in by_place:
            raise RecipeError(
                f"{where}: {reference!r} and {by_place[place]!r} are the same model; list it once"
            )
        by_place[place] = reference


def check_reference(reference: str, where: str) -> None:
    """Check that a reference is a local folder with a checkpoint, or looks like a Hub id."""
    if "+" in reference:
        raise ModelError(
            f"{where}: model {reference!r} names a LoRA adapter; merge the adapter into its model first "
            "(peft's merge_and_unload), then name the result"
        )
    path = Path(reference.split("+")[0].split("@")[0])
    local = path.is_absolute() or reference.startswith((".", "~")) or path.exists()
    if not local:
        if reference.count("/") != 1:
            raise ModelError(f"{where}: model {reference!r}: no such folder, and not a Hub id (owner/name)")
        return
    if not path.is_dir():
        raise ModelError(
            f"{where}: model {reference!r}: no such folder; paths are relative to where you run the command"
        )
    if not path.is_absolute() and not reference.startswith("."):
        raise ModelError(
            f"{where}: model {reference!r} is a local folder: "
            f"write ./{reference}, or mergekit asks the Hub for it"
        )
    if not (path / "config.json").is_file():
        raise ModelError(f"{where}: model {reference!r}: no config.json in that folder")
    if not any((path / name).is_file() for name in WEIGHTS):
        raise ModelError(f"{where}: model {reference!r}: no weights there ({', '.join(WEIGHTS[:2])}, …)")


def check_fit(models: Sequence[ModelFacts], where: str, *, vocabulary: bool) -> None:
    """Check that models have one architecture and the same sizes.

    Args:
        models: the models to merge; each is compared with the first.
        where: the file that names them, for messages.
        vocabulary: whether vocabularies must be of one size, too; not if a tokenizer block aligns them.
    """
    first, *others = models
    for other in others:
        for name in (*SHAPE, VOCABULARY) if vocabulary else SHAPE:
            if first.sizes[name] != other.sizes[name]:
                hint = ALIGN if name == VOCABULARY else ""
                raise ModelError(
                    f"{where}: {other.reference!r} has {name} {other.sizes[name]}, {first.reference!r} has "
                    f"{first.sizes[name]}: they cannot be merged element by element.{hint}"
                )


def check_tensors(tensors: Mapping[str, Sequence[TensorFacts]], where: str) -> None:
    """Check that all tensors hold floats and that a tensor has one shape in all models.

    Args:
        tensors: every model's tensors, by reference.
        where: the file that names the models, for messages.
    """
    first = next(iter(tensors), "")
    shapes: dict[str, tuple[int, ...]] = {}
    for reference, stored in tensors.items():
        for tensor in stored:
            if tensor.dtype not in FLOATS:
                raise ModelError(
                    f"{where}: {reference!r} holds {tensor.name} as {tensor.dtype}, not as floats (is it "
                    "quantized?); name the model in bfloat16, float16 or float32"
                )
            expected = shapes.setdefault(tensor.name, tensor.shape)
            if expected != tensor.shape:
                raise ModelError(
                    f"{where}: {reference!r} has {tensor.name} of shape {list(tensor.shape)}, {first!r} of "
                    f"{list(expected)}: they cannot be merged element by element"
                )


def check_distinct(fingerprints: Mapping[str, str], where: str) -> None:
    """Check that no two models have the same bytes: they would be two experts that agree in everything.

    Args:
        fingerprints: every model's hash (`models.fingerprint`), by reference.
        where: the file that names the models, for messages.
    """
    by_bytes: dict[str, str] = {}
    for reference, fingerprint in fingerprints.items():
        if fingerprint in by_bytes:
            same = f"{by_bytes[fingerprint]} and {reference}"
            raise RecipeError(f"{where}: {same} are the same model, byte by byte; name one of them")
        by_bytes[fingerprint] = reference


def compatibility_warnings(
    models: Sequence[ModelFacts], token_ids: Mapping[str, Mapping[str, int]]
) -> list[str]:
    """Return warnings for models that can be merged but probably should not be.

    Args:
        models: the models to merge, the base first.
        token_ids: every model's tokens and their ids, by reference. Models without are not compared.

    Returns:
        One line for each expert whose rotary positions, or whose ids of tokens, differ from the base's.
    """
    base, *experts = models
    base_ids = token_ids.get(base.reference, {})
    warnings = []
    for expert in experts:
        if expert.rope != base.rope:
            warnings.append(
                f"{expert.reference} has rope {expert.rope}, {base.reference} {base.rope}: "
                "the merge keeps the base's"
            )
        ids = token_ids.get(expert.reference, {})
        moved = [token for token, number in ids.items() if base_ids.get(token, number) != number]
        if moved:
            examples = ", ".join(map(repr, moved[:2]))
            warnings.append(
                f"{expert.reference} gives {len(moved)} tokens other ids than {base.reference} ({examples}): "
                "their rows are merged with those of other tokens"
            )
    return warnings
