"""Fixtures of the similarity tests."""

import pytest
from helpers.similarity import weights, write

from mergekit_finance.similarity import measures


@pytest.fixture
def small_blocks(monkeypatch):
    """Several blocks a span and several spans a tensor, on tensors of a few thousand elements."""
    monkeypatch.setattr(measures, "BLOCK", 100)
    monkeypatch.setattr(measures, "SPAN", 700)


@pytest.fixture
def family(tmp_path):
    """base, a, b: folders, and their tensors."""
    base = weights(0)
    tensors = {"base": base, "a": weights(1, base=base), "b": weights(2, base=base)}
    return {name: str(write(tmp_path / name, t)) for name, t in tensors.items()}, tensors
