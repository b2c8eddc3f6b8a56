"""Inputs for tests of the engine, in small blocks."""

import pytest
from hypothesis import strategies as st

from mergekit_finance.engine import parallel

VALUES = [0.0, -0.0, 1e-45, -1e-45, 1e-39, 0.5, -0.5, 1.0, -1.0, 1.5, -3.0, 1e30, -1e30]
# Tensors of the models: their differences are often equal, cancel or are zero.
rows = st.lists(st.sampled_from(VALUES) | st.floats(-4, 4, width=32), min_size=40, max_size=40)


def shrink_blocks(patch: pytest.MonkeyPatch, size: int) -> None:
    """Let blocks have `size` elements, so that small tensors are divided, too."""
    for name in ("ALONE", "SHARED"):
        patch.setattr(parallel, name, size)
