"""Where another question begins that has no heading."""

import pytest

from mergekit_finance.scoring.new_question import find_unrelated_question

QUESTION = "How much did revenue grow?"
ANSWER = "Revenue grew by 5."


@pytest.mark.parametrize(
    ("paragraph", "is_unrelated"),
    [
        ("Have Tom and Mary marbles?", True),  # none of two words was seen
        ("Have revenue and marbles 3 parts?", True),  # two of three words were not seen
        ("Did revenue grow by margin?", False),  # one of three
        ("Did revenue grow by margin again?", True),  # two of four
        ("Marbles?", False),  # one word does not tell
        ("Tom has marbles.", False),  # no question
    ],
)
def test_a_question_is_unrelated_if_half_of_its_words_are_new(paragraph, is_unrelated):
    text = f"{ANSWER}\n\n{paragraph}"
    assert find_unrelated_question(text, QUESTION) == (len(ANSWER) if is_unrelated else len(text))


def test_a_question_before_any_number_is_part_of_the_reasoning():
    text = "Revenue grew.\n\nDoes Tom have many marbles?\n\n5"
    assert find_unrelated_question(text, QUESTION) == len(text)
