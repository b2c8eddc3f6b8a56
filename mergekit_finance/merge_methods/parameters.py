"""The parameters of our methods in mergekit's conventions, and those of one call.

| name      | given        | default | meaning                                                     |
|-----------|--------------|---------|-------------------------------------------------------------|
| weight    | per model    | 1.0     | factor of the model's task vector                           |
| density   | per model    | 1.0     | share of the task vector that is kept                       |
| mask_id   | per model    | last path component of the reference | names the model in masks and sums |
| lambda    | for the merge| 1.0     | factor of the merged task vector                            |
| normalize | for the merge| mergekit's, per method | mergekit semantics only                      |
| semantics | for the merge| paper   | paper or mergekit                                           |
| seed      | for the merge| 0       | seed of the DARE masks                                      |
| similarity| for the merge| false   | write similarity.json beside the merge                      |
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Literal, Protocol, TypedDict

import torch
from mergekit.merge_methods.base import ParameterScope, ParameterSpec, TensorEntry, TensorGroup

from mergekit_finance.engine.terms import Cut

SEMANTICS = ("paper", "mergekit")
CONTEXT = "context"  # parameter by which planner_hook.py hands a Context to a planned merge

_SHARED, _MODEL = ParameterScope.SHARED, ParameterScope.NON_BASE
_SPECS = {
    spec.name: spec
    for spec in (
        ParameterSpec("weight", float, _MODEL, 1.0, "factor of the model's task vector"),
        ParameterSpec("density", float, _MODEL, 1.0, "share of the task vector that is kept, in (0, 1]"),
        ParameterSpec("mask_id", str | None, _MODEL, None, "names the model in masks and sums"),
        ParameterSpec("lambda", float, _SHARED, 1.0, "factor of the merged task vector"),
        ParameterSpec("normalize", bool | None, _SHARED, None, "mergekit semantics: divide by the weights"),
        ParameterSpec("semantics", Literal["paper", "mergekit"], _SHARED, "paper", "whose definition"),
        ParameterSpec("seed", int, _SHARED, 0, "of the DARE masks"),
        ParameterSpec("similarity", bool, _SHARED, False, "write similarity.json beside the merge"),
    )
}


class CutSource(Protocol):
    """An object with the cuts of ranked task vectors."""

    def cut(self, call: "Call", expert: "ExpertParameters") -> Cut | None:
        """Return where the expert's tensor of this call is cut; None: nothing is trimmed."""


class WholeVectors(CutSource, Protocol):
    """Quantities of whole task vectors, all output tensors together."""

    @property
    def majority(self) -> int | None:
        """The sign of `sign_balance()` if that was counted before, else None."""

    def trim(self, name: str, model: Hashable, vector: torch.Tensor) -> torch.Tensor:
        """Return the named tensor of a model's task vector with everything below the model's cut set to 0."""

    def sign_balance(self) -> int:
        """Return sum_p sgn(sum_t tau^_tp) over all elements p of all trimmed task vectors."""


@dataclass(frozen=True)
class Context:
    """Facts about the whole merge, added by the planner hook: mergekit itself passes one tensor at a time."""

    whole: WholeVectors | None  # None where the operator needs none
    rounds_later: bool  # the recipe has an out_dtype: mergekit rounds when it saves
    dtype: torch.dtype | None = None  # of the output, where it is known


# Values as mergekit resolves them for one output tensor; those of models are keyed by model.
Parameters = TypedDict(
    "Parameters",
    {
        "weight": Mapping[Hashable, float],
        "density": Mapping[Hashable, float],
        "mask_id": Mapping[Hashable, str | None],
        "lambda": float,
        "normalize": bool | None,
        "semantics": str,
        "seed": int,
        "similarity": bool,
        "context": Context | None,
    },
    total=False,
)


def specs(*names: str) -> tuple[ParameterSpec, ...]:
    """Return the specifications of the named parameters, for a method's spec."""
    return tuple(_SPECS[name] for name in names)


def default_mask_id(model: object) -> str:
    """Return the last path component of a model reference: `finance` for `./lab/finance`."""
    return PurePath(str(model)).name


@dataclass(frozen=True)
class ExpertParameters:
    """One model of a group that is not the base."""

    id: Hashable  # mergekit's ModelReference
    mask_id: str
    weight: float
    density: float
    tensor: torch.Tensor

    @property
    def rank(self) -> tuple[str, str]:
        """Sort key that gives the order of sums in paper semantics."""
        return self.mask_id, str(self.id)


@dataclass(frozen=True)
class Call:
    """Inputs and parameters of one output tensor."""

    name: str
    stored: torch.Tensor  # the base in its own dtype
    experts: tuple[ExpertParameters, ...]  # paper semantics: by mask_id; mergekit semantics: as in the recipe
    semantics: str
    scale: float  # lambda
    normalize: bool | None
    seed: int
    whole: WholeVectors | None = None
    cuts: CutSource | None = None

    @classmethod
    def of(cls, group: TensorGroup, values: Parameters) -> "Call":
        experts = [_expert(entry, values) for entry in group.non_base]
        if values["semantics"] == "paper":
            experts.sort(key=lambda expert: expert.rank)
        context = values.get("context")
        whole = context.whole if context else None
        return cls(
            name=group.metadata.name or "",
            stored=group.base.tensor,
            experts=tuple(experts),
            semantics=values["semantics"],
            scale=values["lambda"],
            normalize=values["normalize"],
            seed=values.get("seed", 0),
            whole=whole,
            cuts=whole,
        )

    @cached_property
    def base(self) -> torch.Tensor:
        """theta_0 in float32; for the operations on whole tensors only."""
        return self.stored.float()

    @property
    def weights(self) -> list[float]:
        return [expert.weight for expert in self.experts]

    def vector(self, expert: ExpertParameters) -> torch.Tensor:
        """Return tau_t = theta_t - theta_0 in float32, in the output's shape."""
        return expert.tensor.float() - self.base


def _expert(entry: TensorEntry, values: Parameters) -> ExpertParameters:
    density = values["density"][entry.id] if "density" in values else 1.0
    mask_id = values["mask_id"][entry.id]
    mask_id = default_mask_id(entry.id) if mask_id is None else mask_id
    return ExpertParameters(entry.id, mask_id, values["weight"][entry.id], density, entry.tensor)
