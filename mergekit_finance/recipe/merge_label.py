"""Names of merges that `lm_eval --model mergekit` makes, after their recipe and what is set in it.

Apart from overrides.py, so that the loader of rows, whose code counts for stored answers, does not import the
checks of recipes.
"""

from collections.abc import Mapping

PREFIX = "set."  # of model arguments that set a value in the recipe


def label(arguments: Mapping[str, object]) -> str:
    """Return the name of a merge in results, made of the recipe's path and the values set in it.

    Args:
        arguments: Model arguments of `lm_eval --model mergekit`; other keys than `recipe` and `set.*` are
            ignored.

    Returns:
        For example `R.yml,lambda=0.4`.
    """
    changes = [f"{k.removeprefix(PREFIX)}={v}" for k, v in arguments.items() if k.startswith(PREFIX)]
    return ",".join([str(arguments.get("recipe")), *changes])
