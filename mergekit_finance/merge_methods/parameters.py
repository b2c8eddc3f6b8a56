"""The parameters of our methods, in mergekit's conventions, and one call's worth of them.

| name      | given        | default | meaning                                                     |
|-----------|--------------|---------|-------------------------------------------------------------|
| weight    | per model    | 1.0     | factor of the model's task vector                           |
| density   | per model    | 1.0     | share of the task vector that is kept                       |
| mask_id   | per model    | last path component of the reference | names the model in masks and sums |
| lambda    | for the merge| 1.0     | factor of the merged task vector                            |
| normalize | for the merge| mergekit's, per method | mergekit semantics only                      |
| semantics | for the merge| paper   | paper or mergekit                                           |
| seed      | for the merge| 0       | of the DARE masks                                           |
| similarity| for the merge| false   | write similarity.json beside the merge                      |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Any, Literal

import torch
from mergekit.merge_methods.base import ParameterScope, ParameterSpec, TensorGroup

SEMANTICS = ("paper", "mergekit")
CONTEXT = "context"  # the name under which planning.py hands a Context to a planned merge

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


def specs(*names: str) -> tuple[ParameterSpec, ...]:
    """The named parameters, for a method's spec."""
    return tuple(_SPECS[name] for name in names)


def default_mask_id(model: object) -> str:
    """The last path component of a model reference: `./tiny/finance` is `finance`."""
    return PurePath(str(model)).name


@dataclass(frozen=True)
class Expert:
    """One model of a group that is not the base."""

    id: Any
    mask_id: str
    weight: float
    density: float
    tensor: torch.Tensor

    @property
    def rank(self) -> tuple[str, str]:
        """Where paper semantics puts it in every sum."""
        return self.mask_id, str(self.id)


@dataclass(frozen=True)
class Call:
    """One output tensor's inputs and settled parameters."""

    name: str
    stored: torch.Tensor  # the base in its own dtype
    experts: tuple[Expert, ...]  # paper semantics: by mask_id; mergekit semantics: as in the recipe
    semantics: str
    scale: float  # lambda
    normalize: bool | None
    seed: int
    whole: Any = None  # the WholeVector that the planner prepared

    @classmethod
    def of(cls, group: TensorGroup, values: Mapping[str, Any]) -> "Call":
        experts = [_expert(entry, values) for entry in group.non_base]
        if values["semantics"] == "paper":
            experts.sort(key=lambda expert: expert.rank)
        context = values.get(CONTEXT)
        return cls(
            name=group.metadata.name or "",
            stored=group.base.tensor,
            experts=tuple(experts),
            semantics=values["semantics"],
            scale=values["lambda"],
            normalize=values["normalize"],
            seed=values.get("seed", 0),
            whole=context.whole if context else None,
        )

    @cached_property
    def base(self) -> torch.Tensor:
        """The base in float32; whole-tensor kernels only."""
        return self.stored.float()

    @property
    def weights(self) -> list[float]:
        return [expert.weight for expert in self.experts]

    def may_overflow(self, dtype: torch.dtype) -> bool:
        """Whether the merge is to be searched for Inf: bfloat16 and float32 reach 3e38, which weights of a
        model, finite as they are, come near only by such factors; float16 ends at 65504."""
        reach = abs(self.scale) * sum(abs(e.weight) / e.density for e in self.experts)
        return dtype == torch.float16 or not reach < 1e6

    def vector(self, expert: Expert) -> torch.Tensor:
        """tau_t = theta_t - theta_0 in float32, shape of the output."""
        return expert.tensor.float() - self.base


def _expert(entry: Any, values: Mapping[str, Any]) -> Expert:
    density = values["density"][entry.id] if "density" in values else 1.0
    mask_id = values["mask_id"][entry.id]
    mask_id = default_mask_id(entry.id) if mask_id is None else mask_id
    return Expert(entry.id, mask_id, values["weight"][entry.id], density, entry.tensor)


@dataclass(frozen=True)
class Context:
    """What the planner knows and a method cannot see."""

    whole: Any  # WholeVector, or None where the operator needs none
    rounds_later: bool  # an out_dtype is set: mergekit rounds when it saves
    dtype: torch.dtype | None = None  # of the output, where it is known
