"""The facts that checks work on: models and how they are merged."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypedDict

from mergekit_finance.checks.findings import Finding
from mergekit_finance.models.facts import ModelFacts


@dataclass(frozen=True)
class MergeFacts:
    """Models that are to be merged, and how.

    Attributes:
        where: the file that names them, for messages.
        models: their facts, the base first if there is one.
        has_base: whether the first is the base.
        aligned: whether a tokenizer block aligns different vocabularies.
        evaluated: references of the models that are also evaluated as they are.
        out: the output folder, if there is one.
        dtype, out_dtype: of the recipe.
        method: the recipe's merge method; None if the models are not merged by one recipe.
        device: where merges are evaluated: `cpu`, `cuda` (every GPU) or one such as `cuda:1`.
        checkpoints: merged models that are written to disk, those of merged adapters included.
        in_memory: whether a merge is held in memory as a whole, and not written tensor by tensor.
        licenses: pairs of a model's reference and a license that the study file names for it.
        batch_size: prompts in a batch; None: not known.
        accepted: ids of errors that are warnings for this merge.
        chat: whether prompts are rendered by the models' chat templates.
        sets_template: whether the recipe says which chat template the merge gets, or aligns tokenizers.
        parallelize: whether one model is spread over all GPUs.
        filters: of the recipe's parameters; each is a part of the names of tensors.
        densities: shares of whole task vectors that are kept.
    """

    where: str
    models: tuple[ModelFacts, ...]
    has_base: bool = True
    aligned: bool = False
    evaluated: frozenset[str] = frozenset()
    out: Path | None = None
    dtype: str | None = None
    out_dtype: str | None = None
    method: str | None = None
    device: str = "cpu"
    checkpoints: int = 0
    in_memory: bool = True
    licenses: frozenset[tuple[str, str]] = frozenset()
    batch_size: int | None = None
    accepted: frozenset[str] = frozenset()
    chat: bool = False
    sets_template: bool = False
    parallelize: bool = False
    filters: frozenset[str] = frozenset()
    densities: frozenset[float] = frozenset()

    @property
    def base(self) -> ModelFacts:
        """The model that the others are compared with."""
        return self.models[0]

    @property
    def others(self) -> tuple[ModelFacts, ...]:
        """All models but the first."""
        return self.models[1:]

    def is_answering(self, model: ModelFacts) -> bool:
        """Return whether a model generates answers, or a merge with its config and tokenizer does."""
        return model.reference in self.evaluated or (bool(self.evaluated) and model is self.base)


class How(TypedDict, total=False):
    """The optional fields of MergeFacts."""

    has_base: bool
    aligned: bool
    evaluated: frozenset[str]
    out: Path | None
    dtype: str | None
    out_dtype: str | None
    method: str | None
    device: str
    checkpoints: int
    in_memory: bool
    licenses: frozenset[tuple[str, str]]
    batch_size: int | None
    accepted: frozenset[str]
    chat: bool
    sets_template: bool
    parallelize: bool
    filters: frozenset[str]
    densities: frozenset[float]


Check: TypeAlias = Callable[[MergeFacts], Iterable[Finding]]
