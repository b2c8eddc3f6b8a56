"""Numbers read from text."""

import math

import pytest
from helpers.fuzz_guard import cpu_limit
from hypothesis import given, settings
from hypothesis import strategies as st

from mergekit_finance.scoring import matching, number_match, numbers
from mergekit_finance.scoring.numbers import Number, parse_number
from mergekit_finance.scoring.text import normalize


@pytest.mark.parametrize(
    "text, value",
    [
        ("1,234", 1234),
        ("1,234,567.89", 1234567.89),
        ("0.05", 0.05),
        (".5", 0.5),
        ("42.", 42),
        ("007", 7),
        ("-10", -10),
        ("\u221210", -10),
        ("－10", -10),
        ("- 10", -10),
        ("+7", 7),
        ("minus 3", -3),
        ("マイナス5", -5),
        ("(1,234)", -1234),
        ("( 5.2 )", -5.2),
        ("($3.1)", -3.1),
        ("$(3.1)", -3.1),
        ("(5.2)%", -5.2),
        ("(2019)", 2019),
        ("($2019)", -2019),
        ("(2019%)", -2019),
        ("(-5)", -5),
        ("(+5)", 5),
        ("f(5)", 5),
        ("△1,234", -1234),
        ("▲5.2", -5.2),
        ("△ 5.2", -5.2),
        ("１２．５", 12.5),
        ("１，２３４", 1234),
        ("1.2e6", 1.2e6),
        ("1.2E-3", 0.0012),
        ("1.2×10^6", 1.2e6),
        ("1.2 x 10⁻³", 0.0012),
        ("2 \\times 10^{3}", 2000),
        ("5千", 5e3),
        ("3万", 3e4),
        ("2百万", 2e6),
        ("7億", 7e8),
        ("1.5兆", 1.5e12),
        ("1億2,000万", 1.2e8),
        ("1億2000", 100_002_000),
        ("3億5千万", 3.5e8),
        ("1兆2,345億", 1.2345e12),
        ("1,234百万円", 1.234e9),
        ("1,234 百万円", 1.234e9),
        ("5千円", 5e3),
        ("十億", None),
        ("3十億円", 3e9),
        ("$5.2 million", 5.2e6),
        ("$5.2bn", 5.2e9),
        ("5k", 5e3),
        ("5 thousand", 5e3),
        ("2 trillion yen", 2e12),
        ("$(37.5) thousand", -37.5e3),
        ("-$5", -5),
        ("$-5", -5),
        ("US$1,000", 1000),
        ("USD 5", 5),
        ("EUR5", 5),
        ("93 - 103", 93),
        ("93-103", 93),
        ("is -5", -5),
        ("is - 5", -5),
        ("sales - 10", 10),
        ("約10%", 10),
        ("(5) thousand", -5000),
        ("12x", 12),
        ("1 000", 1000),
        ("1 234 567.5", 1234567.5),
        ("1\u00a0234", 1234),
        ("1\u2009234", 1234),
        ("1\u202f234", 1234),
        ("1'234'567", 1234567),
        ("1’234", 1234),
        ("12 34", 12),
        ("1 2345", 1),
        ("2019 100", 2019),
        ("100 200 30", 100),
        ("3千5百万円", 35e6),
        ("3千500万円", 35e6),
        ("1億3千5百万", 135e6),
        ("3千5百", 3500),
        ("2千3百5十万", 23.5e6),
        ("1百2百", 100),
        ("5百3千", 500),
        ("$12.3 B", 12.3e9),
        ("US$ 4 M", 4e6),
        ("12.3 B", 12.3),
        ("$5 Bonds", 5),
        ("1,234(百万円)", 1.234e9),
        ("12.3 (million)", 12.3e6),
        ("12.3 (in millions)", 12.3e6),
        ("12.3 (million", 12.3),
        ("5 (thousands of) people", 5),
        ("in 2019", 2019),
        ("5million", 5e6),
        ("5-million", 5e6),
    ],
)
def test_parse_number_gives_the_value(text, value):
    number = parse_number(text)
    assert (number and number.value) == (None if value is None else pytest.approx(value, rel=1e-12))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc",
        "Q3",
        "FY2019",
        "10-K",
        "5-year",
        "COVID-19",
        "1/2",
        "½",
        "10:30",
        "3.5.2",
        "1,23,4",
        "12,34",
        "1234,567",
        "5th",
        "1st",
        "10^6",
        "10⁶",
        "1e5x",
        "1e999",
        "9" * 400,
        "__import__('os')",
        "NaN",
        "inf",
        "-",
        "%",
        "円",
    ],
)
def test_parse_number_refuses_ambiguous_text(text):
    assert parse_number(text) is None


@pytest.mark.parametrize(
    "text, unit, percent",
    [
        ("5%", "", True),
        ("５％", "", True),
        ("5 %", "", True),
        ("5\\%", "", True),
        ("5 percent", "", True),
        ("5パーセント", "", True),
        ("5 percentage points", "pt", True),
        ("1.5%ポイント", "pt", True),
        ("5ポイント", "pt", False),
        ("5pt", "pt", False),
        ("25 bps", "bps", False),
        ("5円", "円", False),
        ("5百万円", "円", False),
        ("5ドル", "$", False),
        ("$5", "$", False),
        ("5 USD", "$", False),
        ("€5", "€", False),
        ("5 million", "", False),
        ("2024年", "年", False),
        ("¥5", "円", False),
        ("(5%)", "", True),
        ("5", "", False),
    ],
)
def test_units_and_percent(text, unit, percent):
    number = parse_number(text)
    assert (number.unit, number.percent) == (unit, percent)


def test_a_number_has_written_value_scale_and_precision():
    assert parse_number("$5.20 million") == Number(5.2, 1e6, False, "$", 0.01, 3)
    compound = parse_number("1億2,000万円")
    assert (compound.written, compound.multiplier, compound.significant) == (12000, 1e4, 5)
    assert compound.scaled and not parse_number("5").scaled
    assert (
        parse_number("1").significant == 1
        and parse_number("0.050").significant == 2
        and parse_number("0.00").significant == 0
    )
    assert parse_number("1.2e3").step == 100


def test_iter_numbers_finds_all_in_order():
    spans = numbers.iter_numbers(normalize("from 1,000 to 1億200万円, −5% in Q3 2019"))
    assert [span.number.value for span in spans] == [1000, 102_000_000, -5, 2019]


@given(st.decimals(-(10**12), 10**12, allow_nan=False, places=3))
@settings(deadline=None)
def test_formatted_decimals_are_read_back(value):
    for text in (
        f"{value:,}",
        f"{value}",
        f"${value:,}".replace("$-", "-$"),
        f"約{value}%です。",
        f"The answer is {value:,}.",
    ):
        assert parse_number(text).written == float(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(deadline=None)
def test_python_floats_are_read_back(value):
    number = parse_number(repr(value))
    assert number.written == value
    assert parse_number(repr(number.written)).written == number.written


@given(st.integers(1, 9999), st.integers(0, 9999), st.booleans())
def test_japanese_compounds_are_read_back(oku, man, negative):
    text = ("△" if negative else "") + f"{oku:,}億" + (f"{man:,}万" if man else "") + "円"
    assert parse_number(text).value == (-1 if negative else 1) * (oku * 10**8 + man * 10**4)


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_no_text_makes_parsing_raise(text):
    for candidate in (text, f"1{text}", f"({text}5", f"{text}%"):
        number = parse_number(candidate)
        assert number is None or math.isfinite(number.value)
        matching.convfinqa_adaptllm_match(candidate, "1")
        matching.jfinqa_match(matching.jfinqa_answer(candidate), "1%")
        numbers.asks_percent(candidate)


@given(st.text(alphabet="0123456789,.%-+()eE$△億万千円 ^/x"))
@settings(max_examples=300, deadline=None)
def test_normalizing_twice_changes_nothing(text):
    once = normalize(text)
    assert normalize(once) == once
    assert parse_number(once) == parse_number(text)


HOSTILE = [
    "9",
    "1,",
    "1e",
    "1.",
    "(",
    "-",
    "1 ",
    "\u0300\u0316",
    " ",
    "a",
    "A ",
    "1億",
    "$",
    "1,234,",
    "minus ",
    "百",
    "1百",
    "A:",
    "1%",
    "-1",
    "10^",
    "△",
    "x 10^",
    "(1",
    "1e9",
    "回答",
    "usd",
    "\ufdfa",
    "⁰",
    ",",
    "千百",
    "1 234",
    " 234",
    "1'234",
    "'234",
    "1千",
    "(百",
    "1(",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_takes_linear_time(text):
    hostile = (text * 100_000)[:100_000]
    with cpu_limit(10):  # linear: under 1 s; quadratic would take minutes
        parse_number(hostile)
        parse_number("1" + hostile)
        matching.convfinqa_adaptllm_match(hostile, "1")
        matching.jfinqa_match(matching.jfinqa_answer(hostile), "1")


@pytest.mark.parametrize(
    "question, asks",
    [
        ("What is the percentage change?", True),
        ("By what percent did it grow?", True),
        ("By what % did it grow?", True),
        ("If orders fell by 5%, what is the average?", False),
        ("If it grew 5 percent, what is the total?", False),
        ("If orders fell by 5%, what is the percentage change?", True),
        ("What is the total?", False),
        ("増加率は何％か", True),
        ("５％増加した場合の合計は", False),
        ("", False),
    ],
)
def test_asks_percent(question, asks):
    assert numbers.asks_percent(question) is asks


@given(
    st.lists(
        st.sampled_from(
            [
                "12",
                "3.5",
                "(7)",
                "%",
                "％",
                " percent",
                " per cent",
                "パーセント",
                " Percentage",
                " per",
                "\\%",
                " million",
                "億",
                " ",
            ]
        ),
        max_size=8,
    )
)
def test_without_a_percent_sign_no_number_is_a_percentage(parts):
    text = normalize("".join(parts))
    percentages = [span for span in numbers.iter_numbers(text) if span.number.percent]
    assert numbers.has_percent_sign(text) or not percentages


def test_a_long_answer_without_a_percent_sign_is_not_read_again(monkeypatch):
    monkeypatch.setattr(number_match, "iter_numbers", lambda text: pytest.fail("its numbers are read"))
    assert not number_match.is_written_as_percent("The profit is 1,200 of 4,000.", Number(0.3))
