"""Names of tensors in old files that no model class loads, because they are computed from the config."""

import re

# Files from the time of Llama 2 store rotary frequencies per layer; GPT-2, GPT-NeoX and Falcon causal masks.
_BUFFER = re.compile(
    r"(^|\.)(rotary_emb|rotary|rotary_embedding)\.(inv_freq|original_inv_freq|cos_cached|sin_cached)$"
    r"|(^|\.)(attn|attention)\.(bias|masked_bias)$"
    r"|(^|\.)position_ids$"
)


def is_buffer(name: str) -> bool:
    """Return whether a tensor of this name is a buffer that is computed and not loaded."""
    return _BUFFER.search(name) is not None
