"""From stored results to summary.json: choose, measure, test, and say it in words. Reads no model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mergekit_finance.statistics.bootstrap import Replicates, bootstrap
from mergekit_finance.statistics.contrasts import difference, score
from mergekit_finance.statistics.influence import clusters_of
from mergekit_finance.study.analysis import effects, operators, predictors, select, verdict
from mergekit_finance.study.config import identity
from mergekit_finance.study.results import Loaded, load

FORMAT = 1


def chosen_points(loaded: Loaded) -> dict[str, str]:
    """Combination -> its selected point."""
    return select.choose(loaded.points, select.macro_on(loaded.selection, loaded.macro)).by_combination


def summary(out: Path) -> dict[str, Any]:
    """The whole answer of the study in a folder."""
    return answer(load(out), json.loads((out / "similarity.json").read_text(encoding="utf-8")))


def answer(loaded: Loaded, similarity: Mapping[str, Any]) -> dict[str, Any]:
    """The whole answer; the same bytes from the same stored results."""
    macro = select.macro_on(loaded.selection, loaded.macro)
    choice = select.choose(loaded.points, macro)
    found = bootstrap(list(loaded.report.values()), loaded.study.resamples, loaded.study.seed)
    rows = {name: effects.of_point(loaded, found, name) for name in choice.by_operator.values()}
    effects.adjust(rows, loaded)
    best = {combination: rows[name] for combination, name in choice.by_combination.items()}
    effects.adjust_words(best, loaded)
    figure = predictors.table(loaded, similarity, best)
    content = {
        "format": FORMAT,
        "study": identity(loaded.study),
        "limit": loaded.limit,
        "selection": _selection(loaded),
        "models": _models(loaded, found, macro),
        "tasks": _tasks(loaded),
        "points": {name: _point(loaded, found, name, macro, choice) for name in loaded.points},
        "selected": rows,
        "combinations": _combinations(loaded, choice),
        "ship": _ship(loaded, found, macro, choice),
        "operators": operators.claim(loaded, found),
        "similarity": {"combinations": figure, "correlations": predictors.correlations(figure)},
    }
    return content | {"verdict": verdict.sentences(content)}


def _selection(loaded: Loaded) -> dict[str, Any]:
    chosen = loaded.study.selection
    return {
        "same_items": chosen.same_items,
        "split": loaded.splits,
        "share": chosen.share if loaded.splits else None,
        "seed": chosen.seed,
        "optimism_of_choosing_and_reporting_on_the_same_items": {
            k: round(v, 6) for k, v in select.optimism(loaded).items()
        },
    }


def _tasks(loaded: Loaded) -> dict[str, Any]:
    return {
        task: known
        | {
            "items": len(loaded.full[task].clusters),
            "clusters": loaded.full[task].count,
            "report_items": len(loaded.report[task].clusters),
            "report_clusters": loaded.report[task].count,
            "chance": round(predictors.guess(loaded, task), 6),
        }
        for task, known in loaded.tasks.items()
    }


def _models(loaded: Loaded, found: Replicates, macro: select.Macro) -> dict[str, Any]:
    return {
        name: known | {"macro_on_selection": round(macro(name), 6)} | _measured(loaded, found, name)
        for name, known in loaded.models.items()
    }


def _measured(loaded: Loaded, found: Replicates, name: str) -> dict[str, Any]:
    """Score on every task and macro with interval, on the report items."""
    kept = {k: loaded.of_kind(k) for k in ("retention", "probes")}
    extra = {k: effects.shown(score(found, tasks, name)) for k, tasks in kept.items() if tasks}
    return {
        "scores": operators.scores(found, loaded.tasks, name),
        "macro": effects.shown(score(found, loaded.macro, name)),
        **extra,
    }


def _point(
    loaded: Loaded, found: Replicates, name: str, macro: select.Macro, choice: select.Choice
) -> dict[str, Any]:
    point = {k: v for k, v in loaded.points[name].items() if k != "name"}
    return point | {
        "parents": loaded.parents(name),
        "selected": name in choice.by_operator.values(),
        "macro_on_selection": round(macro(name), 6),
        **_measured(loaded, found, name),
        **_against_parents(loaded, found, name),
    }


def _against_parents(loaded: Loaded, found: Replicates, name: str) -> dict[str, Any]:
    """Point estimates of Gain and OG on every task: a row of the heatmaps."""
    parents, rows = loaded.parents(name), {}
    for task in loaded.tasks:
        scores = [found.observed[task][p] for p in parents]
        own = found.observed[task][name]
        rows[task] = [round(own - sum(scores) / len(scores), 6), round(own - max(scores), 6)]
    means = [sum(rows[t][k] for t in loaded.macro) / len(loaded.macro) for k in (0, 1)]
    return {
        "gain_and_og": rows,
        "macro_gain": round(means[0], 6),
        "macro_og": round(means[1], 6),
    }


def _combinations(loaded: Loaded, choice: select.Choice) -> dict[str, Any]:
    return {
        combination: {
            "stage": loaded.points[name]["stage"],
            "experts": combination.split("+"),
            "skills": sorted(
                frozenset[str]().union(*(loaded.study.skills[e] for e in combination.split("+")))
            ),
            "named_tasks": effects.named(loaded, combination),
            "selected": name,
            "by_operator": {o: p for (c, o), p in choice.by_operator.items() if c == combination},
        }
        for combination, name in choice.by_combination.items()
    }


def _ship(loaded: Loaded, found: Replicates, macro: select.Macro, choice: select.Choice) -> dict[str, Any]:
    """What to ship: the best on the selection items, a merge or a model as it is, and how sure that is."""

    def rank(name: str) -> float:
        return select.mean_over_seeds(name, loaded.points, macro) if name in loaded.points else macro(name)

    names = [*loaded.models, *choice.by_combination.values()]
    winner, single = max(names, key=rank), max(loaded.models, key=rank)
    merge = max(choice.by_combination.values(), key=rank)
    return {
        "model": winner,
        "is_merge": winner in loaded.points,
        "best_merge": merge,
        "best_single": single,
        "macro": effects.shown(score(found, loaded.macro, winner)),
        "merge_over_single": effects.shown(difference(found, loaded.macro, merge, single)),
        "clusters": clusters_of([loaded.report[task] for task in loaded.macro]),
        **_kept(loaded, found, merge),
    }


def _kept(loaded: Loaded, found: Replicates, merge: str) -> dict[str, Any]:
    """The retention of the best merge against the base: shipping it costs that."""
    tasks = loaded.of_kind("retention")
    return {"retention_over_base": effects.shown(difference(found, tasks, merge, "base"))} if tasks else {}
