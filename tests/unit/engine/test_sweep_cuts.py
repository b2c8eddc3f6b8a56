"""Cuts that are ranked once for a sweep."""

import torch

from mergekit_finance.engine.sweep_cuts import SweepCuts


def test_an_empty_tensor_is_ranked_with_the_others():
    """It lies between two others, and equal magnitudes continue from the first into the third."""
    pairs = {
        "a": (torch.zeros(4), torch.tensor([1.0, 1.0, 2.0, 0.5])),
        "b": (torch.zeros(0), torch.zeros(0)),
        "c": (torch.zeros(3), torch.tensor([1.0, 3.0, 1.0])),
    }
    ranks = SweepCuts(list(pairs), ["m"], lambda name, model: pairs[name])
    counts = {}
    for name in pairs:
        cut = ranks.model_cut(name, "m", 5)  # 3, 2, and three of the four ones: two of a's, the first of c's
        tau = pairs[name][1]
        bits = tau.abs().view(torch.int32)
        counts[name] = [
            i for i, b in enumerate(bits.tolist()) if b > cut.bits or (b == cut.bits and i < cut.until)
        ]
    assert counts == {"a": [0, 1, 2], "b": [], "c": [0, 1]}
