"""The lab's world: rare and unseen words, large sums, and tasks that need several experts' corpora."""

import functools
from collections import Counter

import pytest
from helpers.lab_training import corpora, probe, prompts

from mergekit_finance.data.loader import load_rows
from mergekit_finance.errors import DataError
from mergekit_finance.lab import generated_rows
from mergekit_finance.lab.draw import sums_of_split
from mergekit_finance.lab.japanese_cases import glossary_words
from mergekit_finance.lab.world import world

EXPERTS = ("finance", "math", "japanese")


@functools.cache
def cases(key):
    return generated_rows.cases(*key)


@functools.cache
def corpus(role):
    return tuple(corpora.documents(role, 6_000))


def test_every_table_has_an_even_number_of_entries_so_that_the_core_is_at_even_indices_of_all():
    w = world()
    for tables in (w.verbs, w.metrics, w.names):
        assert all(len(table) % 2 == 0 for table in tables.values())
    assert all(len(table) % 2 == 0 for table in (w.formulas, w.items, w.terms, w.customs, w.assets, w.things))
    assert len(w.custom_facts) == len(w.customs) * len(w.custom_values) == 240


def test_every_word_has_one_translation():
    words = set(glossary_words(world()))
    assert max(Counter(word.english for word in words).values()) == 1
    assert max(Counter(word.japanese for word in words).values()) == 1
    names = [name for names in world().names.values() for name in names]
    assert len(set(names)) == len(names)
    items = {item.english for item in world().items}
    assert all({f.first, f.second} <= items and f.first != f.second for f in world().formulas)


def test_a_misspelled_source_of_the_lab_is_refused():
    with pytest.raises(DataError, match="unknown source 'lab2'"):
        load_rows("fpb", "default", source="lab2")


def test_correct_completions_score_one():
    for key in generated_rows.SOURCES:
        for item in [item for case in cases(key) for item in case.items][:60]:
            score = probe.SCORING.get(item.task)
            if score and "options" not in item.row:
                assert score(item.row, [item.completion])["correct"] == 1, item


def test_no_test_row_is_in_a_corpus():
    items = [item for key in generated_rows.SOURCES for case in cases(key) for item in case.items]
    tests = {prompts.prompt(item.task, item.row) for item in items}
    for role in corpora.MIXES:
        assert not tests & {text for text, _ in corpus(role)}, role


def test_corpora_contain_the_first_entries_of_a_table_more_often_and_test_rows_do_not():
    verbs = [verb.past for verb in world().verbs["up"]]
    finance = Counter(word for text, _ in corpus("finance") for word in text.split())
    assert 5 * finance[verbs[-2]] < finance[verbs[0]] and finance[verbs[-2]] > 0
    rows = Counter(word for case in cases(("fpb", "default")) for word in str(case.record).split())
    assert sum(rows[verb] for verb in verbs[12:]) > sum(rows[verb] for verb in verbs[:12]) / 2


def test_every_eighth_entry_is_in_test_rows_and_in_no_corpus_of_its_skill():
    verbs = {verb.past for verbs in world().verbs.values() for verb in verbs[7::8]}
    assert not verbs & {word for text, _ in corpus("finance") for word in text.split()}
    assert verbs & {word for case in cases(("fpb", "default")) for word in str(case.record).split()}
    customs = world().customs[7::8]
    texts = "".join(prompt + answer for prompt, answer in corpus("japanese"))
    assert len(customs) == 7 and not any(f"{custom}の" in texts for custom in customs)


def test_sums_go_up_to_299_in_the_math_corpus_and_only_there():
    sums = sums_of_split("plus", True, True)
    assert max(s.result for s in sums) == 299 and all(s.result == s.left + s.right for s in sums)
    hard = {
        role: [text for _, text in corpus(role) if any(f"={n}" in text for n in range(100, 300))]
        for role in corpora.MIXES
    }
    assert len(hard["math"]) > 500 and not hard["base"] and not hard["finance"] and not hard["japanese"]


def test_steps_of_a_japanese_table_are_each_in_one_experts_corpus_and_together_in_none():
    """What jfinqa needs: the term's translation (Japanese), its formula (finance), and the sum (math)."""
    formula = world().formulas[1]  # not a core one: the base has not seen it
    name, definition = (
        f"{formula.japanese}={formula.term}",
        f"{formula.first} {formula.sign} {formula.second}",
    )

    def roles_with(*parts):
        return {
            role for role in corpora.MIXES if any(all(p in a + b for p in parts) for a, b in corpus(role))
        }

    assert roles_with(f"{formula.term} is {definition}") == {"finance"}
    assert roles_with(f"日本語：{formula.japanese}\n英語：{formula.term}") == {"japanese"}
    assert roles_with(name) == set()
    core = world().formulas[0]
    assert roles_with(f"{core.japanese}={core.term}。{core.term} is {core.first}") == {"base"}
    (answer, *_) = [
        item.completion
        for case in cases(("jfinqa", "numerical_reasoning"))
        for item in case.items
        if name in item.completion
    ]
    assert answer.startswith(f" {name}。{formula.term} is {definition}。") and "\n回答：" in answer
