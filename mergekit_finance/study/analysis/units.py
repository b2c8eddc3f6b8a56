"""Tasks that are in no mean of scores: measured in a unit of their own, or without scores of single items.

Perplexity, bits per byte, BLEU and other measures in a unit have macros, Gain and OG of their own. Where less
is better the sign of Gain and OG is turned, so that more is better. A metric that is computed over all items
at once (corpus BLEU, a function of the user's) has no scores of single items, so that there is nothing to
resample: its values have no intervals.
"""

from collections.abc import Sequence

from mergekit_finance.statistics import outperform
from mergekit_finance.statistics.bootstrap import Replicates, bootstrap, with_constants
from mergekit_finance.statistics.contrasts import score
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import UnitResults, UnitScores, UnitTask, estimated


def units(results: StudyResults) -> list[UnitResults]:
    """Return the results of every unit and kind of tasks that are in no mean of scores."""
    groups: dict[tuple[str, bool, str], list[str]] = {}
    for name, task in sorted(results.other_tasks.items()):
        groups.setdefault((task.unit, task.lower_is_better, task.kind), []).append(name)
    return [_unit(results, groups[key]) for key in sorted(groups)]


def _unit(results: StudyResults, names: Sequence[str]) -> UnitResults:
    first = results.other_tasks[names[0]]
    replicates = _replicates(results, names)
    everyone = [*results.models, *results.points]
    return UnitResults(
        unit=first.unit,
        lower_is_better=first.lower_is_better,
        kind=first.kind,
        tasks={name: _task(results, name) for name in names},
        models={model: _scores(results, replicates, names, model) for model in everyone},
    )


def _task(results: StudyResults, name: str) -> UnitTask:
    """Return a task with the items that its values are on: without scores of items it cannot be split."""
    task, scores = results.other_tasks[name], results.other_scores.get(name)
    if scores is None:
        return UnitTask(**task.model_dump(), items=len(results.columns("base")[name].items))
    return UnitTask(**task.model_dump(), items=len(scores.clusters), clusters=scores.count)


def _scores(results: StudyResults, replicates: Replicates, names: Sequence[str], model: str) -> UnitScores:
    less = results.other_tasks[names[0]].lower_is_better
    row = UnitScores(
        values={name: estimated(score(replicates, [name], model), negate=less) for name in names},
        macro=estimated(score(replicates, names, model), negate=less),
    )
    if model in results.points:
        constituents = results.constituents(model)
        for part, effect in ((row.gain, outperform.gain), (row.og, outperform.outperform_gap)):
            part |= {name: estimated(effect(replicates, [name], model, constituents)) for name in names}
        row.macro_gain = estimated(outperform.gain(replicates, names, model, constituents))
        row.macro_og = estimated(outperform.outperform_gap(replicates, names, model, constituents))
    return row


def _replicates(results: StudyResults, names: Sequence[str]) -> Replicates:
    """Return replicates with the sign turned where less is better."""
    scores, study = results.other_scores, results.study
    sampled = bootstrap([scores[name] for name in names if name in scores], study.resamples, study.seed)
    whole = {name: _whole_values(results, name) for name in names if name not in scores}
    return with_constants(sampled, whole, {name: results.other_tasks[name].weight for name in names})


def _whole_values(results: StudyResults, name: str) -> dict[str, float]:
    sign = -1.0 if results.other_tasks[name].lower_is_better else 1.0
    return {model: sign * results.whole_value(model, name) for model in (*results.models, *results.points)}
