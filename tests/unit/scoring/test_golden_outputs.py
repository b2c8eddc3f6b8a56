"""Outputs as models write them, judged by a careful reader: the labels were written before the code was run on them."""

from pathlib import Path

import pytest
import yaml

from mergekit_finance.scoring import metrics

SCORERS = {
    "docmath_ss": metrics.docmath,
    "docmath_cs": metrics.docmath,
    "docmath_ss_cot": metrics.docmath_cot,
    "docmath_cs_cot": metrics.docmath_cot,
    "financemath": metrics.docmath_cot,
    "convfinqa": metrics.convfinqa,
    "convfinqa_cot": metrics.convfinqa_cot,
    "tatqa": metrics.tatqa,
    "tatqa_cot": metrics.tatqa_cot,
    "fin_ner": metrics.entities,
    "probe_m": metrics.exact_number_cot,
    "probe_mj": metrics.exact_number_cot,
    "svamp": metrics.exact_number_cot,
    "fp2_cot": metrics.choice_cot,
    "jfinqa_numerical": metrics.jfinqa,
    "jfinqa_consistency": metrics.jfinqa,
    "jfinqa_temporal": metrics.jfinqa,
    "jfinqa_numerical_cot": metrics.jfinqa_cot,
    "jfinqa_consistency_cot": metrics.jfinqa_cot,
    "jfinqa_temporal_cot": metrics.jfinqa_cot,
}


def outputs():
    """Each labeled output: task, document, text, whether it is right."""
    for path in sorted((Path(__file__).parent / "golden").glob("*.yml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8")):
            for label in ("right", "wrong"):
                for text in group[label]:
                    yield group["task"], group["doc"], text, label == "right"


OUTPUTS = list(outputs())


def test_the_set_is_large_and_has_right_and_wrong_outputs_of_every_generation_task():
    assert len(OUTPUTS) >= 600
    labeled = {(task, right) for task, _, _, right in OUTPUTS}
    assert labeled == {(task, right) for task in SCORERS for right in (True, False)}


def test_the_scorer_agrees_with_the_labels_on_at_least_98_percent():
    """Each task and each label by itself on at least 90 %: a whole kind of output must not be lost."""
    judged = [
        (task, right, (SCORERS[task](dict(doc), [text])["correct"] == 1.0) == right)
        for task, doc, text, right in OUTPUTS
    ]
    assert sum(agrees for *_, agrees in judged) >= 0.98 * len(judged)
    for task in SCORERS:
        for label in (True, False):
            agreements = [agrees for name, right, agrees in judged if (name, right) == (task, label)]
            assert sum(agreements) >= min(0.9 * len(agreements), len(agreements) - 1), (task, label)


@pytest.mark.parametrize("task", SCORERS)
def test_every_output_gets_a_score_of_0_or_1(task):
    for name, doc, text, _ in OUTPUTS:
        if name == task:
            assert SCORERS[task](dict(doc), [text])["correct"] in (0.0, 1.0)
