"""FiQA: traps of its rows."""

from collections import Counter, defaultdict

import pytest
from helpers.tasks import jsonl, rows

from mergekit_finance.data import loader
from mergekit_finance.data.adapters.english import SHOTS_CHOICE, fiqa_class
from mergekit_finance.errors import DataError


def aspect(name, sentence, target, score):
    return {"id": name, "sentence": sentence, "target": target, "sentiment_score": score}


@pytest.mark.parametrize(
    ("score", "label"),
    [(-1, 0), (-0.101, 0), (-0.1, 1), (-0.099, 1), (0.0, 1), (0.099, 1), (0.1, 2), (0.101, 2), (1, 2)],
)
def test_fiqa_classes_change_below_minus_0_1_and_at_0_1(score, label):
    assert fiqa_class(score) == label


def test_fiqa_scores_are_text_and_a_number_is_a_broken_row():
    (row,) = rows("fiqa", aspect("a", "Oakline gains", "Oakline", "0.10"))
    assert row["gold_index"] == 2
    with pytest.raises(DataError, match="line 1: column 'sentiment_score'"):
        rows("fiqa", aspect("a", "Oakline gains", "Oakline", 0.1))


def test_fiqa_class_counts_of_the_real_rows(real_rows, mirror):
    """Counts by the thresholds. By the sign of the score, hardly any row would be neutral."""
    loaded = loader.load_rows("fiqa_sa", "default", data_dir=str(mirror))
    assert Counter(row["gold_index"] for row in loaded) == {0: 51, 1: 17, 2: 91}
    scores = [float(r["sentiment_score"]) for r in jsonl(real_rows / "fiqa_sa" / "test.jsonl")]
    assert len(scores) == len(loaded) and sum(score == 0 for score in scores) < 5


def test_fiqa_the_target_is_in_the_prompt_for_the_item_and_its_demonstrations(prompt):
    sentence = "Brightwell loses supply deal to Tern Foods"
    train = [aspect(f"t{n}", f"Elmfield {n} holds", f"Elmfield {n}", "0.0") for n in range(9)]
    two = (aspect("a", sentence, "Brightwell", "-0.5"), aspect("b", sentence, "Tern Foods", "0.4"))
    first, second = rows("fiqa", *two, train=train)
    assert (first["gold_index"], second["gold_index"]) == (0, 2)
    assert first["cluster_id"] == second["cluster_id"] and first["item_id"] != second["item_id"]
    assert "sentiment on Brightwell?" in prompt("fiqa_sa", first).rsplit(sentence, 1)[1]
    assert "sentiment on Tern Foods?" in prompt("fiqa_sa", second).rsplit(sentence, 1)[1]
    assert prompt("fiqa_sa", first).count("sentiment on Elmfield") == SHOTS_CHOICE


def test_fiqa_every_real_row_asks_about_its_target(mirror, prompt):
    loaded = loader.load_rows("fiqa_sa", "default", data_dir=str(mirror))
    assert all(f"sentiment on {row['target']}?" in prompt("fiqa_sa", row)[-200:] for row in loaded)
    golds = defaultdict(set)
    for row in loaded:
        golds[row["cluster_id"]].add(row["gold_index"])
    assert any(len(labels) > 1 for labels in golds.values())
