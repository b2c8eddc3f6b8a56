"""Facts about the merge methods in mergekit's registry, and a trial of their parameters.

Written for mergekit 0.1.5 (`merge_methods.registered_methods`, `MergeMethodSpec`, `InputContract`). mergekit
is imported inside the functions to keep --help fast: it takes 4.5 s.
"""

import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from mergekit_finance.errors import first_line
from mergekit_finance.files import Json
from mergekit_finance.hosts.mergekit import seeded
from mergekit_finance.hosts.names import MERGEKIT

if TYPE_CHECKING:
    from mergekit.merge_methods import MergeMethod
    from mergekit.merge_methods.base import ParameterSpec

Kind: TypeAlias = Literal["a number", "a whole number", "true or false", "text"]
Scope: TypeAlias = Literal["merge", "model", "expert"]
KINDS: dict[type, Kind] = {float: "a number", int: "a whole number", bool: "true or false"}
TO_PYTORCH = "(Could this error message be improved?"  # and how to tell the authors of PyTorch
SHAPE = (4, 6)  # of the tensors of a trial


@dataclass(frozen=True)
class MethodParameter:
    """A parameter that a merge method declares.

    Attributes:
        scope: whose value it is: the merge's, every input model's, or every model's but the base's.
        required: whether a recipe must give it.
    """

    name: str
    kind: Kind
    scope: Scope
    required: bool


@dataclass(frozen=True)
class MethodFacts:
    """What a merge method declares.

    Attributes:
        base: whether its recipes have a `base_model`.
        accepts: takes names of input models, and which of them is the base; returns mergekit's message
            about a wrong number of them, or "".
    """

    name: str
    base: Literal["required", "optional", "none"]
    parameters: Mapping[str, MethodParameter]
    accepts: Callable[[Sequence[str], str | None], str]


def method_facts() -> dict[str, MethodFacts]:
    """Return the facts about every registered merge method, by name."""
    with MERGEKIT.imports():
        from mergekit.merge_methods import registered_methods

    return {method.spec.name: _facts(method) for method in registered_methods()}


def _facts(method: "MergeMethod") -> MethodFacts:
    def accepts(inputs: Sequence[str], base: str | None) -> str:
        try:
            method.validate_inputs(inputs, base)
        except ValueError as error:
            return first_line(error)
        return ""

    policy = MERGEKIT.get(method.spec.contract, "base").value
    base: Literal["required", "optional"] | None = policy if policy in ("required", "optional") else None
    parameters = {spec.name: _parameter(spec) for spec in method.spec.parameters}
    return MethodFacts(method.spec.name, base or "none", parameters, accepts)


def _parameter(spec: "ParameterSpec") -> MethodParameter:
    scopes: dict[str, Scope] = {"shared": "merge", "input": "model", "non_base": "expert"}
    return MethodParameter(spec.name, _kind(spec.value_type), scopes[spec.scope.value], spec.required)


def _kind(annotation: object) -> Kind:
    """Return the kind of an annotation, of the first member of an Optional."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        annotation = typing.get_args(annotation)[0]
    return KINDS.get(annotation, "text") if isinstance(annotation, type) else "text"


def trial_error(
    name: str,
    inputs: Sequence[str],
    base: str | None,
    shared: Mapping[str, Json],
    of_models: Mapping[str, Mapping[str, Json]],
) -> str:
    """Merge small random tensors with a method, and return its error about the parameters, or "".

    Args:
        name: of the method.
        inputs: names of the input models.
        base: which of them is the base; None if there is none.
        shared: the merge's parameters.
        of_models: parameter -> its value for each input model that has one.
    """
    import torch

    with MERGEKIT.imports():
        from mergekit import merge_methods
        from mergekit.merge_methods import TensorEntry, TensorGroup, TensorMetadata

    with seeded(0):
        entries = [TensorEntry(model, torch.randn(SHAPE), is_base=model == base) for model in inputs]
        group = TensorGroup(tuple(entries), TensorMetadata(name="trial"))
        try:
            merged = merge_methods.get(name)((group,), parameters={**shared, **of_models})
            if not all(bool(torch.isfinite(tensor).all()) for tensor in merged):
                return "the merge of small random tensors holds NaN or Inf (do the weights add up to 0?)"
        except Exception as error:  # a plugin's method may raise anything
            return first_line(error).partition(TO_PYTORCH)[0].rstrip(" .")
    return ""
