"""Checks of tensors: names, shapes and dtypes of the headers against the config and what mergekit merges."""

import re
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import numpy as np

from mergekit_finance.checks.findings import Finding, finding
from mergekit_finance.hosts.architectures import HostTensor, host_tensors
from mergekit_finance.models.buffers import is_buffer
from mergekit_finance.models.weight_files import BITS, FLOATS

if TYPE_CHECKING:
    from mergekit_finance.checks.merge_facts import MergeFacts
    from mergekit_finance.models.facts import ModelFacts

HEADS = ("lm_head.weight", "embed_out.weight")  # output embeddings
EMBEDDINGS = re.compile(r"(^|\.)(embed_tokens|wte|embed_in|word_embeddings)\.weight$")
LAYER = re.compile(r"^(?:(?:model|transformer|gpt_neox|language_model)\.)*(?:layers|h)\.(\d+)\.")
DTYPES = {"float64": "F64", "float32": "F32", "bfloat16": "BF16", "float16": "F16"}
# Model types whose tensors have the shapes that `_shapes` computes.
LLAMA_LIKE = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text")


# ---- names


def check_layers(merge: "MergeFacts") -> Iterator[Finding]:
    """The config and the files of a model must have the same number of layers."""
    for model in merge.models:
        counts = _layers(model)
        if counts and counts[0] != counts[1]:
            yield finding(
                "model.layers",
                f"{model.reference}: config.json has {counts[0]} layers, the weight files have {counts[1]}",
            )


def check_names(merge: "MergeFacts") -> Iterator[Finding]:
    """All models must have the tensors that are merged, and none that would be lost."""
    expected = _merged_tensors(merge.base)
    for model in merge.models:
        if model.tensors is None:
            continue
        names = {name for name in model.tensors if not is_buffer(name)}
        if buffers := sorted(model.tensors.keys() - names):
            yield finding("model.buffers", f"{model.reference} stores the buffer {_examples(buffers)}")
        counts = _layers(model)
        if counts and counts[0] != counts[1]:
            continue  # check_layers reports it in one line
        missing, lost = _differences(merge, model, names, expected)
        if missing:
            yield finding("model.tensor-missing", f"{model.reference} lacks {_examples(missing)}")
        if lost:
            yield finding(
                "model.tensor-lost", f"{model.reference} has {_examples(lost)}, which a merge would leave out"
            )


def _differences(
    merge: "MergeFacts", model: "ModelFacts", names: set[str], expected: list[HostTensor] | None
) -> tuple[list[str], list[str]]:
    """Return the tensors that a model lacks, and those that a merge would leave out, sorted.

    Output embeddings are left to `check_head`.
    """
    if expected is not None:
        missing = {t.name for t in expected if not t.optional and names.isdisjoint((*t.names, *t.tied))}
        lost = names - {name for tensor in expected for name in tensor.names}
    elif model is merge.base or merge.base.tensors is None:
        return [], []
    else:
        of_base = {name for name in merge.base.tensors if not is_buffer(name)}
        missing, lost = of_base - names, names - of_base
    return sorted(missing.difference(HEADS)), sorted(lost.difference(HEADS))


def _merged_tensors(base: "ModelFacts") -> list[HostTensor] | None:
    """Return the tensors that mergekit merges; None if it has no list that describes this model."""
    architectures, model_type = base.config.get("architectures"), base.config.get("model_type")
    if not isinstance(architectures, list) or len(architectures) != 1:
        return None
    expected = host_tensors(str(architectures[0]), str(model_type), base.text)
    if expected is None or base.tensors is None:
        return expected
    present = sum(not base.tensors.keys().isdisjoint(tensor.names) for tensor in expected)
    return expected if 2 * present > len(expected) else None  # otherwise the files use other names


def _layers(model: "ModelFacts") -> tuple[int, int] | None:
    """Return the number of layers in the config and in the files; None if one is not known.

    Layers for multi-token prediction come after the others and are not counted by the config.
    """
    declared = model.text.get("num_hidden_layers", model.text.get("n_layer"))
    numbers = [int(match[1]) for name in model.tensors or () if (match := LAYER.match(name))]
    if not isinstance(declared, int) or not numbers:
        return None
    extra = model.text.get("num_nextn_predict_layers")
    stored = max(numbers) + 1
    return declared, declared if isinstance(extra, int) and stored == declared + extra else stored


def _examples(names: Collection[str]) -> str:
    first, *others = names
    return f"{first} (and {len(others)} more)" if others else first


# ---- output embeddings


def check_head(merge: "MergeFacts") -> Iterator[Finding]:
    """A model with output embeddings of its own should not be merged under a config that ties them."""
    for model in merge.models:
        if model.tensors is None:
            continue
        head = next((name for name in HEADS if name in model.tensors), None)
        if head is None:
            if _ties(model) is False and _is_causal(model):
                yield finding(
                    "model.tensor-missing",
                    f"{model.reference} lacks {HEADS[0]}, and its config.json has tie_word_embeddings false",
                )
        elif _differs_from_embeddings(model, head):
            tying = next((m for m in (model, merge.base) if _ties(m)), None)
            if tying:
                yield finding(
                    "model.own-head",
                    f"{model.reference} has a {head} of its own, and config.json of {tying.reference} has "
                    "tie_word_embeddings true",
                )


def _ties(model: "ModelFacts") -> bool | None:
    """Return tie_word_embeddings; None without this key: the default depends on the architecture."""
    value = model.config.get("tie_word_embeddings", model.text.get("tie_word_embeddings"))
    return value if isinstance(value, bool) else None


def _is_causal(model: "ModelFacts") -> bool:
    return "ForCausalLM" in str(model.config.get("architectures")) and _embeddings(model) is not None


def _embeddings(model: "ModelFacts") -> str | None:
    names = [name for name in model.tensors or () if EMBEDDINGS.search(name)]
    return names[0] if len(names) == 1 else None


def _differs_from_embeddings(model: "ModelFacts", head: str) -> bool:
    """Return whether sampled values differ; False where they are not known."""
    embeddings = _embeddings(model)
    if embeddings is None or head not in model.samples or embeddings not in model.samples:
        return False
    return not np.array_equal(model.samples[head], model.samples[embeddings])


# ---- shapes and dtypes


NEEDED_SIZES = (
    "vocab_size",
    "hidden_size",
)  # of a LLAMA_LIKE config; a host's default is another model's


def check_declared_shapes(merge: "MergeFacts") -> Iterator[Finding]:
    """Tensors must have the shapes that the config declares, or no host can load the model."""
    for model in merge.models:
        if model.text.get("model_type") not in LLAMA_LIKE:
            continue
        if model.tensors and (missing := [key for key in NEEDED_SIZES if model.text.get(key) is None]):
            yield finding(
                "model.config-shape",
                f"{model.reference}: its config.json has no {missing[0]}, so that transformers and mergekit "
                "use their defaults",
                "Copy or fetch config.json again, or add the size that the weights have.",
            )
            continue
        expected = _shapes(model)
        for tensor in (model.tensors or {}).values():
            shape = next((s for end, s in expected.items() if tensor.name.endswith(end)), None)
            if shape is not None and shape != tensor.shape:
                yield finding(
                    "model.config-shape",
                    f"{model.reference}: {tensor.name} has shape {list(tensor.shape)}, and its "
                    f"config.json gives {list(shape)}",
                )
                break


def _shapes(model: "ModelFacts") -> dict[str, tuple[int, ...]]:
    """Return the shapes that a config declares, by the end of the tensor's name."""
    sizes = {key: value for key, value in model.sizes.items() if isinstance(value, int)}
    keys = ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads",
            "head_dim")  # fmt: skip
    if any(key not in sizes for key in keys):
        return {}
    rows, hidden, inner, heads, pairs, head = (sizes[key] for key in keys)
    return {
        "embed_tokens.weight": (rows, hidden),
        "lm_head.weight": (rows, hidden),
        ".q_proj.weight": (heads * head, hidden),
        ".k_proj.weight": (pairs * head, hidden),
        ".v_proj.weight": (pairs * head, hidden),
        ".o_proj.weight": (hidden, heads * head),
        ".gate_proj.weight": (inner, hidden),
        ".up_proj.weight": (inner, hidden),
        ".down_proj.weight": (hidden, inner),
    }


def check_stored_dtypes(merge: "MergeFacts") -> Iterator[Finding]:
    """The dtype of most weights should be the one that the config names, in which hosts load a model."""
    for model in merge.models:
        declared, stored = _declared_dtype(model), _stored_dtype(model)
        if stored in DTYPES.values() and declared in DTYPES and DTYPES[declared] != stored:
            yield finding(
                "model.dtype",
                f"{model.reference} stores its weights as {stored}, and its config.json says {declared}",
            )


def check_output_dtype(merge: "MergeFacts") -> Iterator[Finding]:
    """A recipe without out_dtype should not store the merge in a wider dtype than its base's config has.

    Without `dtype`, too, a merge is stored in the widest dtype of its models.
    """
    declared = _declared_dtype(merge.base)
    if merge.method is None or merge.out_dtype or declared not in DTYPES:
        return
    of_recipe = DTYPES.get((merge.dtype or "").removeprefix("torch."))
    stored = [of_recipe] if of_recipe else [*filter(None, map(_stored_dtype, merge.models))]
    widest = max((dtype for dtype in stored if dtype in FLOATS), key=BITS.__getitem__, default=None)
    if widest and BITS[widest] > BITS[DTYPES[declared]]:
        yield finding(
            "recipe.out-dtype",
            f"the merge is stored as {widest}, {BITS[widest] // BITS[DTYPES[declared]]} times the size of "
            f"{declared}, which the config.json of {merge.base.reference} has",
            f"Write out_dtype: {declared} into the recipe.",
        )


def _declared_dtype(model: "ModelFacts") -> str:
    """Return the dtype that a config names, `None` if it names none."""
    return str(model.config.get("dtype", model.config.get("torch_dtype"))).removeprefix("torch.")


def _stored_dtype(model: "ModelFacts") -> str | None:
    """Return the dtype of most bytes of the weights; None if they are not on this machine."""
    sizes: dict[str, int] = {}
    for tensor in (model.tensors or {}).values():
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.size
    return max(sizes, key=lambda dtype: sizes[dtype]) if sizes else None
