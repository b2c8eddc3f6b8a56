"""jfinqa's `score` on generated outputs: any value in any wording, wrong signs and powers of ten, any text."""

from helpers.fuzz_guard import cpu_limit
from hypothesis import given, settings
from hypothesis import strategies as st

from mergekit_finance.scoring.japanese_answers import judge

CHANGE = "北斗電機の2024年3月期の売上高は前期比で何%増減したか。"
POINTS = "南星フーズの経常利益率は2023年3月期から2024年3月期にかけて何ポイント変化したか。"
AMOUNT = "西海運輸の2023年3月期から2024年3月期にかけての営業利益の増減額はいくらか。"
UNITS = [(CHANGE, "%", 1), (POINTS, "ポイント", 1), (AMOUNT, "百万円", 0)]
FORMS = [
    "{}",
    "{}です。",
    "答え：{}",
    "約{}",
    "2024年3月期は{}となりました。",
    "(100 - 40) × 2 = {}",
    "前期の100から40に変わったので、{}である。",
    "**{}**",
    "まず計算します。\n\nAnswer: {}\n",
]
NEGATIVE = ["-{}", "△{}", "▲{}", "マイナス{}", "−{}"]
FALLS = ["{}減少した", "{}の減少です。", "{}減", "{}低下しました", "減少幅は{}です。"]


@st.composite
def golds(draw):
    """A question, its unit, and the digits of a gold number that is not zero."""
    question, unit, places = draw(st.sampled_from(UNITS))
    units = draw(st.integers(1, 9_999_999 if places == 0 else 9_999))
    return question, unit, f"{units / 10**places:,.{places}f}"


def score(output, question, gold):
    return judge(output, {"question": question, "answer": gold}).right


@given(golds(), st.sampled_from(FORMS), st.sampled_from(NEGATIVE))
@settings(max_examples=200, deadline=None)
def test_signs_and_powers_of_ten_decide(gold, form, negative):
    question, unit, digits = gold
    output = form.format(digits + unit)
    assert score(output, question, digits + unit)
    assert not score(output, question, f"-{digits}{unit}")
    minus = form.format(negative.format(digits + unit))
    assert score(minus, question, f"-{digits}{unit}") and not score(minus, question, digits + unit)
    value = float(digits.replace(",", ""))
    for factor in (10, 100, 1000, 0.1, 0.01):
        assert not score(form.format(f"{value * factor:.6f}{unit}"), question, digits + unit)


@given(golds(), st.sampled_from(FALLS))
@settings(max_examples=100, deadline=None)
def test_words_make_a_change_negative(gold, form):
    question, unit, digits = gold
    output = form.format(digits + unit)
    assert score(output, question, f"-{digits}{unit}") and not score(output, question, digits + unit)


@given(st.integers(1, 999_999), st.sampled_from(FORMS))
@settings(max_examples=100, deadline=None)
def test_one_amount_in_every_scale(millions, form):
    same = [f"{millions * 1000:,}千円", f"{millions / 100:.2f}億円", f"{millions * 100}万円", f"{millions:,}"]
    for written in same:
        assert score(form.format(written), AMOUNT, f"{millions:,}百万円")
    for written in (f"{millions:,}千円", f"{millions:,}億円", f"{millions:,}円"):
        assert not score(form.format(written), AMOUNT, f"{millions:,}百万円")


PAIRS = [("増収", "減収"), ("増益", "減益"), ("増加", "減少"), ("改善", "悪化")]
ASSERTIONS = [
    "{0}",
    "{0}です。",
    "{1}ではなく{0}です。",
    "{0}した。",
    "答え：{0}",
    "結果は{0}であり、{1}ではない。",
]
OPEN = ["{0}か{1}か", "{0}または{1}", "{0}ではない", "{0}とは言えない", "{0}かどうかは不明", "{0}なら{1}", ""]


@given(st.sampled_from(PAIRS), st.booleans(), st.sampled_from(ASSERTIONS), st.sampled_from(OPEN))
def test_a_direction_counts_only_if_it_is_asserted(pair, swap, assertion, open_form):
    right, other = pair[::-1] if swap else pair
    question = f"光通信機は2023年3月期から2024年3月期にかけて{pair[0]}か{pair[1]}か。"
    output = assertion.format(right, other)
    assert score(output, question, right) and not score(output, question, other)
    assert not score(open_form.format(right, other), question, right)


FRAGMENTS = [
    *"0123456789.,-△▲%円万億兆千百倍()=→、。\n「」 ",
    "百万円", "ポイント", "前期", "減少", "増収", "か", "または", "ではなく", "はい", "いいえ", "一致", "しない",
    "Answer:", "答え：", "**", "2024年3月期", "\\boxed{", "十二", "損失", "不明", "同じ", "から", "率",
]  # fmt: skip
QUESTIONS = [
    (CHANGE, "-4.2%"),
    (AMOUNT, "1,250百万円"),
    ("一致するか。", "いいえ"),
    ("増収か減収か。", "増収"),
]


@given(
    st.one_of(st.text(), st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join)),
    st.sampled_from(QUESTIONS),
)
@settings(max_examples=300, deadline=None)
def test_any_output_is_judged(output, question_and_gold):
    question, gold = question_and_gold
    judgement = judge(output, {"question": question, "answer": gold})
    assert judgement.source in ("marker", "fallback", "none")
    assert not (judgement.right and judgement.source == "none")


def test_time_grows_linearly_with_the_output():
    pieces = [*FRAGMENTS, "し", "1,", "減少率は", "5または", "**5**", "答え：5\n", "ではない"]
    for number, piece in enumerate(pieces):
        question, gold = QUESTIONS[number % len(QUESTIONS)]
        with cpu_limit(1.0):
            judge(piece * (30_000 // len(piece)), {"question": question, "answer": gold})
