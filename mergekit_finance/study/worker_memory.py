"""How much memory of a device the batches of one worker process take, by engine. Estimated from the config.

What the engines allocate besides weights:

`compiled`  buffers of keys and values, one slot per answer that is being written, which stay allocated;
            while prompts are read, or choices compared, the activations of the batch; for choices the mask
            of its attention, and the logits of the last tokens, a part of them at a time.
`hf`        activations; for choices the logits of every token, twice (logits, log-probabilities); for
            generations the keys and values of the batch.

Decoding steps that are captured share one pool, which is small beside the buffers: a step reads one token of
each slot. Nothing here decides what is allocated; `compiled` takes as much as is free, up to its limits.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mergekit_finance.checks.contexts import context_of
from mergekit_finance.checks.resources import ELEMENT

if TYPE_CHECKING:
    from transformers import PretrainedConfig

LONGEST = 2048  # tokens of the longest prompts with their answers, where a model's context is not shorter
SLOTS = 256  # answers at a time, where the engine chooses: half of its limit, which is hardly slower
ROWS = 64  # requests at a time of `hf`, where lm-eval's search for a size begins
SPARE = 1.25  # buffers are up to a fourth longer than their prompts
MASK = 5  # bytes of an entry of an attention mask: three of its parts, and the sum that a kernel reads


@dataclass(frozen=True)
class Sizes:
    """The sizes of a model that decide how much memory its batches take.

    Attributes:
        token: bytes of the activations of one token that live at the same time.
        keys: bytes of the keys and values of one token, of all layers.
        logits: bytes of the logits of one token.
        element: bytes of one number.
        context: tokens of the longest prompts.
    """

    token: int
    keys: int
    logits: int
    element: int
    context: int


def numeric_bytes(config: "PretrainedConfig", dtype: str) -> int:
    """Return the bytes of a number of a dtype by name; of `auto`, of the one that the model is stored in."""
    stored = str(getattr(config, "dtype", None)).removeprefix("torch.")
    return ELEMENT.get(stored if dtype == "auto" else dtype, 2)


def sizes_of(config: "PretrainedConfig", element: int) -> Sizes:
    """Return the sizes of a model that evaluates with numbers of `element` bytes; 0 for those not stated."""
    text = getattr(config, "text_config", None) or config
    hidden, heads = _number(text, "hidden_size"), _number(text, "num_attention_heads")
    width = _number(text, "head_dim") or hidden // max(1, heads)
    groups = _number(text, "num_key_value_heads") or heads
    return Sizes(
        token=(12 * hidden + 4 * _number(text, "intermediate_size")) * element,
        keys=2 * _number(text, "num_hidden_layers") * groups * width * element,
        logits=_number(text, "vocab_size") * element,
        element=element,
        context=min(context_of(config) or LONGEST, LONGEST),
    )


def batch_bytes(
    config: "PretrainedConfig",
    element: int,
    batch_size: int | None,
    *,
    compiled: bool,
    chooses: bool = True,
    generates: bool = True,
) -> int:
    """Return about how many bytes the batches of one process take, besides weights.

    Args:
        config: of the models.
        element: bytes of a number of the dtype of the evaluation.
        batch_size: requests at a time; None: the engine chooses.
        compiled: whether answers come from the engine `compiled`, else from `hf`.
        chooses: whether some task compares options.
        generates: whether some task generates answers.
    """
    sizes = sizes_of(config, element)
    if not compiled:
        return _plain_bytes(sizes, batch_size or ROWS, chooses, generates)
    kept = int(SPARE * (batch_size or SLOTS) * sizes.context * sizes.keys) if generates else 0
    passes = [_prefill_bytes(sizes)] if generates else []
    passes += [_choices_bytes(sizes, batch_size)] if chooses else []
    return kept + max(passes, default=0)


def _prefill_bytes(sizes: Sizes) -> int:
    """Return the bytes of a pass of `compiled` over prompts whose answers begin."""
    from mergekit_finance.evaluation.inference.generation import READ_TOKENS

    return max(READ_TOKENS, sizes.context) * sizes.token


def _choices_bytes(sizes: Sizes, batch_size: int | None) -> int:
    """Return the bytes of a pass of `compiled` over packed choices."""
    from mergekit_finance.evaluation.inference.choices import ATTENTION_ENTRIES, LOGITS
    from mergekit_finance.evaluation.inference.compiled_lm import MOST_TOKENS

    rows = max(1, min(batch_size or MOST_TOKENS // sizes.context, ATTENTION_ENTRIES // sizes.context**2))
    tokens = rows * sizes.context
    logits = min(2 * LOGITS * sizes.element, 2 * tokens * sizes.logits)
    return tokens * (sizes.token + sizes.context * MASK) + logits


def _plain_bytes(sizes: Sizes, rows: int, chooses: bool, generates: bool) -> int:
    """Return the bytes of a batch of `hf`."""
    logits = 2 * sizes.logits if chooses else 0
    keys = sizes.keys if generates else 0
    return rows * sizes.context * (sizes.token + max(logits, keys))


def _number(config: "PretrainedConfig", name: str) -> int:
    value = getattr(config, name, None)
    return value if isinstance(value, int) else 0
