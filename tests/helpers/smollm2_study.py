"""Import the code of the SmolLM2 study, which is beside its recipes and not in the package.

from helpers.smollm2_study import convert
"""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "recipes" / "smollm2-135m"
if str(FOLDER) not in sys.path:
    sys.path.insert(0, str(FOLDER))

from smollm2 import (  # noqa: E402
    constants,
    convert,
    corpora,
    data,
    evaluate,
    figure,
    findings,
    overlap,
    plans,
    points,
    run,
    settings,
    study_folder,
    tokens,
    train,
)
from smollm2.analysis import effects, experts, operators, predictors, tables  # noqa: E402

__all__ = [
    "FOLDER", "constants", "convert", "corpora", "data", "effects", "evaluate", "experts", "figure", "findings", "operators", "overlap",
    "plans", "points", "predictors", "run", "settings", "study_folder", "tables", "tokens", "train",
]  # fmt: skip
