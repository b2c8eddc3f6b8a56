"""The tables of FINDINGS.md as Markdown. Scores are in points (0 to 100), except bits per byte."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mergekit_finance.similarity.measured import Similarity
from mergekit_finance.statistics.bootstrap import bootstrap
from mergekit_finance.statistics.contrasts import score as score_with_interval
from mergekit_finance.statistics.intervals import Estimate
from mergekit_finance.statistics.multiplicity import holm

from ..data import Scores
from ..points import DOMAINS, Setting
from ..settings import named_tasks
from .effects import (
    DRAWS,
    Difference,
    Effect,
    closest_model,
    effect_on,
    effects,
    flip_share,
    members_at_settings,
)
from .operators import grid_points, sensitivities
from .predictors import predictions

Record = Mapping[str, Any]  # an entry of training.json or steps.json, which other files of the study write
NONE = "none"


@dataclass(frozen=True)
class Results:
    """Everything that the tables are computed from.

    Attributes:
        scores: of all models.
        similarity: of the base and the experts; None if it was not measured.
        training: training.json.
        steps: steps.json.
        tokens: tokens.json.
    """

    scores: Scores
    similarity: Similarity | None
    training: Sequence[Record]
    steps: Sequence[Record]
    tokens: Mapping[str, Record]


def all_tables(results: Results) -> dict[str, str]:
    """Return every table by its name in FINDINGS.md."""
    scores, similarity = results.scores, results.similarity
    return {
        "corpora": corpora(results.tokens),
        "training": training(results.training),
        "tasks": tasks(scores),
        "models": models(scores),
        "settings": settings(scores),
        "effects": effect_rows(scores, effects(scores), bits=False),
        "bits": effect_rows(scores, effects(scores, in_bits=True), bits=True),
        "recovery": recovery(scores),
        "by-task": by_task(scores),
        "emergence": emergence(scores),
        "operators": operators(scores),
        "grid": grid(scores),
        "scales": scales(scores),
        "similarity": similarity_rows(scores, similarity),
        "steps": steps(results.steps),
    }


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> str:
    """Return a table; the first `left` columns are aligned to the left."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * left + "---:|" * (len(head) - left)]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def points(value: float, form: str = ".1f") -> str:
    """Return a score in points; `none` if it is not defined."""
    return NONE if np.isnan(value) else format(round(100 * value, 6) + 0.0, form)


def signed(value: float, bits: bool = False) -> str:
    """Return a difference with its sign: in points, or in bits per byte."""
    if np.isnan(value):
        return NONE
    return format(round(value, 6) + 0.0, "+.3f") if bits else points(value, "+.1f")


def interval(estimate: Estimate, bits: bool = False) -> str:
    """Return a difference with its interval."""
    value, low, high = (signed(number, bits) for number in estimate)
    return f"{value} [{low}, {high}]"


def _range(ends: tuple[float, float], bits: bool = False) -> str:
    return NONE if np.isnan(ends).all() else f"{signed(ends[0], bits)} to {signed(ends[1], bits)}"


def _by_expert(one: Difference, bits: bool = False) -> str:
    return ", ".join(f"{key}: {signed(one.by_set[key], bits)}" for key in sorted(one.by_set))


def setting_text(setting: Setting) -> str:
    """Return a setting as `ties density 0.2 lambda 1.0`."""
    operator, values = setting
    return " ".join([operator, *(f"{key} {value}" for key, value in values)])


def short(task: str) -> str:
    """Return a task's name without its prefix."""
    return task.removeprefix("finance_bench_").removeprefix("smollm2_")


# ---- what was made


def corpora(tokens: Mapping[str, Record]) -> str:
    """The texts."""
    rows = [
        (text, *(one[k] for k in ("documents", "questions", "train_tokens", "held_out_documents",
                                  "held_out_tokens")))
        for text, one in tokens.items()
    ]  # fmt: skip
    head = ("text", "documents", "of them questions", "tokens", "held-out documents", "held-out tokens")
    return markdown(head, rows)


def training(records: Sequence[Record]) -> str:
    """The experts: settings, held-out losses before and after, time, memory, and the hash of the weights."""
    texts = list(records[0]["held_out_before"]) if records else []
    head = ["expert", "device", "weights (sha256)", "rate", "seed", "tokens", "passes"]
    head += [f"{text}, before → after" for text in texts] + ["tokens/s", "seconds", "GiB"]
    rows = []
    for one in records:
        plan, before, after = one["plan"], one["held_out_before"], one["held_out_after"]
        rows.append(
            [
                one["name"], one["device"], one["sha256"][:12], plan["rate"], plan["seed"],
                f"{one['tokens'] / 1e6:.1f} M", one["passes"],
                *(f"{before[text]:.3f} → {after[text]:.3f}" for text in texts),
                one["tokens_per_second"], one["seconds"], f"{one['peak_memory'] / 2**30:.1f}",
            ]
        )  # fmt: skip
    return markdown(head, rows, left=3)


def steps(records: Sequence[Record]) -> str:
    """Time, memory and device of each step."""
    rows = [(one["step"], one["devices"], one["seconds"], one["gib"]) for one in records]
    return markdown(("step", "device", "seconds", "main memory of the largest process, GiB"), rows, left=2)


# ---- models


def tasks(scores: Scores) -> str:
    """Every task: chance, base, best and worst expert, and whether it can show a difference."""
    rows = []
    for task in sorted(scores.averaged(), key=lambda t: (scores.tasks[t].kind, t)):
        raw = _raw_models(scores, task)
        table = scores.table(task, raw)
        replicates = bootstrap([table], DRAWS)
        chance = scores.chance(task)
        above = [n for n in raw if score_with_interval(replicates, [task], n).low > chance]
        experts = [table.score(name) for name in raw if name != "base"] or [float("nan")]
        base = points(table.score("base")) if "base" in raw else NONE
        info = scores.tasks[task]
        rows.append(
            [
                short(task), info.kind, "+".join(info.skills) or "general", table.count, points(chance), base,
                points(min(experts)), points(max(experts)), f"{len(above)} of {len(raw)}",
                "" if above else "no: no model is above chance",
            ]
        )  # fmt: skip
    head = ("task", "kind", "skills", "clusters", "chance", "base", "worst expert", "best expert",
            "models above chance", "could it show anything")  # fmt: skip
    return markdown(head, rows, left=3)


def _raw_models(scores: Scores, task: str) -> list[str]:
    return [m.name for m in scores.models.values() if not m.is_merge and m.name in scores.columns[task]]


def models(scores: Scores) -> str:
    """The base and the experts on the tasks of each domain, retention, and the held-out texts."""
    raw = [model.name for model in scores.models.values() if not model.is_merge]
    groups = {
        domain: [t for t in named_tasks(scores, domain) if scores.tasks[t].kind != "retention"]
        for domain in DOMAINS
    }
    groups["all tasks"] = [t for t in scores.averaged() if scores.tasks[t].kind == "tasks"]
    groups["retention"] = [t for t in scores.averaged() if scores.tasks[t].kind == "retention"]
    groups = {name: scores.complete(of, raw) for name, of in groups.items()}
    chance = ["chance", *(_mean([scores.chance(t) for t in of]) for of in groups.values())]
    texts = scores.complete(sorted(scores.in_bits()), raw)
    rows = [[*chance, *(NONE for _ in texts)]]
    for name in raw:
        means = [_mean([scores.table(t, [name]).score(name) for t in of]) for of in groups.values()]
        bits = [f"{-scores.table(t, [name]).score(name):.3f}" for t in texts]
        rows.append([name, *means, *bits])
    head = ["model", *(f"{name} ({len(of)} tasks)" for name, of in groups.items())]
    return markdown([*head, *(f"bits per byte, {short(t).removeprefix('text_')}" for t in texts)], rows)


def _mean(values: Sequence[float]) -> str:
    return points(float(np.mean(values))) if values else NONE


def settings(scores: Scores) -> str:
    """The setting of each kind, chosen on the selection items of its representative."""
    rows = [(kind, setting_text((s[0], tuple(s[1])))) for kind, s in scores.settings.items()]
    return markdown(("kind", "setting of all its merges"), rows, left=2)


# ---- effects


def effect_rows(scores: Scores, found: Mapping[str, Effect], bits: bool) -> str:
    """The differences of each kind from each constituent and the base."""
    head = ("merges", "tasks", "clusters", "n merges", "chance", "score", "base", "minus",
            "difference, items", "difference, items and experts", "without one expert",
            "experts a, b, c", "p", "p (Holm)", "word")  # fmt: skip
    rows = []
    for kind, effect in found.items():
        for role, one in effect.differences.items():
            chance = NONE if bits else _chance(scores, effect.tasks)
            rows.append(_effect_row(kind, effect, role, one, bits, chance))
    return markdown(head, rows)


def _chance(scores: Scores, tasks: Sequence[str]) -> str:
    """Return the mean level of chance of some tasks."""
    return _mean([scores.chance(task) for task in tasks])


def _effect_row(kind: str, effect: Effect, role: str, one: Difference, bits: bool, chance: str) -> list[str]:
    scores = [f"{-v:.3f}" if bits else points(v) for v in (effect.score, effect.base)]
    sets = _by_expert(one, bits)
    kind_text = kind if "+" in kind else f"base+{kind}"
    first = role == next(iter(effect.differences))
    return [
        kind_text, str(len(effect.tasks)), str(effect.clusters), str(len(effect.members)), chance, *scores,
        f"{role} expert" if role != "base" else "base", interval(one.of_items, bits),
        interval(one.of_experts, bits), _range(one.without_one, bits), sets, f"{one.p:.4f}",
        f"{effect.p_holm:.4f}" if first else "", f"**{effect.word}**" if first else "",
    ]  # fmt: skip


def recovery(scores: Scores) -> str:
    """Stage 1: retention lost and recovered, skill kept, and flips."""
    head = ("merges", "on", "tasks", "clusters", "base", "merge minus expert", "merge minus base",
            "items gained, lost against the expert, %", "against the base, %")  # fmt: skip
    rows = []
    for domain in (kind for kind in scores.settings if "+" not in kind):
        named = named_tasks(scores, domain)
        sets = {
            "retention": [t for t in named if scores.tasks[t].kind == "retention"],
            "own skill": [t for t in named if scores.tasks[t].kind != "retention"],
        }
        for name, of in sets.items():
            members = members_at_settings(scores, domain)
            effect = effect_on(scores, domain, members, of) if members and of else None
            if effect:
                shares = [flip_share(scores, members, effect.tasks, base) for base in (False, True)]
                flips = [NONE if s is None else f"{points(s.gained)}, {points(s.lost)}" for s in shares]
                differences = [interval(effect.differences[r].of_experts) for r in (domain, "base")]
                row = [f"base+{domain}", name, len(effect.tasks), effect.clusters, points(effect.base)]
                rows.append([*row, *differences, *flips])
    return markdown(head, rows, left=2)


def by_task(scores: Scores) -> str:
    """Pairs and triple: the difference from each constituent on every task, and what it is over the best."""
    head = ("merges", "task", "skills", "clusters", "chance", "merge", "minus its best constituent",
            "minus base", "experts a, b, c")  # fmt: skip
    rows = []
    for kind in (kind for kind in scores.settings if "+" in kind):
        for task in named_tasks(scores, kind):
            members = members_at_settings(scores, kind)
            effect = effect_on(scores, kind, members, [task]) if members else None
            if effect:
                closest = min(effect.constituents.values(), key=lambda d: d.of_items.value)
                sets = _by_expert(closest)
                rows.append(
                    [
                        kind, short(task), "+".join(scores.tasks[task].skills), effect.clusters,
                        points(scores.chance(task)), points(effect.score), interval(closest.of_experts),
                        interval(effect.differences["base"].of_experts), sets,
                    ]
                )  # fmt: skip
    return markdown(head, rows, left=3)


def emergence(scores: Scores) -> str:
    """Tasks that need two or three skills: the merges against every raw model."""
    found = effects(scores, skills=2)
    closest = {kind: closest_model(scores, effect) for kind, effect in found.items()}
    adjusted = holm({kind: one.p for kind, one in closest.items()})
    head = ("merges", "tasks", "clusters", "chance", "score", "closest raw model",
            "difference, items and experts", "experts a, b, c", "p", "p (Holm)")  # fmt: skip
    rows = []
    for kind, effect in found.items():
        one = closest[kind]
        sets = _by_expert(one.difference)
        rows.append(
            [
                kind, len(effect.tasks), effect.clusters, _chance(scores, effect.tasks), points(effect.score),
                one.name,
                interval(one.difference.of_experts), sets, f"{one.p:.4f}", f"{adjusted[kind]:.4f}",
            ]
        )  # fmt: skip
    return markdown(head, rows)


# ---- operators and similarity


def operators(scores: Scores) -> str:
    """Best score, spread and share of cells near the best, by operator."""
    rows = [
        [
            one.operator, one.cells, one.kinds,
            *(f"{points(v)} [{points(low)}, {points(high)}]" for v, low, high in
              (one.best, one.spread, one.near)),
            points(one.by_seed),
        ]
        for one in sensitivities(scores)
    ]  # fmt: skip
    head = ("operator", "cells", "kinds", "best score", "spread over the grid",
            "share of cells within a point of the best, %", "standard deviation over mask seeds")  # fmt: skip
    return markdown(head, rows)


def grid(scores: Scores) -> str:
    """The score of every cell of the representatives' grids."""
    found = grid_points(scores)
    kinds = list(dict.fromkeys(one.kind for one in found))
    cells = sorted({one.cell for one in found})
    values = {(one.cell, one.kind): points(one.score) for one in found}
    chance = {one.kind: points(one.chance) for one in found}
    rows = [["chance", *(chance[kind] for kind in kinds)]]
    rows += [[setting_text(cell), *(values.get((cell, kind), NONE) for kind in kinds)] for cell in cells]
    return markdown(["setting", *kinds], rows)


def scales(scores: Scores) -> str:
    """Pairs with a λ for each expert, beside the best shared λ."""
    best = {}
    for one in grid_points(scores):
        if one.cell[0] == "task_arithmetic" and one.score > best.get(one.kind, (0.0, -1.0))[1]:
            best[one.kind] = (dict(one.cell[1])["lambda"], one.score)
    rows = []
    for model in scores.models.values():
        if any("." in key for key in model.values):
            kind = "+".join(name.rsplit("_", 1)[0] for name in model.combination)
            of = scores.complete(named_tasks(scores, kind), [model.name])
            mean = _mean([scores.table(t, [model.name]).score(model.name) for t in of])
            values = ", ".join(f"{key.split('.')[1]} {value}" for key, value in model.values.items())
            value, score = best.get(kind, (float("nan"), float("nan")))
            rows.append([kind, values, _chance(scores, of), mean, value, points(score)])
    head = ("merges", "λ by expert", "chance", "score", "best shared λ", "its score")
    return markdown(head, rows, left=2)


def similarity_rows(scores: Scores, similarity: Similarity | None) -> str:
    """Correlations of predictors with Macro-Gain and Macro-OG."""
    rows = []
    for one in predictions(scores, similarity):
        layers = NONE
        if one.by_layer:
            layers = " to ".join(f"{rho:+.2f} (layer {name})" for name, rho in one.by_layer)
        rows.append(
            [
                one.stage, one.predictor, one.outcome, f"{one.rho:+.2f}",
                f"{one.without_one[0]:+.2f} to {one.without_one[1]:+.2f}", f"{one.p:.4f}",
                f"{one.p_holm:.4f}", one.merges, one.experts, one.orders, layers,
            ]
        )  # fmt: skip
    head = ("stage", "predictor", "outcome", "ρ", "without one expert", "p", "p (Holm)", "merges", "experts",
            "orders", "range over layers")  # fmt: skip
    return markdown(head, rows, left=3)
