"""The rows of the tasks in bits per byte: held-out documents, from the folder that `smollm2.tokens` wrote."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mergekit_finance.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

VARIABLE = "SMOLLM2_TOKENS"


def load(text: str, **others: object) -> "dict[str, Dataset]":
    """Return the table of one held-out text.

    Args:
        text: finance, math, japanese or general; from the task's YAML.
        others: metadata of the user and arguments of the model, which are not used.

    Raises:
        DataError: the environment variable names no folder with this text.
    """
    from datasets import Dataset  # imported here because only an evaluation needs a table

    path = Path(os.environ.get(VARIABLE, "")) / f"{text}.held_out.jsonl"
    if not path.is_file():
        raise DataError(
            f"smollm2_text_{text}: {path} does not exist. Set {VARIABLE} to the folder that "
            "`python -m smollm2.tokens` wrote."
        )
    with path.open(encoding="utf-8") as lines:
        return {"test": Dataset.from_list([json.loads(line) for line in lines])}
