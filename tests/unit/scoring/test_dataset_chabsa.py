"""chABSA: traps of neutral and repeated targets."""

import random
from collections import Counter, defaultdict

import pytest
from helpers.tasks import rows

from mergekit_finance.data import loader
from mergekit_finance.scoring import aggregate
from mergekit_finance.scoring import metrics as scoring


def annotation(*opinions, sentence="売上高は増え、売上高は減った"):
    listed = [{"target": t, "polarity": p, "from": a, "to": a + len(t)} for t, p, a in opinions]
    return {
        "header": {"document_id": "E1"},
        "sentences": [{"sentence_id": 3, "sentence": sentence, "opinions": listed}],
    }


def test_chabsa_neutral_rows_stay_and_are_wrong_whatever_is_said(manager):
    (row,) = rows("chabsa", annotation(("売上高", "neutral", 0)))
    assert row["gold_index"] == -1 and row["options"] == ["positive", "negative"]
    for likely in ([(-1.0, True), (-2.0, False)], [(-2.0, False), (-1.0, True)]):
        metrics = scoring.chabsa(row, likely)
        assert metrics["correct"] == metrics["acc"] == metrics["acc_norm"] == 0.0


def test_chabsa_the_options_after_a_space_are_a_metric_of_their_own(manager):
    """lm-eval's request for ` positive` is what the pfnet harness asks: prompt, one space, option."""
    from lm_eval.tasks import get_task_dict

    task = get_task_dict(["finance_bench_chabsa"], manager)["finance_bench_chabsa"]
    (doc,) = list(task.eval_docs)[:1]
    assert task.doc_to_choice(doc) == ["positive", "negative", " positive", " negative"]
    plain = [(-1.0, True), (-2.0, False)]
    metrics = scoring.chabsa(doc, [*plain, (-4.0, False), (-3.0, False)])
    gold = doc["gold_index"]
    assert metrics["score"] == (gold, 0) and metrics["f1_space"] == (gold, 1)
    assert metrics["correct"] == scoring.chabsa(doc, plain)["correct"]


def test_chabsa_a_target_that_occurs_twice_is_two_items():
    adapted = rows("chabsa", annotation(("売上高", "positive", 0), ("売上高", "negative", 7)))
    assert len({row["item_id"] for row in adapted}) == 2 and [r["gold_index"] for r in adapted] == [0, 1]
    assert len({row["cluster_id"] for row in adapted}) == 1
    turned = rows("chabsa", annotation(("売上高", "negative", 7), ("売上高", "positive", 0)))
    assert turned[::-1] == adapted  # the place names the item, not its number in the list
    same = rows("chabsa", annotation(("売上高", "positive", 0), ("売上高", "negative", 0)))
    assert len({row["item_id"] for row in same}) == 2  # even where the source gives both one place


def test_chabsa_score_is_the_three_class_macro_f1_times_one_and_a_half():
    metrics = pytest.importorskip("sklearn.metrics")
    draw = random.Random(3)
    items = [(draw.choice([0, 0, 0, 1, 1, -1]), draw.choice([0, 0, 1])) for _ in range(300)]
    golds, preds = zip(*items, strict=True)
    three = metrics.f1_score(golds, preds, labels=[0, 1, -1], average="macro", zero_division=0)
    assert aggregate.macro_f1_two_class(items) == pytest.approx(1.5 * three, abs=1e-12)


def test_chabsa_the_real_rows_hold_neutral_ones_and_repeated_targets(mirror):
    loaded = loader.load_rows("chabsa", "default", data_dir=str(mirror))
    assert Counter(row["gold_index"] for row in loaded) == {0: 299, 1: 172, -1: 13}
    pairs = defaultdict(set)
    for row in loaded:
        pairs[row["sentence"], row["target"]].add(row["item_id"])
    assert any(len(names) > 1 for names in pairs.values())
    best = [(gold, max(gold, 0)) for gold in (row["gold_index"] for row in loaded)]
    assert aggregate.macro_f1_two_class(best) < 1.0  # not even a perfect model reaches 1
