"""Names in results of the merges of `lm_eval --model mergekit`: the recipe's path and the values set in it.

This module is separate from overrides.py so that the loader of dataset rows does not import the checks of
recipes: the code that the loader imports is part of the key of stored answers.
"""

from collections.abc import Mapping

PREFIX = "set."  # the prefix of model arguments that set a value in the recipe


def label(arguments: Mapping[str, object]) -> str:
    """Return the name of a merge in results: the recipe's path and the values set in it.

    Args:
        arguments: Model arguments of `lm_eval --model mergekit`; other keys than `recipe` and `set.*` are
            ignored.

    Returns:
        For example `R.yml,lambda=0.4`.
    """
    changes = [f"{k.removeprefix(PREFIX)}={v}" for k, v in arguments.items() if k.startswith(PREFIX)]
    return ",".join([str(arguments.get("recipe")), *changes])
