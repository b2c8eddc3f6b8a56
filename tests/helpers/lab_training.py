"""Import the lab's training code, which is beside its recipes and not in the package:

from helpers.lab_training import corpora, train
"""

import sys
from pathlib import Path

LAB = Path(__file__).resolve().parents[2] / "recipes" / "lab"
if str(LAB) not in sys.path:
    sys.path.insert(0, str(LAB))

from training import (  # noqa: E402
    card,
    corpora,
    criteria,
    findings,
    model,
    over_seeds,
    packing,
    plans,
    probe,
    profile,
    prompts,
    sweep,
    tokenizer,
    train,
)

__all__ = [
    "card", "corpora", "criteria", "findings", "model", "over_seeds", "packing", "plans", "probe", "profile", "prompts",
    "sweep", "tokenizer", "train",
]  # fmt: skip
