"""Import the code of the SmolLM2 study, which is beside its recipes and not in the package.

from helpers.smollm2_study import convert
"""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "recipes" / "smollm2-135m"
if str(FOLDER) not in sys.path:
    sys.path.insert(0, str(FOLDER))

from smollm2 import (  # noqa: E402
    convert,
    corpora,
    overlap,
    plans,
    tokens,
    train,
)

__all__ = [
    "FOLDER", "convert", "corpora", "overlap", "plans", "tokens", "train",
]  # fmt: skip
