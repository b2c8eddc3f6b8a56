"""What merging does, by kind of combination: differences from constituents and the base.

A difference is the mean over the members of a kind of (merge - model), averaged over tasks. For a constituent
the model is each member's own. Scores in bits per byte have the sign turned, so above 0 is always better.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mergekit_finance.statistics.bootstrap import Replicates, bootstrap
from mergekit_finance.statistics.contrasts import contrast
from mergekit_finance.statistics.flips import flips
from mergekit_finance.statistics.influence import contributions, count_clusters
from mergekit_finance.statistics.intervals import Estimate
from mergekit_finance.statistics.multiplicity import holm
from mergekit_finance.statistics.outperform import point_gain, point_gap
from mergekit_finance.statistics.scores import TaskScores
from mergekit_finance.statistics.signflip import p_greater

from ..data import Scores
from ..points import kind_of
from ..settings import named_tasks, text_tasks
from .experts import Member, leave_one_out, mean_over_experts

DRAWS = 2000
LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """The mean over members of (merge - model), over some tasks.

    Attributes:
        of_items: with an interval for other items, these experts.
        of_experts: with an interval for other items and other experts.
        without_one: the range of the mean without one expert.
        by_set: the values of the members whose experts are all a, all b, ...
        p: one-sided p-value of "above 0", for other items.
    """

    of_items: Estimate
    of_experts: Estimate
    without_one: tuple[float, float]
    by_set: dict[str, float]
    p: float

    @property
    def repeats(self) -> bool:
        """Whether the members of seed a and of seed b have the sign of the mean; False if one is missing."""
        signs = {np.sign(self.by_set.get(key, np.nan)) for key in ("a", "b")}
        return signs == {np.sign(self.of_items.value)}

    @property
    def is_repeated(self) -> bool:
        """Whether there are members of seed a and of seed b."""
        return {"a", "b"} <= set(self.by_set)


@dataclass
class Effect:
    """The result of one kind on one set of tasks.

    Attributes:
        members: experts -> name of the merge.
        tasks: the tasks that the means are over.
        clusters: of items.
        score, base: mean scores.
        differences: role -> difference. Roles are domains (the constituents) and `base`.
        p_holm: of "above every constituent and the base", over all kinds.
    """

    kind: str
    members: dict[Member, str]
    tasks: list[str]
    clusters: int
    score: float
    base: float
    differences: dict[str, Difference] = field(default_factory=dict)
    p_holm: float = float("nan")
    p_constituents_holm: float = float("nan")

    @property
    def constituents(self) -> dict[str, Difference]:
        """The differences from constituents; in stage 1 the base is one."""
        stage_1 = "+" not in self.kind
        return {role: d for role, d in self.differences.items() if role != "base" or stage_1}

    @property
    def p(self) -> float:
        """The p-value of "above every constituent and the base": the largest of them."""
        return max(d.p for d in self.differences.values())

    @property
    def p_constituents(self) -> float:
        """The p-value of "above every constituent"."""
        return max(d.p for d in self.constituents.values())

    @property
    def word(self) -> str:
        """What may be said: see FINDINGS.md, Analysis."""
        if not all(difference.is_repeated for difference in self.differences.values()):
            return "not repeated"
        if _above(self.differences.values(), self.p_holm):
            return "above all"
        if _above(self.constituents.values(), self.p_constituents_holm):
            return "above constituents, not above base"
        if any(d.of_experts.high < 0 and d.repeats for d in self.constituents.values()):
            return "below a constituent"
        return "no clear effect"


def _above(differences: Iterable[Difference], p: float) -> bool:
    return p <= LEVEL and all(d.of_experts.low > 0 and d.repeats for d in differences)


def members_at_settings(scores: Scores, kind: str) -> dict[Member, str]:
    """Return the merges of a kind that have its setting."""
    if kind not in scores.settings:
        return {}
    operator, values = scores.settings[kind]
    wanted = (operator, dict(values))
    return {
        model.combination: name
        for name, model in scores.models.items()
        if kind_of(model.combination) == kind and (model.operator, dict(model.values)) == wanted
    }


def effects(scores: Scores, in_bits: bool = False, skills: int = 1) -> dict[str, Effect]:
    """Return the effect of every kind.

    Args:
        scores: of all models.
        in_bits: on the held-out texts instead of the tasks with scores.
        skills: only tasks that need at least so many skills.
    """
    found = {}
    for kind in scores.settings:
        members = members_at_settings(scores, kind)
        tasks = text_tasks(scores, kind) if in_bits else named_tasks(scores, kind)
        tasks = [task for task in tasks if skills == 1 or len(scores.tasks[task].skills) >= skills]
        effect = effect_on(scores, kind, members, tasks) if members and tasks else None
        if effect:
            found[kind] = effect
    for name, adjusted in (("p_holm", "p"), ("p_constituents_holm", "p_constituents")):
        for kind, p in holm({kind: getattr(e, adjusted) for kind, e in found.items()}).items():
            setattr(found[kind], name, p)
    return found


def effect_on(scores: Scores, kind: str, members: dict[Member, str], tasks: Sequence[str]) -> Effect | None:
    """Return the effect of a kind on some tasks; None if no task was evaluated for all models."""
    models = models_of(members)
    tasks = scores.complete(tasks, models)
    if not tasks:
        return None
    tables = list(scores.tables(tasks, models).values())
    replicates = bootstrap(tables, DRAWS)
    effect = Effect(
        kind, members, list(tasks), count_clusters(tables),
        _mean_score(tables, list(members.values())), _mean_score(tables, ["base"]),
    )  # fmt: skip
    roles = {domain: k for k, domain in enumerate(kind.split("+"))}
    for role in (*roles, "base"):
        others = {m: m[roles[role]] if role in roles else "base" for m in members}
        effect.differences[role] = difference(tables, replicates, members, others)
    return effect


def models_of(members: Mapping[Member, str]) -> list[str]:
    """Return the base, the experts and the merges of some members."""
    experts = dict.fromkeys(name for member in members for name in member)
    return ["base", *experts, *members.values()]


def difference(
    tables: Sequence[TaskScores],
    replicates: Replicates,
    members: Mapping[Member, str],
    others: Mapping[Member, str],
) -> Difference:
    """Return the mean over members of (merge - its other model)."""
    tasks = [table.task for table in tables]
    weights: dict[str, float] = {}
    for member, name in members.items():
        weights[name] = weights.get(name, 0.0) + 1 / len(members)
        weights[others[member]] = weights.get(others[member], 0.0) - 1 / len(members)
    observed = {m: _mean(replicates.observed, tasks, n, others[m]) for m, n in members.items()}
    draws = {m: _mean(replicates.scores, tasks, n, others[m]) for m, n in members.items()}
    sets = {member[0].rsplit("_", 1)[1]: observed[member] for member in members if _is_one_set(member)}
    return Difference(
        contrast(replicates, tasks, weights),
        mean_over_experts(observed, draws),
        leave_one_out(observed),
        sets,
        p_greater(contributions(tables, weights)),
    )


def _is_one_set(member: Member) -> bool:
    return len({name.rsplit("_", 1)[1] for name in member}) == 1


def _mean(
    of_task: Mapping[str, Mapping[str, object]], tasks: Sequence[str], name: str, other: str
) -> np.ndarray:
    """Return the mean over tasks of a model's scores minus those of another one."""
    return np.mean([np.asarray(of_task[t][name]) - np.asarray(of_task[t][other]) for t in tasks], axis=0)


def _mean_score(tables: Sequence[TaskScores], models: Sequence[str]) -> float:
    """Return the mean over tasks and models, with the sign of the unit as it is measured."""
    return float(np.mean([table.score(name) for table in tables for name in models]))


# ---- outcomes of single merges


def outcomes(scores: Scores, kind: str, tasks: Sequence[str]) -> dict[str, dict[Member, float]]:
    """Return Macro-Gain and Macro-OG of every member of a kind over some tasks: name -> member -> value."""
    members = members_at_settings(scores, kind)
    models = models_of(members)
    tasks = scores.complete(tasks, models) if members else []
    found: dict[str, dict[Member, float]] = {"macro_gain": {}, "macro_og": {}}
    if not tasks:
        return found
    tables = scores.tables(tasks, models)
    score = {task: {name: table.score(name) for name in models} for task, table in tables.items()}
    for member, name in members.items():
        constituents = ["base", *member] if len(member) == 1 else list(member)
        pairs = [(score[t][name], [score[t][c] for c in constituents]) for t in tasks]
        found["macro_gain"][member] = float(np.mean([point_gain(*pair) for pair in pairs]))
        found["macro_og"][member] = float(np.mean([point_gap(*pair) for pair in pairs]))
    return found


# ---- flips


@dataclass(frozen=True)
class FlipShare:
    """Shares of items whose answer changes, from a model to the merge; means over members."""

    gained: float
    lost: float
    items: int


def flip_share(
    scores: Scores, members: Mapping[Member, str], tasks: Sequence[str], base: bool
) -> FlipShare | None:
    """Return the share of items that merges gain and lose against the base, or else their (only) expert."""
    tasks = scores.complete(tasks, models_of(members))
    if not tasks or not members:
        return None
    tables = [scores.table(task, models_of(members)) for task in tasks]
    items = sum(len(table.clusters) for table in tables)
    found = [flips(tables, name, "base" if base else member[0]) for member, name in members.items()]
    counts = [one for one in found if one is not None]
    if not counts:
        return None
    gained, lost = (float(np.mean([one[k] for one in counts])) / items for k in (0, 1))
    return FlipShare(gained, lost, items)


# ---- every other model


@dataclass(frozen=True)
class Closest:
    """The raw model that comes closest to the merges of a kind.

    Attributes:
        name: of the model.
        difference: of the merges from it.
        p: one-sided p-value of "above every raw model": the largest over them.
    """

    name: str
    difference: Difference
    p: float


def closest_model(scores: Scores, effect: Effect) -> Closest:
    """Return the raw model with the smallest difference on a kind's tasks.

    Raw models are the base and every expert that was evaluated on these tasks, merged or not.
    """
    raw = [model.name for model in scores.models.values() if not model.is_merge]
    names = [name for name in raw if scores.complete(effect.tasks, [name]) == effect.tasks]
    models = list(dict.fromkeys([*models_of(effect.members), *names]))
    tables = list(scores.tables(effect.tasks, models).values())
    replicates = bootstrap(tables, DRAWS)
    found = {
        name: difference(tables, replicates, effect.members, dict.fromkeys(effect.members, name))
        for name in names
    }
    closest = min(found, key=lambda name: found[name].of_items.value)
    return Closest(closest, found[closest], max(one.p for one in found.values()))
