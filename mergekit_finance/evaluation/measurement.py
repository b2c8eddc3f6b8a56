"""Measure one model: lm-eval's results and the scores of single items, which are stored.

The functions here take all that a score depends on from the evaluator and their arguments, which are in the
key of the result. The worker of a study only schedules these calls and stores their results.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mergekit_finance.evaluation.item_scores import item_scores

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM

    from mergekit_finance.evaluation.columns import Columns
    from mergekit_finance.evaluation.evaluator import Evaluator
    from mergekit_finance.hosts.lm_eval import Results


@dataclass(frozen=True)
class Measurement:
    """The results of one model.

    Attributes:
        results: lm-eval's results with all samples.
        scores: the items of every task.
        seconds: how long the evaluation took.
    """

    results: "Results"
    scores: "dict[str, Columns]"
    seconds: float


def measure(evaluator: "Evaluator", lm: "HFLM", name: str, limit: int | None) -> Measurement:
    """Evaluate a live model on all tasks, and take the items' scores from the samples.

    Args:
        evaluator: its tasks are measured.
        lm: what `Evaluator.wrap` returned.
        name: the model's name in the results.
        limit: the first so many items of every task; None: all.
    """
    results, seconds = evaluator.measure(lm, name, limit)
    return Measurement(results, item_scores(results["samples"]), seconds)


def measure_model(
    evaluator: "Evaluator", reference: str, limit: int | None, trust_remote_code: bool
) -> Measurement:
    """Load a model with the evaluator's dtype and device, and measure it.

    Args:
        evaluator: its dtype, device and tasks are used.
        reference: a local folder or a Hub id, optionally with `@revision`.
        limit: the first so many items of every task; None: all.
        trust_remote_code: let transformers run code of the model's repository.

    Raises:
        ModelError: the model cannot be loaded.
    """
    return measure(evaluator, evaluator.load(reference, trust_remote_code), reference, limit)
