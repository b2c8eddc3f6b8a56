"""Does similarity before a merge predict its success?

Predictors are means over the pairs of a merge's constituents (in stage 1 the base and the expert):

    l2, cosine            of the models
    vector_cosine         of their task vectors (stages 2 and 3)
    sign_conflicts        share of elements that moved in opposite directions (stages 2 and 3)
    vector_norm           mean L2 norm of the task vectors
    constituents          mean score of the constituents on the selection items
    headroom              what a perfect choice among the constituents would add, on the selection items

Outcomes are Macro-Gain and Macro-OG on the reported items. All merges of a kind have the same setting. The
mean of each kind is subtracted from both (a fixed effect), p-values come from exchanging experts within their
domains.
"""

import json
import lzma
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from mergekit_finance.similarity.measured import MeasuredEntry, Similarity
from mergekit_finance.statistics.multiplicity import holm

from ..data import Scores
from ..settings import named_tasks
from .effects import members_at_settings, models_of, outcomes
from .experts import Member, leave_one_out_rho, permutation_p, rank_correlation

OF_MODELS = ("l2", "cosine")
OF_VECTORS = ("vector_cosine", "sign_conflicts")
WITHOUT_LAYERS = ("vector_norm", "constituents", "headroom")
Values = dict[Member, float]


@dataclass(frozen=True)
class Prediction:
    """The correlation of a predictor with an outcome over the merges of a stage.

    Attributes:
        merges, experts: numbers.
        orders: relabelings that p is the share of.
        p_holm: over all predictors and outcomes of the stage.
        without_one: the range of rho without one expert.
        by_layer: the range of rho over the model's layers, with the layers of the extremes; None if the
            predictor has no layers.
    """

    stage: int
    predictor: str
    outcome: str
    rho: float
    p: float
    p_holm: float
    merges: int
    experts: int
    orders: int
    without_one: tuple[float, float]
    by_layer: tuple[tuple[str, float], tuple[str, float]] | None = None


def read_similarity(path: Path) -> Similarity:
    """Read the similarity of the base and the experts, by name."""
    return Similarity.model_validate(json.loads(lzma.decompress(path.read_bytes())))


def predictions(scores: Scores, similarity: Similarity | None) -> list[Prediction]:
    """Return the correlations of every stage, predictor and outcome that are defined."""
    return [one for stage in (1, 2, 3) for one in _of_stage(scores, similarity, stage)]


def _of_stage(scores: Scores, similarity: Similarity | None, stage: int) -> list[Prediction]:
    kinds = [kind for kind in scores.settings if kind.count("+") == stage - 1]
    results: dict[str, Values] = {"macro_gain": {}, "macro_og": {}}
    for kind in kinds:
        for name, values in outcomes(scores, kind, named_tasks(scores, kind)).items():
            results[name] |= values
    members = list(results["macro_gain"])
    if len(members) < 3:
        return []
    found = {}
    for predictor, values in _predictors(scores, similarity, members).items():
        for outcome, of_members in results.items():
            rho, p, orders = permutation_p(values, of_members)
            if not np.isnan(rho):
                found[predictor, outcome] = (rho, p, orders, values, of_members)
    adjusted = holm({key: one[1] for key, one in found.items()})
    experts = len({name for member in members for name in member})
    return [
        Prediction(
            stage, predictor, outcome, rho, p, adjusted[predictor, outcome], len(members), experts, orders,
            leave_one_out_rho(values, of_members), _by_layer(similarity, predictor, members, of_members),
        )
        for (predictor, outcome), (rho, p, orders, values, of_members) in found.items()
    ]  # fmt: skip


def _predictors(
    scores: Scores, similarity: Similarity | None, members: Sequence[Member]
) -> dict[str, Values]:
    """Return the value of every predictor for every member; those that some member lacks are left out."""
    found: dict[str, Values] = {}
    if similarity:
        for name in (*OF_MODELS, *OF_VECTORS):
            found[name] = of_entry(similarity.total, name, members)
        norms = {name: vector.norm for name, vector in similarity.total.task_vectors.items()}
        found["vector_norm"] = {m: float(np.mean([norms[e] for e in m])) for m in members}
    found |= _of_scores(scores, members)
    return {name: values for name, values in found.items() if len(values) == len(members)}


def of_entry(entry: MeasuredEntry, name: str, members: Iterable[Member]) -> Values:
    """Return a measure's mean over the pairs of each member's constituents; members without are left out."""
    if name in OF_MODELS:
        pairs = {frozenset((pair.a, pair.b)): getattr(pair, name) for pair in entry.pairs}
    else:
        field = "cosine" if name == "vector_cosine" else name
        pairs = {frozenset((pair.a, pair.b)): getattr(pair, field) for pair in entry.task_vector_pairs}
    found = {}
    for member in members:
        constituents = ("base", *member) if len(member) == 1 else member
        values = [pairs.get(frozenset(pair)) for pair in combinations(constituents, 2)]
        numbers = [value for value in values if value is not None]
        if len(numbers) == len(values):
            found[member] = float(np.mean(numbers))
    return found


def _by_layer(
    similarity: Similarity | None, predictor: str, members: Sequence[Member], outcome: Values
) -> tuple[tuple[str, float], tuple[str, float]] | None:
    """Return the layers with the smallest and the largest rho."""
    if similarity is None or predictor in WITHOUT_LAYERS:
        return None
    rhos = {}
    for layer, entry in similarity.layers.items():
        values = of_entry(entry, predictor, members)
        rho = rank_correlation(values, outcome) if len(values) == len(members) else float("nan")
        if not np.isnan(rho):
            rhos[layer] = rho
    if not rhos:
        return None
    ordered = sorted(rhos.items(), key=lambda pair: pair[1])
    return ordered[0], ordered[-1]


def _of_scores(scores: Scores, members: Sequence[Member]) -> dict[str, Values]:
    """Return the predictors that are computed from the constituents' answers on the selection items."""
    found: dict[str, Values] = {"constituents": {}, "headroom": {}}
    for kind in scores.settings:
        of_kind = {m: n for m, n in members_at_settings(scores, kind).items() if m in members}
        models = models_of(of_kind)
        tasks = scores.complete(named_tasks(scores, kind), models) if of_kind else []
        tables = [scores.table(task, models, "select") for task in tasks]
        chance = [scores.chance(task) for task in tasks]
        for member in of_kind if tables else []:
            names = ["base", *member] if len(member) == 1 else list(member)
            means = [np.mean([table.score(name) for name in names]) for table in tables]
            found["constituents"][member] = float(np.mean(means))
            room = [_headroom(t.correct, names, c) for t, c in zip(tables, chance, strict=True)]
            found["headroom"][member] = float(np.mean(room))
    return found


def _headroom(correct: Mapping[str, np.ndarray], names: Sequence[str], chance: float) -> float:
    """Return the share of items that another constituent gets right and the best one does not, minus what
    the others would get right there by guessing (as `study.analysis.predictors.headroom`)."""
    best = max(names, key=lambda name: (float(correct[name].mean()), name))
    wrong = ~correct[best]
    others = np.any([correct[name] for name in names if name != best], axis=0)
    by_guessing = 1 - (1 - chance) ** (len(names) - 1)
    return float((wrong & others).mean() - by_guessing * wrong.mean())
