"""The model of gain.json: what `mergekit-finance run` measured."""

from mergekit_finance.file_models import Count, Number, PartWithNulls, Weight


class GainRow(PartWithNulls):
    """Scores of one task, or their means over all tasks, weighted by `weight` (`macro`).

    Attributes:
        merged: score of the merge in [0, 1].
        constituents: score of each constituent.
        gain: `merged` minus the mean of the constituents.
        og: `merged` minus the best constituent per task.
        intervals: 95 % intervals of `merged`, `gain` and `og`; left out with fewer than two clusters.
        clusters: of a task: independent groups of items; intervals are made of these.
        n: of a task: items.
        weight: of a task in `macro`.
        truncated: of a task: items whose prompt did not fit the context of some model.
        is_zero_shot: of a task: whether its prompts lack demonstrations because train rows are missing.
    """

    merged: Number
    constituents: dict[str, Number]
    gain: Number
    og: Number
    intervals: dict[str, tuple[Number, Number]] | None = None
    clusters: Count = 0
    n: Count = 0
    weight: Weight = 1.0
    truncated: Count = 0
    is_zero_shot: bool = False


class GainFile(PartWithNulls):
    """gain.json: the scores of a merge and its constituents, Gain and OG, and what they were measured with.

    Attributes:
        recipe: the recipe's text.
        seed: of mergekit's random methods.
        models: reference -> fingerprint.
        results: reference, or "merged" -> folder below points/.
        random_weights: references of models that were never trained.
    """

    format: int
    recipe: str
    method: str
    semantics: str
    stage: int
    seed: int | None
    base: str | None
    models: dict[str, str]
    results: dict[str, str]
    limit: int | None
    source: str
    random_weights: list[str]
    tasks: dict[str, GainRow]
    macro: GainRow
