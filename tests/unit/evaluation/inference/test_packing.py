"""Packing sequences into rows: every sequence can be read back, and attends to its own tokens only."""

import random

from hypothesis import given
from hypothesis import strategies as st

from mergekit_finance.evaluation.inference.packing import capacities, pack

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=20)


def ancestors(row, node):
    """The nodes that a node attends to, itself included, by the rule that the model's mask follows."""
    return [other for other in range(node + 1) if node < row.ends[other]]


def test_options_of_one_prompt_share_its_tokens():
    prompt = [5, 6, 7]
    (row,) = pack([[*prompt, 1], [*prompt, 2, 3]], [1, 2], 100)
    assert row.tokens == [5, 6, 7, 1, 2, 3]
    assert row.depths == [0, 1, 2, 3, 3, 4]
    assert row.ends == [6, 6, 6, 4, 6, 6]
    assert row.tails == [[3], [4, 5]]


def test_examples_and_prompts_are_shared_at_every_depth():
    (row,) = pack([[1, 2, 3, 4], [1, 2, 3, 5], [1, 9, 3]], [1, 1, 1], 100)
    assert row.tokens == [1, 2, 3, 4, 5, 9, 3]  # `1` once for all, `1 2 3` once for two


@given(SEQUENCES, st.integers(12, 40))
def test_every_sequence_is_read_along_its_path(sequences, capacity):
    tails = [random.Random(n).randint(1, len(s)) for n, s in enumerate(sequences)]
    rows = pack(sequences, tails, capacity)
    assert sorted(number for row in rows for number in row.sequences) == list(range(len(sequences)))
    for row in rows:
        assert len(row.tokens) <= capacity
        for number, tail in zip(row.sequences, row.tails, strict=True):
            path = ancestors(row, tail[-1])
            assert [row.tokens[node] for node in path] == sequences[number]
            assert [row.depths[node] for node in path] == list(range(len(path)))
            assert path[len(path) - tails[number] :] == tail


@given(SEQUENCES)
def test_no_prefix_is_stored_twice_in_a_row(sequences):
    (row,) = pack(sequences, [1] * len(sequences), 10_000)
    prefixes = {tuple(s[:end]) for s in sequences for end in range(1, len(s) + 1)}
    assert len(row.tokens) == len(prefixes)


def test_capacities_are_few():
    assert set(capacities(range(1, 3000), "cuda")) == {512, 1024, 2048, 4096}
    assert set(capacities(range(1, 600), "cpu")) == {128, 256, 512, 1024}
    assert capacities([512, 513, 1024, 1025], "cuda") == [512, 1024, 1024, 2048]
