"""Measure what one constant answer gets on the tasks with written answers, and add it to the results.

In recipes/smollm2-135m: `python -m smollm2.constants BASE MIRROR results` writes results/constants.json:
task -> the best mean score that one answer, given to every row, has. Tried are the most common right answers
of the rows that the study uses. Chance levels need it, and the stored scores have no answers.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mergekit_finance.files import write_json

from .evaluate import LIMIT, LONG, LONG_LIMIT, SHORT, Evaluation
from .findings import CONSTANTS
from .plans import expert_plans

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask

TEXTS = "smollm2_text_"  # tasks without written answers, which need the held-out texts
TRIED = 10  # of the most common right answers


def constants(evaluation: Evaluation) -> dict[str, float]:
    """Return the score of the best constant answer, by task of `short` with written answers."""
    return {
        name: _best_constant(task, evaluation.limit)
        for name, task in evaluation.short_run.evaluator.tasks.items()
        if task.OUTPUT_TYPE == "generate_until"
    }


def _best_constant(task: "ConfigurableTask", limit: int | None) -> float:
    rows = list(task.eval_docs)[:limit]
    answers = Counter(str(task.doc_to_target(row)) for row in rows)
    means = [
        np.mean([task.process_results(row, [answer])["correct"] for row in rows])
        for answer, _ in answers.most_common(TRIED)
    ]
    return round(float(max(means)), 6)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(prog="python -m smollm2.constants", description=__doc__)
    parser.add_argument("base", type=Path, help="the folder of the base")
    parser.add_argument("mirror", type=Path, help="the mirror of the datasets")
    parser.add_argument("results", type=Path, help="the folder of results")
    options = parser.parse_args(argv)
    written = {kind: [task for task in of if not task.startswith(TEXTS)] for kind, of in SHORT.items()}
    base = str(options.base.absolute())
    experts = {name: f"{base}-{name}" for name in expert_plans()}  # are not read
    shared = (Path("unused"), base, experts, options.mirror.absolute())
    found = constants(Evaluation(*shared, written, limit=LIMIT))
    found |= constants(Evaluation(*shared, LONG, limit=LONG_LIMIT))
    write_json(options.results / CONSTANTS, found)
    print(f"{options.results / CONSTANTS}: {len(found)} tasks", file=sys.stderr)


if __name__ == "__main__":
    main()
