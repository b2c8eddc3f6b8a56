"""The typed models of similarity.json: what is measured, written, and read again.

The measures are defined in `mergekit_finance.similarity`. Fields with a default are left out where only
distances were measured; null is a measure that is undefined.
"""

from typing import Annotated, Literal

from pydantic import Field

from mergekit_finance.file_models import Count, PartWithNulls

MAX_MEASURE = 1e100  # above any norm of float32 weights; figures overflow on much larger numbers
SimilarityMeasure = Annotated[float, Field(strict=True, ge=-MAX_MEASURE, le=MAX_MEASURE)]


class ModelPair(PartWithNulls):
    """The measures of two models."""

    a: str
    b: str
    l2: SimilarityMeasure
    cosine: SimilarityMeasure | None
    equal: SimilarityMeasure | None = None


class TaskVector(PartWithNulls):
    """The measures of one task vector."""

    norm: SimilarityMeasure
    relative_norm: SimilarityMeasure | None
    quantiles: dict[str, SimilarityMeasure | None] = {}


class TaskVectorPair(PartWithNulls):
    """The measures of two task vectors."""

    a: str
    b: str
    cosine: SimilarityMeasure | None
    both_moved: SimilarityMeasure | None = None
    sign_conflicts: SimilarityMeasure | None = None


class MeasuredEntry(PartWithNulls):
    """The measures over one set of elements."""

    elements: Count
    norms: dict[str, SimilarityMeasure]
    pairs: list[ModelPair]
    task_vectors: dict[str, TaskVector]
    task_vector_pairs: list[TaskVectorPair]


class _TensorFacts(PartWithNulls):
    shape: list[Count]
    layer: str | None
    module: str


class TensorEntry(MeasuredEntry, _TensorFacts):
    """The measures over one tensor, after its shape, layer and module kind."""


class Similarity(PartWithNulls):
    """The result of `compute_similarity`, and the content of similarity.json."""

    format: Literal[1]
    base: str
    models: list[str]
    everything: bool
    skipped: list[str]
    total: MeasuredEntry
    layers: dict[str, MeasuredEntry]
    modules: dict[str, MeasuredEntry]
    tensors: dict[str, TensorEntry]
