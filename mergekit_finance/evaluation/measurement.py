"""Measure one model: lm-eval's results and the scores of single items, which are stored.

The function here takes all that a score depends on from its arguments, which are in the key of the result.
The worker of a study only schedules these calls and stores their results.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mergekit_finance.evaluation.item_scores import item_scores

if TYPE_CHECKING:
    from mergekit_finance.evaluation.answering import AnsweringModel
    from mergekit_finance.evaluation.columns import Columns
    from mergekit_finance.evaluation.evaluator import Evaluator
    from mergekit_finance.hosts.lm_eval import Results


@dataclass(frozen=True)
class Measurement:
    """The results of one model.

    Attributes:
        results: lm-eval's results with all samples.
        scores: the items of every task.
        making: seconds that the model took to load or to merge; 0 if all answers were stored.
        seconds: how long the evaluation took besides.
        asking: how many of these seconds requests took, by kind.
    """

    results: "Results"
    scores: "dict[str, Columns]"
    making: float
    seconds: float
    asking: Mapping[str, float] = field(default_factory=dict)


def measure(
    evaluator: "Evaluator",
    model: "AnsweringModel",
    name: str,
    limit: int | None,
    items: Mapping[str, Collection[int]] | None = None,
) -> Measurement:
    """Evaluate a model on all tasks, or on some items of some, and take the items' scores from the samples.

    Args:
        evaluator: its tasks are measured.
        model: gives the stored answers, and asks for those that are missing.
        name: the model's name in the results.
        limit: the first so many items of every task; None: all.
        items: positions of the items of those to use, by task; None: all items of all tasks.
    """
    results, seconds = evaluator.measure(model, name, limit, items)
    values = {
        task: float(results["results"][task]["score,none"])
        for task, measure in evaluator.measures.items()
        if not measure.per_item and task in results["samples"]
    }
    scores = item_scores(results["samples"], values)
    return Measurement(results, scores, model.seconds_making, seconds, dict(model.seconds))
