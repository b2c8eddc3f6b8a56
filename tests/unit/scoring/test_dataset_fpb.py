"""Financial PhraseBank: traps of its rows."""

import pytest
from helpers.tasks import jsonl, rows

from mergekit_finance.data import loader
from mergekit_finance.scoring import aggregate


def phrase(name, sentence, label="neutral"):
    return {"id": name, "sentence": sentence, "label": label}


def test_fpb_repeated_sentences_share_a_cluster_even_with_different_labels():
    adapted = rows(
        "phrasebank", phrase(1, "It grew ."), phrase(2, "It grew .", "positive"), phrase(3, "It fell .")
    )
    assert [row["cluster_id"] == adapted[0]["cluster_id"] for row in adapted] == [True, True, False]
    assert [row["gold_index"] for row in adapted[:2]] == [1, 2] and len({r["item_id"] for r in adapted}) == 3


def test_fpb_mojibake_stays_as_the_source_has_it(prompt):
    broken = "Harbour Mills named J+ñrvi as head of its M+ñki unit ."
    (row,) = rows("phrasebank", phrase(1, broken))
    assert row["text"] == broken and broken in prompt("fpb", row)


def test_fpb_mojibake_of_the_real_rows_reaches_the_prompt(real_rows, mirror, prompt):
    raw = {
        str(r["id"]): r["sentence"] for r in jsonl(real_rows / "fpb" / "test.jsonl") if "+ñ" in r["sentence"]
    }
    loaded = {row["item_id"]: row for row in loader.load_rows("fpb", "default", data_dir=str(mirror))}
    assert raw and all(sentence in prompt("fpb", loaded[name]) for name, sentence in raw.items())


def test_fpb_always_neutral_has_a_high_accuracy_but_a_low_macro_f1():
    """59 % of the rows are neutral: accuracy and weighted F1 favor that class, macro F1 does not."""
    golds = [0] * 604 + [1] * 2879 + [2] * 1363
    always = [(gold, 1) for gold in golds]
    assert sum(g == p for g, p in always) / len(always) == pytest.approx(0.594, abs=5e-4)
    assert aggregate.weighted_f1(always) == pytest.approx(0.443, abs=5e-4)
    assert sum(f1 for f1, _ in aggregate.class_f1(always).values()) / 3 == pytest.approx(0.248, abs=5e-4)


def test_fpb_options_are_in_the_rows_own_order():
    options = ["Positive", "Negative", "Neutral"]
    (row,) = rows("adaptllm_choice", {"id": 1, "input": "x", "options": options, "gold_index": 1})
    assert row["options"] == options and row["gold_index"] == 1
