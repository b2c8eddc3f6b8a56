"""DocMath-Eval's rules: ours, and the repository's."""

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mergekit_finance.scoring import matching
from mergekit_finance.scoring.number_match import Asked, number_matches
from mergekit_finance.scoring.numbers import Number, parse_number


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
        ("397", 3.97, True, False),
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
        ("7%", 0.07, False, True),  # the answer writes percent
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
    asked = Asked(percent=percent_ok, writes_percent=percent_ok)
    assert number_matches(parse_number(pred), gold, asked) is match


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
    assert matching.docmath_official_match(parse_number(pred), gold) is match


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
    assume(not near_edge)
    assert matching.docmath_official_match(Number(pred), gold) == official_oracle(pred, gold)


@given(st.floats(-1e9, 1e9), st.floats(-0.0014989, 0.0014989))
def test_the_strict_rule_is_stricter_than_the_official_one(gold, error):
    pred = gold * (1 + error)  # random numbers alone would hardly ever match
    assume(number_matches(Number(pred), gold, Asked()))
    assert matching.docmath_official_match(Number(pred), gold)
