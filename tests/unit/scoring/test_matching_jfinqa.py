"""jfinqa's rules equal those of lm-eval's built-in tasks."""

import pytest
from helpers.tasks import jsonl
from hypothesis import given, settings
from hypothesis import strategies as st

from mergekit_finance.scoring import matching


def ours(gold, output):
    answer = matching.jfinqa_answer(output)
    return {
        "exact_match": float(matching.jfinqa_exact(answer, gold)),
        "numerical_match": float(matching.jfinqa_match(answer, gold)),
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
    assert matching.jfinqa_match(pred, gold) is match
    assert builtin.process_results({"answer": gold}, [pred])["numerical_match"] == float(match)


def test_jfinqa_equals_the_built_in_scoring_on_real_answers(real_rows):
    builtin = pytest.importorskip("lm_eval.tasks.jfinqa.utils")
    checked, hits = 0, 0
    paths = sorted((real_rows / "jfinqa").glob("*/test.jsonl"))
    golds = [record["answer"] for path in paths for record in jsonl(path)]
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
