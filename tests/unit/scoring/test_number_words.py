"""Number words and kanji numerals as digits, where the question asks for a count."""

import pytest

from mergekit_finance.scoring.answers import direct_number, final_answer
from mergekit_finance.scoring.japanese_text import kanji_to_digits
from mergekit_finance.scoring.number_words import with_digits


@pytest.mark.parametrize(
    "sentence, question, expected",
    [
        ("three years", "How many years did it take?", "3 years"),
        ("thirty-five", "How many minutes does it need?", "35"),
        ("two hundred and six stores", "How many stores are open?", "206 stores"),
        ("It takes seven (7) years", "Until when?", "It takes 7 years"),
        ("seven (8) years", "Until when?", "seven (8) years"),
        ("five point four percent (5.4%)", "What is the return?", "5.4%"),
        ("one thousand two hundred dollars ($1,200)", "What is owed?", "$1,200"),
        ("two segments lost money (5.4)", "What was the loss?", "two segments lost money (5.4)"),
        ("these two figures", "How many years did it take?", "these two figures"),
        ("two", "What was revenue?", "two"),
    ],
)
def test_number_words_that_answer_the_question_become_digits(sentence, question, expected):
    assert with_digits(sentence, question) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("二百八十五本", "285本"),
        ("五万四千円", "5万4000円"),
        ("七十一・四%", "71.4%"),
        ("百円と千円", "百円と千円"),
        ("一番", "一番"),
    ],
)
def test_kanji_numerals_before_a_unit_become_digits(text, expected):
    assert kanji_to_digits(text) == expected


@pytest.mark.parametrize(
    "text, question, expected",
    [
        ("Sales rose from $100 million to $120 million, an increase of 20%.", "By what percentage?", 20),
        ("It ranges from 5 to 10.", "What is the rate?", None),
        ("37.5 percent of the $2,400 total.", "What percentage is this?", 37.5),
        ("this is 37.5% of the total of 1,254", "What percentage of the total is this?", 37.5),
        ("The average of 9% and 3% with weights 40% and 60% is 5.4%.", "What is the return?", 5.4),
        ("At 1.25 USD per EUR, $125 buys €100.", "How many euros are received?", 100),
        ("It earned 15.24% over two years, or 7.35% per year.", "What is the annualized return?", 7.35),
        ("In 2018, when the gap was $3.1 million.", "In which year was the gap the smallest?", 2018),
    ],
)
def test_the_number_that_the_question_asks_for_is_read(text, question, expected):
    for number in (direct_number(text, question), final_answer(text, question).number):
        assert (number.written if number else None) == expected


@pytest.mark.parametrize(
    "remark", ["Explanation: the third column ($12,050) is left out.", "Column three ($12,050) is not asked."]
)
def test_a_number_in_a_remark_after_the_answer_is_not_read(remark):
    assert final_answer(f"Total: $58,411\n\n{remark}", "What is the total?").number.written == 58411


def test_another_problem_without_a_heading_is_not_read():
    text = "So 260 rolls were sold.\n\nTom has 5 marbles and buys 7 more. How many marbles does he have?\nThe final answer is 12."
    assert final_answer(text, "A bakery bakes 350 rolls. How many rolls were sold?").number.written == 260
