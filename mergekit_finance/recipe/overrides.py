"""Values that command-line arguments set in a recipe (`set.lambda=0.4`)."""

from collections.abc import Mapping

PREFIX = "set."


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
