"""ConvFinQA's rules: ours, and AdaptLLM's."""

import pytest
from helpers.tasks import jsonl
from hypothesis import given, settings
from hypothesis import strategies as st

from mergekit_finance.scoring import matching
from mergekit_finance.scoring.number_match import Asked
from mergekit_finance.scoring.numbers import parse_number


@pytest.mark.parametrize(
    "pred, executed, answer, match",
    [
        ("142.4%", 1.42403, "142.4%", True),
        ("142.4", 1.42403, "142.4%", True),
        ("1.42403", 1.42403, "142.4%", True),
        ("142%", 1.42403, "142.4%", True),
        ("143%", 1.42403, "142.4%", False),
        ("-142.4%", 1.42403, "142.4%", False),
        ("1.424%", 1.42403, "142.4%", False),
        ("0.014240", 1.42403, "142.4%", False),
        ("0", 0.0097, "0.97%", False),
        ("0.0", 0.0097, "1%", False),
        ("0%", 0.0097, "", False),
        ("0.97%", 0.0097, "0.97%", True),
        ("0.01", 0.0097, "1%", True),
        ("0.01", 0.0097, "0.97%", False),
        ("10%", -0.09709, "10%", False),
        ("-10%", -0.09709, "10%", True),
        ("-9.7%", -0.09709, "10%", True),
        ("2008", 2007.0, "2007", False),
        ("2007", 2007.0, "2007", True),
        ("206600", 206588.0, "206588", False),
        ("60.94", 60.94, "60.94", True),
        ("61", 60.94, "60.94", True),
        ("60.9", 60.94, "60.94", True),
        ("60.95", 60.94, "60.94", False),
        ("80%", 80.0, "80%", True),
        ("0.8", 80.0, "80%", True),
        ("80", 80.0, "80%", True),
        ("8000", 80.0, "80%", False),
        ("0.8%", 80.0, "80%", False),
        ("1.1", 1.11111, "1.11%", True),
        ("0.0111", 1.11111, "1.11%", True),
        ("111", 1.11111, "1.11%", False),
        ("-1000", -10.0, "-10", False),
        ("-0.1", -10.0, "-10", False),
        ("8%", 0.0814, "8%", True),
        ("8%", 0.0814, "8.14%", False),
        ("0.1", 0.07135, "0.07", False),
        ("0.07", 0.07135, "0.07", True),
        ("0.142403391", 0.1424, "14.2%", True),
        ("$35.8 million", 35.8, "35.80", True),
        ("14.1%", 0.14136, "0.14136", True),
        ("14.1", 0.14136, "0.14136", False),
        ("0", 0.0, "0", True),
        ("1", 0.0, "0", False),
        ("2.1", -2.1, "2.1", False),
        ("8", 8.2, "8.2", False),
        ("8%", 8.2, "8.2", False),
    ],
)
def test_convfinqa_match(pred, executed, answer, match):
    assert matching.convfinqa_match(parse_number(pred), executed, answer) is match


def test_convfinqa_percent_from_the_question():
    bare = parse_number("14.1")
    assert not matching.convfinqa_match(bare, 0.14136, "0.14136")
    assert matching.convfinqa_match(bare, 0.14136, "0.14136", Asked(percent=True))
    assert matching.convfinqa_match(parse_number("0.247"), 24.69136, "24.69136", Asked(percent=True))


@given(st.floats(0.001, 1e6), st.integers(2, 8), st.booleans())
@settings(deadline=None)
def test_convfinqa_accepts_every_rounding_to_two_digits_or_more(value, digits, negative):
    executed = round(-value if negative else value, 5)
    written = f"{executed:#.{digits}g}"
    if executed and "e" not in written:
        assert matching.convfinqa_match(parse_number(written), executed)
        assert not matching.convfinqa_match(
            parse_number(written.lstrip("-") if negative else f"-{written}"), executed
        )


@pytest.mark.parametrize(
    "pred, gold, match",
    [
        ("35.8", "35.80", True),
        ("35.809", "35.80", True),
        ("35.815", "35.80", False),
        ("0", "0.0097", True),
        ("0.5%", "0.0097", True),
        ("142.4%", "1.42403", True),
        ("142.4", "1.42403", False),
        ("5 then 35.8", "35.80", True),
        ("5\n35.8", "35.80", False),
        ("\n35.8", "35.80", False),
        ("none", "35.80", False),
        ("35.8", "yes", False),
        ("yes", "yes", False),
        ("1,000", "1000", True),
        ("-10", "10%", False),
        ("0.1", "10%", True),
        ("5%%", "0.0005", True),
        ("05", "5", False),
        ("05.0", "5", True),
        ("00", "0", True),
    ],
)
def test_convfinqa_adaptllm(pred, gold, match):
    assert matching.convfinqa_adaptllm_match(pred, gold) is match


def test_convfinqa_written_answers_match_their_executed_values(real_rows):
    dialogues = [record["dialogue"] for record in jsonl(real_rows / "convfinqa" / "dev.jsonl")]
    pairs = [
        (answer, executed)
        for dialogue in dialogues
        for answer, executed in zip(dialogue["conv_answers"], dialogue["executed_answers"], strict=True)
        if isinstance(executed, float)
    ]
    refused = [
        (answer, executed)
        for answer, executed in pairs
        if not matching.convfinqa_match(parse_number(answer), executed, answer)
    ]
    # The rest are mistakes of the annotators: a wrong sign, truncation, another number.
    assert 0 < len(refused) < 0.04 * len(pairs), refused
    shifted = [
        answer
        for answer, executed in pairs
        if matching.convfinqa_match(parse_number(answer), executed * 1.5 + 1, answer)
    ]
    assert len(shifted) < 0.02 * len(pairs), shifted
