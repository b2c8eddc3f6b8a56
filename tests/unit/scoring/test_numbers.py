import json
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergekit_finance.scoring import numbers
from mergekit_finance.scoring.numbers import Number, parse_number


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
def test_parse_number_reads(text, value):
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
def test_parse_number_refuses(text):
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


def test_written_value_and_precision_are_kept_apart():
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
    spans = numbers.iter_numbers(numbers.normalise("from 1,000 to 1億200万円, −5% in Q3 2019"))
    assert [span.number.value for span in spans] == [1000, 102_000_000, -5, 2019]


@given(st.decimals(-(10**12), 10**12, allow_nan=False, places=3))
@settings(deadline=None)
def test_formatted_numbers_come_back(value):
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
def test_python_floats_come_back_and_formatting_is_idempotent(value):
    number = parse_number(repr(value))
    assert number.written == value
    assert parse_number(repr(number.written)).written == number.written


@given(st.integers(1, 9999), st.integers(0, 9999), st.booleans())
def test_japanese_compounds_come_back(oku, man, negative):
    text = ("△" if negative else "") + f"{oku:,}億" + (f"{man:,}万" if man else "") + "円"
    assert parse_number(text).value == (-1 if negative else 1) * (oku * 10**8 + man * 10**4)


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_parsing_never_raises(text):
    for candidate in (text, f"1{text}", f"({text}5", f"{text}%"):
        number = parse_number(candidate)
        assert number is None or math.isfinite(number.value)
        numbers.convfinqa_adaptllm(candidate, "1")
        numbers.jfinqa_match(numbers.jfinqa_answer(candidate), "1%")
        numbers.asks_percent(candidate)


@given(st.text(alphabet="0123456789,.%-+()eE$△億万千円 ^/x"))
@settings(max_examples=300, deadline=None)
def test_normalising_twice_changes_nothing(text):
    once = numbers.normalise(text)
    assert numbers.normalise(once) == once
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
    started = time.perf_counter()
    parse_number(hostile)
    parse_number("1" + hostile)
    numbers.convfinqa_adaptllm(hostile, "1")
    numbers.jfinqa_match(numbers.jfinqa_answer(hostile), "1")
    assert time.perf_counter() - started < 10.0  # linear: under 1 s; quadratic would take minutes


# DocMath


@pytest.mark.parametrize(
    "pred, gold, percent_ok, match",
    [
        ("3.97", 3.97, False, True),
        ("3.975", 3.97, False, True),
        ("3.977", 3.97, False, False),
        ("-3.97", 3.97, False, False),
        ("39.7", 3.97, False, False),
        ("0.397", 3.97, True, False),
        ("397", 3.97, False, False),
        ("397", 3.97, True, True),
        ("0.0108", 0.0101, False, False),
        ("1001.5", 1000, False, True),
        ("1001.6", 1000, False, False),
        ("998.5", 1000, False, True),
        ("0.1407", 14.07, True, True),
        ("0.1407", 14.07, False, False),
        ("14.07%", 14.07, True, True),
        ("14.07", 0.1407, True, True),
        ("14.07%", 0.1407, True, True),
        ("0.1407%", 14.07, True, False),
        ("7%", 7, False, True),
        ("7%", 0.07, False, False),
        ("$5.2 million", 5.2, False, True),
        ("$5.2 million", 5.2e6, False, True),
        ("$5.2 million", 5.2e3, False, False),
        ("0", 0, False, True),
        ("0.0001", 0, True, False),
        ("0", 0.0097, True, False),
        ("(21.7)", -21.7, False, True),
        ("△21.7", -21.7, False, True),
        ("21.7", -21.7, True, False),
        ("2,019", 2019, False, True),
    ],
)
def test_docmath_match(pred, gold, percent_ok, match):
    assert numbers.docmath_match(parse_number(pred), gold, percent_ok=percent_ok) is match


@pytest.mark.parametrize(
    "pred, gold, match",
    [
        ("3.97", 3.97, True),
        ("-3.97", 3.97, True),
        ("39.7", 3.97, True),
        ("0.397", 3.97, True),
        ("397", 3.97, True),
        ("0.0108", 0.0101, True),
        ("0.0111", 0.0101, False),
        ("3.975", 3.97, True),
        ("3.98", 3.97, False),
        ("-3.975", 3.97, False),
        ("3975", 3.97, True),
        ("397500", 3.97, True),
        ("39750", 3.97, False),
        ("39700", 3.97, True),
        ("3.97%", 3.97, True),
        ("$3.97 billion", 3.97, True),
        ("0", 0.0, True),
        ("0", 3.97, False),
        ("0.0005", 0.0, False),
        ("5", 7.0, False),
        ("1e300", 1e-300, False),
        ("1e308", 1e308, True),
    ],
)
def test_docmath_official(pred, gold, match):
    assert numbers.docmath_official(parse_number(pred), gold) is match


def official_oracle(p, gold):
    """The documented rule written out once more, with rounding as the repository does it."""
    big, small = max(abs(gold), abs(p)), min(abs(gold), abs(p))
    power = big != 0 and small != 0 and int(math.log10(big / small)) == math.log10(big / small)
    scaled = any(
        small <= big / bound and big * 0.9985 <= small * factor <= big * 1.0015
        for factor, bound in ((100, 50), (1000, 500), (100000, 50000))
    )
    rounded = math.ceil(big * 1000) / 1000 == math.ceil(small * 1000) / 1000
    return power or scaled or rounded or abs(p - gold) <= abs(gold) * 0.0015


@given(st.integers(-(10**6), 10**6), st.integers(-5, 5), st.integers(-200, 200))
@settings(max_examples=300)
def test_docmath_official_equals_the_documented_rule(units, exponent, noise):
    gold = units / 100
    pred = float(f"{gold * 10**exponent * (1 + noise / 1e5):.6g}")
    near_edge = any(
        abs(abs(abs(pred) * factor / abs(gold) - 1) - 0.0015) < 1e-9
        for factor in (1, 100, 1000, 1e5, 0.01, 0.001, 1e-5)
        if gold
    )
    if not near_edge:
        assert numbers.docmath_official(Number(pred), gold) == official_oracle(pred, gold)


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_the_strict_rule_is_stricter_than_the_official_one(pred, gold):
    if (
        numbers.docmath_match(Number(pred), gold, percent_ok=False)
        and abs(pred - gold) < abs(gold) * 0.001499
    ):
        assert numbers.docmath_official(Number(pred), gold)


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


def test_numbers_match_honours_gold_percent_and_tolerance():
    gold = parse_number("14.07%")
    assert numbers.numbers_match(parse_number("0.1407"), gold, rel_tol=0.001, percent_ok=True)
    assert not numbers.numbers_match(parse_number("1407"), gold, rel_tol=0.001, percent_ok=True)
    assert not numbers.numbers_match(parse_number("0.1407"), gold, rel_tol=0.001, percent_ok=False)
    assert not numbers.numbers_match(14.1, 14.07, rel_tol=0.001, percent_ok=False)
    assert numbers.numbers_match(14.1, 14.07, rel_tol=0.01, percent_ok=False)


# ConvFinQA


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
    assert numbers.convfinqa_match(parse_number(pred), executed, answer) is match


def test_convfinqa_percent_from_the_question():
    bare = parse_number("14.1")
    assert not numbers.convfinqa_match(bare, 0.14136, "0.14136")
    assert numbers.convfinqa_match(bare, 0.14136, "0.14136", percent=True)
    assert numbers.convfinqa_match(parse_number("0.247"), 24.69136, "24.69136", percent=True)


@given(st.floats(0.001, 1e6), st.integers(2, 8), st.booleans())
@settings(deadline=None)
def test_convfinqa_accepts_every_rounding_to_two_digits_or_more(value, digits, negative):
    executed = round(-value if negative else value, 5)
    written = f"{executed:#.{digits}g}"
    if executed and "e" not in written:
        assert numbers.convfinqa_match(parse_number(written), executed)
        assert not numbers.convfinqa_match(
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
    ],
)
def test_convfinqa_adaptllm(pred, gold, match):
    assert numbers.convfinqa_adaptllm(pred, gold) is match


def convfinqa_rows(folder):
    path = folder / "convfinqa" / "dev.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines():
        dialogue = json.loads(line)["dialogue"]
        yield from zip(dialogue["conv_answers"], dialogue["executed_answers"], strict=True)


def test_convfinqa_written_answers_match_their_executed_values(real_rows):
    pairs = [
        (answer, executed) for answer, executed in convfinqa_rows(real_rows) if isinstance(executed, float)
    ]
    refused = [
        (answer, executed)
        for answer, executed in pairs
        if not numbers.convfinqa_match(parse_number(answer), executed, answer)
    ]
    # What is left are the annotators' own slips: a wrong sign, truncation, another number altogether.
    assert 0 < len(refused) < 0.04 * len(pairs), refused
    shifted = [
        answer
        for answer, executed in pairs
        if numbers.convfinqa_match(parse_number(answer), executed * 1.5 + 1, answer)
    ]
    assert len(shifted) < 0.02 * len(pairs), shifted


# jfinqa: equal to the host's built-in scoring


def jfinqa_answers(folder):
    paths = sorted((folder / "jfinqa").glob("*/test.jsonl"))
    assert paths
    return [
        json.loads(line)["answer"] for path in paths for line in path.read_text(encoding="utf-8").splitlines()
    ]


def ours(gold, output):
    answer = numbers.jfinqa_answer(output)
    return {
        "exact_match": float(numbers.jfinqa_exact(answer, gold)),
        "numerical_match": float(numbers.jfinqa_match(answer, gold)),
    }


PERTURBED = [
    "{}",
    " {} ",
    "Answer: {}",
    "回答：{}",
    "考えます。\n\n{}",
    "{}です",
    "約{}",
    "**{}**",
    "-{}",
    "△{}",
    "{}%",
    "{}億円",
    "1{}",
    "{}\nAnswer: 3",
    "A: {}しました",
    "{}した",
    "({})",
    "{}百万円",
    "{}ポイント",
    "",
    "\n",
    "Ａｎｓｗｅｒ: {}",
]


@pytest.mark.parametrize(
    ("pred", "gold", "match"),
    [
        ("12.34億円", "12.34", True),  # the unit is deleted
        ("12.34億", "12.34", False),  # the scale without 円 multiplies
        ("12.34億", "1,234,000,000", True),
        ("12.34億円", "1,234百万円", False),
        ("1億2,000万円", "120,000,000", False),
        ("1億2,000万円", "1,200,000,000,000", True),  # joined digits, times 億
        ("3万円", "3", True),
    ],
)
def test_jfinqa_reads_scales_as_the_built_in_tasks_do(pred, gold, match):
    builtin = pytest.importorskip("lm_eval.tasks.jfinqa.utils")
    assert numbers.jfinqa_match(pred, gold) is match
    assert builtin.process_results({"answer": gold}, [pred])["numerical_match"] == float(match)


def test_jfinqa_equals_the_built_in_scoring_on_real_answers(real_rows):
    builtin = pytest.importorskip("lm_eval.tasks.jfinqa.utils")
    checked, hits = 0, 0
    golds = jfinqa_answers(real_rows)
    for index, gold in enumerate(golds):
        other = golds[(index * 7 + 1) % len(golds)]
        for pattern in PERTURBED:
            for text in (gold, other, gold.replace("%", ""), gold.replace("1", "１")):
                output = pattern.format(text)
                expected = builtin.process_results({"answer": gold}, [output])
                assert ours(gold, output) == expected, (gold, output)
                checked, hits = checked + 1, hits + expected["numerical_match"]
    assert checked > 10_000 and 0.2 < hits / checked < 0.8


@pytest.mark.parametrize("factor", [0.98, 0.99, 0.991, 1.0, 1.009, 1.01, 1.011, -1.0])
def test_jfinqa_equals_the_built_in_scoring_near_its_tolerance(factor):
    builtin = pytest.importorskip("lm_eval.tasks.jfinqa.utils")
    for gold in ("10.0%", "-6.5%", "1,000百万円", "29ポイント", "0%", "0.4億円"):
        value = float(gold.strip("%百万円ポイント億").replace(",", "")) * factor
        for output in (f"{value}", f"{value:.4f}%", f"Answer: {value:,.3f}億円"):
            assert ours(gold, output) == builtin.process_results({"answer": gold}, [output])


FRAGMENTS = [
    "Answer:",
    "answer ",
    "A",
    "回答",
    "：",
    ":",
    "\n",
    " ",
    "10",
    "10.0",
    "%",
    "％",
    "△",
    "▲",
    "-",
    ",",
    "千",
    "百万",
    "億",
    "兆",
    "円",
    "百万円",
    "千円",
    "億円",
    "ドル",
    "ポイント",
    "pt",
    "bps",
    "しました",
    "した",
    "増収",
    "ABC",
    ".",
    "１２",
    "٣",
    "+",
    "²",
]
fragments = st.lists(st.sampled_from(FRAGMENTS), max_size=10).map("".join)


@given(
    st.one_of(fragments, st.text()), st.one_of(fragments, st.sampled_from(["10.0%", "増収", "0", "-3百万円"]))
)
@settings(max_examples=500, deadline=None)
def test_jfinqa_equals_the_built_in_scoring_on_any_text(output, gold):
    builtin = pytest.importorskip("lm_eval.tasks.jfinqa.utils")
    assert ours(gold, output) == builtin.process_results({"answer": gold}, [output])
