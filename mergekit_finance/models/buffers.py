"""Names of tensors that old files hold and no model class loads: they are computed from the config."""

import re

# Llama-2-time files store rotary frequencies for each layer; GPT-2, GPT-NeoX and Falcon files causal masks.
_BUFFER = re.compile(
    r"(^|\.)(rotary_emb|rotary|rotary_embedding)\.(inv_freq|original_inv_freq|cos_cached|sin_cached)$"
    r"|(^|\.)(attn|attention)\.(bias|masked_bias)$"
    r"|(^|\.)position_ids$"
)


def is_buffer(name: str) -> bool:
    """Return whether a tensor of this name is a buffer that is computed and not loaded."""
    return _BUFFER.search(name) is not None
