"""Where answers end: the first token after which a stop string is there, as lm-eval looks for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.models.utils_hf import MultiTokenEOSCriteria
from transformers import PreTrainedTokenizerFast

from mergekit_finance.evaluation.inference.stops import StopStrings
from mergekit_finance.lab.copy_models import WEIGHTS

TOKENIZER = PreTrainedTokenizerFast.from_pretrained(WEIGHTS / "base")
TEXTS = [
    "Answer: 12.5\n\nQuestion: what",
    "売上は増加しました。\n質問",
    "no stop here",
    "the end",
    "ab\ncd\nef",
]


def end_in_lm_eval(tokens, strings):
    """After how many tokens lm-eval's criteria find a stop string, one token at a time."""
    import torch

    criteria = [MultiTokenEOSCriteria(string, TOKENIZER, 0, 1) for string in strings]
    for end in range(1, len(tokens) + 1):
        if any([one(torch.tensor([tokens[:end]]), None) for one in criteria]):
            return end
    return None


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("strings", [("\n",), ("\n\n", "Question:"), ("。",), ("end", "xyz"), ()])
@pytest.mark.parametrize("steps", [1, 3, 8])
def test_the_end_is_that_of_lm_eval_whatever_the_number_of_new_tokens(text, strings, steps):
    tokens, stops = TOKENIZER.encode(text), StopStrings(TOKENIZER, strings)
    found = None
    for seen in range(0, len(tokens), steps):
        read = tokens[: seen + steps]
        found = found or stops.end(read, len(read) - seen)
    assert found == end_in_lm_eval(tokens, strings)


@given(st.text("ab \n:", max_size=30), st.text("ab \n:", min_size=1, max_size=3))
def test_a_stop_string_across_tokens_is_found_where_lm_eval_finds_it(text, string):
    tokens = TOKENIZER.encode(text, add_special_tokens=False)
    assert StopStrings(TOKENIZER, [string]).end(tokens, len(tokens)) == end_in_lm_eval(tokens, [string])


def test_empty_strings_end_nothing():
    assert StopStrings(TOKENIZER, [""]).end([5, 6], 2) is None
