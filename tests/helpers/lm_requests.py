"""Requests of lm-eval, whose class takes other arguments since 0.5."""

from dataclasses import MISSING, fields
from typing import Any

from lm_eval.api.instance import Instance


def request(kind: str, arguments: tuple[Any, ...], number: int = 0) -> Instance:
    """A request of a kind such as generate_until, for one item of a task."""
    if "idx" not in {field.name for field in fields(Instance) if field.default is MISSING}:
        rolling = kind == "loglikelihood_rolling"  # whose arguments are a context, too
        return Instance(kind, {}, ("", *arguments) if rolling else arguments, "task", doc_id=number)
    return Instance(kind, {}, arguments, number, ("task", number, 1))
