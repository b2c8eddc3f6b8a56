"""Entities in outputs and tags, against seqeval and AdaptLLM's pattern."""

import re

import pytest
from helpers.fuzz_guard import cpu_limit
from helpers.tasks import jsonl
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mergekit_finance.scoring import entities
from mergekit_finance.scoring.aggregate import corpus_entity_f1
from mergekit_finance.scoring.entities import Entity

io_tags = st.lists(st.sampled_from(["O", "O", "I-PER", "I-ORG", "I-LOC"]), min_size=1, max_size=12)
iob_tags = st.lists(st.sampled_from(["O", "I-PER", "I-ORG", "B-PER", "B-ORG"]), min_size=1, max_size=12)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Acme Bank (ORG), Paris (LOC)", [("Acme Bank", "ORG"), ("Paris", "LOC")]),
        (" Jane Roe (person), Acme (organization)\n\nNext", [("Jane Roe", "PER"), ("Acme", "ORG")]),
        ("Acme (Holdings), Inc (ORG)", [("Acme (Holdings), Inc", "ORG")]),
        ("Lender (PER), Lender (PER)", [("Lender", "PER"), ("Lender", "PER")]),
        ("Entities: none", []),
        ("", []),
        ("(ORG)", []),
        ("Acme (ORG", []),
        ("Acme(ORG),Paris(Location)", [("Acme", "ORG"), ("Paris", "LOC")]),
        ("Question: Acme (ORG)", []),
        ("Acme (ORG) and Paris (LOC).", [("Acme", "ORG"), ("Paris", "LOC")]),
        ("Acme （ORG）", [("Acme", "ORG")]),
    ],
)
def test_parse_entities(text, expected):
    assert entities.parse_entities(text) == [Entity(*pair) for pair in expected]


def test_adjacent_entities_of_one_type_merge_and_of_two_do_not():
    tokens = ["Jane", "Roe", "Acme", "of", "Paris"]
    tags = ["I-PER", "I-PER", "I-ORG", "O", "I-LOC"]
    assert entities.entities_from_tags(tokens, tags) == [
        ("Jane Roe", "PER"),
        ("Acme", "ORG"),
        ("Paris", "LOC"),
    ]
    assert entities.tag_spans(["I-PER", "I-PER"]) == [("PER", 0, 1)]
    assert entities.tag_spans(["B-PER", "B-PER"]) == [("PER", 0, 0), ("PER", 1, 1)]
    assert entities.tag_spans([]) == []
    assert entities.tag_spans(["I"]) == [("", 0, 0)]


@given(st.one_of(io_tags, iob_tags))
@settings(deadline=None)
def test_spans_equal_seqeval(tags):
    labeling = pytest.importorskip("seqeval.metrics.sequence_labeling")
    assert entities.tag_spans(tags) == labeling.get_entities(tags)


@given(st.lists(st.tuples(io_tags, io_tags), min_size=1, max_size=8))
@settings(deadline=None)
def test_corpus_f1_equals_seqeval(sentences):
    seqeval = pytest.importorskip("seqeval.metrics")
    pairs = [(gold, (pred + ["O"] * len(gold))[: len(gold)]) for gold, pred in sentences]
    counts = [
        entities.match_counts(entities.tag_spans(gold), entities.tag_spans(pred)) for gold, pred in pairs
    ]
    golds, preds = [gold for gold, _ in pairs], [pred for _, pred in pairs]
    assert corpus_entity_f1(counts) == pytest.approx(seqeval.f1_score(golds, preds, zero_division=0))


def test_repeats_count_as_often_as_gold_has_them():
    lender = ("Lender", "PER")
    assert entities.match_counts([lender], [lender, lender]) == (1, 2, 1)
    assert entities.match_counts([lender, lender], [lender]) == (1, 1, 2)
    assert entities.match_counts([], []) == (0, 0, 0)


def test_white_space_and_type_names_do_not_matter_but_case_does():
    assert entities.mention_key(("ACME , INC", "org")) == entities.mention_key(["ACME, INC", "Organization"])
    assert entities.mention_key(("ACME", "ORG")) == entities.mention_key(("Acme", "ORG"))
    assert entities.mention_key(("ACME", "ORG")) != entities.mention_key(("ACME", "LOC"))


def test_adaptllm_quirk_keeps_the_last_token_and_drops_repeats():
    text = "Acme Trust Bank (ORG), Jane Roe (PER), Jane Roe (PER)"
    assert entities.adaptllm_entities(text) == [("Bank", "ORG"), ("Roe", "PER")]
    assert entities.adaptllm_entities("Acme\n (ORG)") == [("Acme\n", "ORG")]
    assert entities.adaptllm_entities("Bank(ORG)") == []


def regex_entities(text):
    """The documented pattern itself, which is quadratic on long words."""
    pairs = []
    for name, kind in re.findall(r"([^\s]+[\s]+)(\([^\s]+\))", text):
        if (name[:-1], kind[1:-1]) not in pairs:
            pairs.append((name[:-1], kind[1:-1]))
    return pairs


@given(st.one_of(st.text(alphabet="ab() \n,\t", max_size=40), st.text(max_size=40)))
@settings(max_examples=1000, deadline=None)
def test_adaptllm_parser_equals_its_pattern(text):
    assert entities.adaptllm_entities(text) == regex_entities(text)


@pytest.mark.parametrize(
    "gold, pred, f1",
    [
        ("Acme (ORG)", "Acme (ORG)", 1.0),
        ("Acme (ORG)", "Acme (LOC)", 0.5),
        ("Acme (ORG)", "Other (ORG)", 0.5),
        ("Acme (ORG)", "Other (LOC)", 0.0),
        ("Acme (ORG)", "", 0.0),
        ("", "", 0.0),
        ("Big Acme (ORG)", "Small Acme (ORG)", 1.0),
        ("Acme (ORG), Roe (PER)", "Acme (ORG)", 2 / 3),
        ("Acme (ORG)", "Other (ORG), Acme (ORG)", 1 / 3),
    ],
)
def test_adaptllm_f1(gold, pred, f1):
    assert entities.adaptllm_f1(gold, pred) == pytest.approx(f1)


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[A-Z][a-z]{0,6}( [A-Z][a-z]{1,6})?", fullmatch=True),
            st.sampled_from(["PER", "ORG", "LOC"]),
        )
    )
)
@settings(deadline=None)
def test_formatted_entities_are_read_back(pairs):
    text = entities.format_entities(pairs)
    assume(not text.startswith(("Answer", "A ")))  # which are read as a label before the answer
    assert entities.parse_entities(text) == pairs


@given(st.text())
@settings(deadline=None)
def test_no_text_makes_entity_parsing_raise(text):
    assert all(name and kind for name, kind in entities.parse_entities(text))
    assert 0 <= entities.adaptllm_f1(text, text) <= 1


@pytest.mark.parametrize("text", ["a", "(", ")", "()", "a (", "a (b)", "(PER)", "\n", "a (PER), "])
def test_hostile_text_takes_linear_time(text):
    hostile = (text * 100_000)[:100_000]
    with cpu_limit(15):  # linear: about 0.1 s; quadratic would take minutes
        entities.parse_entities(hostile)
        entities.adaptllm_entities(hostile)


def test_real_sentences_give_what_seqeval_gives(real_rows):
    seqeval = pytest.importorskip("seqeval.metrics")
    golds = [record["ner_tags"] for record in jsonl(real_rows / "fin_ner" / "test.jsonl")]
    preds = [["O" if index % 3 == 0 else tag for index, tag in enumerate(tags)] for tags in golds]
    counts = [
        entities.match_counts(entities.tag_spans(gold), entities.tag_spans(pred))
        for gold, pred in zip(golds, preds, strict=True)
    ]
    expected = seqeval.f1_score(golds, preds, zero_division=0)
    assert 0 < expected < 1
    assert corpus_entity_f1(counts) == pytest.approx(expected)
