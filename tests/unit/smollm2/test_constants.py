"""What one constant answer scores on the tasks with written answers."""

from types import SimpleNamespace

import pytest
from helpers.smollm2_study import FOLDER, constants, evaluate

from mergekit_finance.files import read_json


def task(answers, kind="generate_until"):
    """A task whose rows have these right answers."""
    return SimpleNamespace(
        OUTPUT_TYPE=kind,
        eval_docs=answers,
        doc_to_target=lambda row: row,
        process_results=lambda row, given: {"correct": float(given[0] == row)},
    )


@pytest.mark.parametrize(
    ("limit", "expected"), [(None, 0.6), (2, 0.5)], ids=["all rows", "the first two rows"]
)
def test_the_most_common_answer_counts_on_the_rows_that_are_used(limit, expected):
    tasks = {
        "written": task(["up", "down", "down", "down", "flat"]),
        "choice": task(["a"], "multiple_choice"),
    }
    evaluation = SimpleNamespace(
        limit=limit, short_run=SimpleNamespace(evaluator=SimpleNamespace(tasks=tasks))
    )
    assert constants.constants(evaluation) == {"written": expected}


def test_the_published_file_has_every_task_with_written_answers():
    stored = read_json(FOLDER / "results" / constants.CONSTANTS)
    written = {
        "finance_bench_fin_ner",
        "finance_bench_probe_svamp",
        *evaluate.LONG["tasks"],
        *evaluate.LONG["probes"],
    }
    assert set(stored) == written and all(0 <= share < 0.5 for share in stored.values())
