"""Measures in units of their own, and tasks without scores of items: own macros, never averaged with accuracies."""

import json
import math

import numpy as np
import pytest
from helpers.synthetic import MODELS, PAIR, POINTS, SAME, build, shares

from mergekit_finance.errors import DataError
from mergekit_finance.report.tables import unit_table
from mergekit_finance.statistics.totals import sufficient
from mergekit_finance.study.analysis.summary import summary
from mergekit_finance.study.analysis.unit_wording import amount
from mergekit_finance.study.results import load_results
from mergekit_finance.study.schema import Estimated
from mergekit_finance.study.store import write_study_file

ACCURACY = shares(200, base=40, finance=100, math=60, s1f=80, s1m=20, pair=120)
BITS = {"unit": "bits_per_byte", "lower_is_better": True, "aggregation": "bits_per_byte"}
BYTES = 10


def likelihoods(bits, tmp_path, tasks):
    """Write a study whose tasks in bits per byte have these values by model; every item has the same bits."""
    tables = {"t": ACCURACY} | {task: dict.fromkeys((*MODELS, *POINTS), np.ones(40)) for task in bits}
    results = build(tmp_path, tables, tasks, selection=SAME)
    for name in (*MODELS, *POINTS):
        path = tmp_path / "points" / name / "scores.json"
        content = json.loads(path.read_text())
        for task, of_models in bits.items():
            value = of_models.get(name, 2.0)
            content[task]["score"] = [
                [-value * math.log(2) * BYTES * (1 + k % 3), BYTES * (1 + k % 3)] for k in range(40)
            ]
        write_study_file(path, content)
    return results


def test_gain_and_og_in_bits_per_byte_have_the_sign_turned(tmp_path):
    bits = {
        "laws": {"finance": 1.0, "math": 2.0, PAIR: 0.75},
        "code": {"finance": 3.0, "math": 1.5, PAIR: 2.0},
    }
    results = likelihoods(bits, tmp_path, {"laws": BITS, "code": BITS | {"weight": 3.0}})
    assert results.macro == ["t"] and sorted(results.other_tasks) == ["code", "laws"]
    answer = summary(results.folder)
    assert answer.points[PAIR].macro.value == pytest.approx(0.6)  # the accuracy alone
    assert [*answer.tasks] == ["t"]
    (unit,) = answer.units
    row = unit.models[PAIR]
    assert row.values["laws"].value == pytest.approx(0.75) and row.values["code"].value == pytest.approx(2.0)
    assert row.gain["laws"].value == pytest.approx(1.5 - 0.75) and row.og["laws"].value == pytest.approx(0.25)
    assert row.gain["code"].value == pytest.approx(2.25 - 2) and row.og["code"].value == pytest.approx(-0.5)
    assert row.macro.value == pytest.approx((0.75 + 3 * 2.0) / 4)
    assert row.macro_gain.value == pytest.approx((0.75 + 3 * 0.25) / 4)
    assert row.macro_og.value == pytest.approx((0.25 - 3 * 0.5) / 4)
    assert unit.models["base"].macro_gain is None


def test_words_table_and_json_of_a_unit(tmp_path):
    results = likelihoods({"laws": {"finance": 1.0, PAIR: 0.75}}, tmp_path, {"laws": BITS})
    answer = summary(results.folder)
    write_study_file(tmp_path / "summary.json", answer.as_json())
    finished = load_results(tmp_path)
    assert finished.summary.units == answer.units
    said = [line.text for line in finished.summary.verdict if line.about == "units"]
    assert "bits_per_byte (lower is better): finance + math 0.75 (the same in every resample)" in said[-1]
    assert "Macro-Gain +0.75" in said[-1] and "Macro-OG +0.25" in said[-1]
    table = unit_table(finished, finished.summary.units[0], 0)
    assert table.title == "In bits_per_byte (lower is better)" and "sign turned" in table.note
    assert [row[0].text for row in table.rows][:3] == ["base", "finance", "math"]


def test_a_task_without_scores_of_items_has_values_and_no_interval(tmp_path):
    tasks = {"text": {"unit": "bleu", "per_item": False, "aggregation": "lm_eval.api.metrics:bleu"}}
    tables = {"t": ACCURACY, "text": dict.fromkeys((*MODELS, *POINTS), np.ones(40))}
    results = build(tmp_path, tables, tasks, selection=SAME)
    bleu = dict(zip((*MODELS, *POINTS), (10.0, 20.0, 30.0, 12.0, 14.0, 31.5), strict=True))
    for name, value in bleu.items():
        path = tmp_path / "points" / name / "scores.json"
        content = json.loads(path.read_text())
        content["text"] |= {"score": [None] * 40, "value": value}
        write_study_file(path, content)
    answer = summary(results.folder)
    (unit,) = answer.units
    row = unit.models[PAIR]
    assert row.values["text"] == (31.5, None, None) and unit.tasks["text"].items == 40
    assert row.gain["text"] == (6.5, None, None) and row.macro_og == (1.5, None, None)
    assert "No interval for text" in " ".join(line.text for line in answer.verdict)
    content["text"].pop("value")
    write_study_file(path, content)
    with pytest.raises(DataError, match="no value of task text"):
        summary(results.folder)


def test_retention_without_scores_of_items_is_in_no_mean(tmp_path):
    tasks = {"kept": {"kind": "retention", "per_item": False, "aggregation": "utils:agg"}}
    tables = {"t": ACCURACY, "kept": dict.fromkeys((*MODELS, *POINTS), np.ones(40))}
    results = build(tmp_path, tables, tasks, selection=SAME)
    assert results.of_kind("retention") == [] and [*results.other_tasks] == ["kept"]


@pytest.mark.parametrize("name", ["perplexity", "weighted_perplexity", "bits_per_byte"])
def test_likelihoods_equal_those_of_lm_eval(name):
    from lm_eval.api import metrics

    rng = np.random.default_rng(0)
    values = [(-float(v), int(n)) for v, n in zip(rng.random(30) * 50, rng.integers(1, 40, 30), strict=True)]
    items = [value for value, _ in values] if name == "perplexity" else values
    rows, total = sufficient(getattr(metrics, name), items)
    assert float(total(rows.sum(0))) == pytest.approx(getattr(metrics, name)(items))
    drawn = rng.integers(30, size=30)
    assert float(total(rows[drawn].sum(0))) == pytest.approx(
        getattr(metrics, name)([items[k] for k in drawn])
    )


def test_amounts_are_in_the_unit_and_not_in_points():
    assert amount(Estimated(0.12345, 0.1, 0.2)) == "0.1235 [0.1, 0.2]"
    assert amount(Estimated(123456.7), True) == "+123457" and amount(None) == ""
