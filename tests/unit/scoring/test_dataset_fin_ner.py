"""FIN NER: traps of its tags and of AdaptLLM's parser."""

from collections import Counter

import pytest
from helpers.tasks import jsonl, rows

from mergekit_finance.data import loader
from mergekit_finance.data.adapters.english import SHOTS_ENTITIES
from mergekit_finance.scoring import aggregate, entities
from mergekit_finance.scoring import metrics as scoring


def tagged(name, text, tags, document="d"):
    full = {"P": "I-PER", "G": "I-ORG", "L": "I-LOC", "M": "I-MISC", ".": "O"}
    return {"id": name, "document": document, "tokens": text.split(), "ner_tags": [full[t] for t in tags]}


def test_ner_sentences_without_a_person_organization_or_location_are_left_out():
    adapted = rows(
        "fin_ner", tagged("a", "The Lender pays", ".P."), tagged("b", "It pays", ".."),
        tagged("c", "Euro notes", "M."),
        train=[tagged("t", "No name", ".."), tagged("u", "Oakline pays", "G.")],
    )  # fmt: skip
    assert [row["item_id"] for row in adapted] == ["a"]
    assert [shot["text"] for shot in adapted[0]["shots"]] == ["Oakline pays"]


def test_ner_misc_is_dropped_and_other_entities_of_the_sentence_stay():
    (row,) = rows("fin_ner", tagged("a", "Oakline issues Euro notes", "G.M."))
    assert row["entities"] == [["Oakline", "ORG"]] and row["label"] == "Oakline (ORG)"


def test_ner_adjacent_entities_of_one_type_are_one_because_tags_are_io():
    (row,) = rows("fin_ner", tagged("a", "Ann Ash Bob Bell of Oakline", "PPPP.G"))
    assert row["entities"] == [["Ann Ash Bob Bell", "PER"], ["Oakline", "ORG"]]


def test_ner_the_real_rows_hold_only_three_types_and_some_replacement_characters(mirror, real_rows):
    loaded = loader.load_rows("fin_ner", "default", data_dir=str(mirror))
    assert {kind for row in loaded for _, kind in row["entities"]} == {"PER", "ORG", "LOC"}
    raw = jsonl(real_rows / "fin_ner" / "test.jsonl")
    has = [r for r in raw if {"I-PER", "I-ORG", "I-LOC"} & set(r["ner_tags"])]
    assert len(loaded) == len(has) < len(raw)
    assert any("\ufffd" in row["text"] for row in loaded)
    people = Counter(text for row in loaded for text, kind in row["entities"] if kind == "PER")
    assert people["Borrower"] + people["Lender"] > 0.8 * people.total()  # what this task measures most


def test_ner_corpus_f1_and_adaptllms_mean_over_sentences_differ():
    docs = [
        {"entities": [["Ann Ash", "PER"], ["Bob Bell", "PER"], ["Oakline", "ORG"]]},
        {"entities": [["Lund", "LOC"]]},
    ]
    metrics = [
        scoring.entities(doc, [text]) for doc, text in zip(docs, ("Jim Ash (PER)", "Lund (LOC)"), strict=True)
    ]
    assert aggregate.corpus_entity_f1([m["score"] for m in metrics]) == pytest.approx(1 / 3)
    assert sum(m["adaptllm_f1"] for m in metrics) / 2 == pytest.approx(
        0.875
    )  # "Jim Ash" passes for "Ann Ash"


def test_ner_adaptllms_parser_keeps_the_last_word_only_and_ours_all():
    text = "Harbour Trust Bank (ORG)"
    assert entities.adaptllm_entities(text) == [("Bank", "ORG")]
    assert entities.parse_entities(text) == [("Harbour Trust Bank", "ORG")]


def test_ner_the_sentence_is_the_end_of_a_long_prompt(mirror, prompt):
    """20 demonstrations are longer than 2,048 tokens, and lm-eval cuts from the left."""
    for row in loader.load_rows("fin_ner", "default", data_dir=str(mirror))[:20]:
        assert len(row["shots"]) == SHOTS_ENTITIES
        assert prompt("fin_ner", row).endswith(f"{row['text']}\nExtract named entity:")


def test_ner_states_its_format_only_without_demonstrations(prompt):
    test = {"id": "1", "tokens": ["Ana", "signs"], "ner_tags": ["I-PER", "O"]}
    train = {"id": "2", "tokens": ["Ben", "signs"], "ner_tags": ["I-PER", "O"]}
    (alone,), (shown,) = rows("fin_ner", test), rows("fin_ner", test, train=[train])
    assert "entity (TYPE)" in prompt("fin_ner", alone)
    assert "entity (TYPE)" not in prompt("fin_ner", shown) and "Ben (PER)" in prompt("fin_ner", shown)
