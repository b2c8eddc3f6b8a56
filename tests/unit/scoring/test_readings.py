"""Kinds of wording that a reader with the task's README could judge and the scorer could not, by task."""

import pytest

from mergekit_finance.scoring import metrics

INVENTORIES = {
    "question": "What was the change in inventories between 2018 and 2019?",
    "ground_truth": 2347.0,
}
YEARS_TWO_TO_THREE = {
    "question": "What was due within one year and in years two to three, in millions?",
    "ground_truth": 731.4,
}
THOUSANDS = {
    "question": "What would the change in income be if income in 2019 was $5,120 thousand instead?",
    "ground_truth": -386.0,
}
MILLIONS = {
    "question": "How much larger would service revenue be if product revenue was $640 million instead?",
    "ground_truth": 118.5,
}
EMPLOYEES = {"question": "What was the average number of employees?", "ground_truth": 4218.0}
IN_THOUSANDS = EMPLOYEES | {"paragraphs": ["Employees (in thousands) | 4,201 | 4,235"]}
DECIMAL = {
    "question": "Equity costs 11.1% and debt 7.65%. What is the average? Give a decimal number.",
    "ground_truth": 0.088,
}
EQUITY = {"question": "The stock pays $2.40, growing at 4%. What is the cost of equity?", "ground_truth": 8.8}
WACC = {"question": "What is the weighted average cost of capital?", "ground_truth": 0.088}
LOSS = {"question": "What was the net income (loss) in 2020, in millions?", "ground_truth": -3.9}
INCOME = LOSS | {"ground_truth": 3.9}
AMORTIZATION = {"question": "What was the amortization (in thousands)?", "ground_truth": 3127.5}
DECLINE = {"question": "By how much did inventories decline?", "ground_truth": 1274.0}
HOURS = {
    "question": "A ride takes 95 minutes. How many hours does she spend on 12 rides?",
    "ground_truth": 19.0,
}
CHANGE = {"question": "おつりはいくらですか。", "ground_truth": 3000.0}
PAID = {"question": "かばんを2つ買いました。いくら払いましたか。", "ground_truth": 7200.0}
COMBINATION = {"options": ["１", "２", "３", "４"], "gold_index": 1}
SHARE = {"question": "総資産の何%を占めるか。", "answer": "41.5%"}
SALES = {"question": "売上高はいくらか。", "answer": "5,482百万円"}
YES, NO = ({"question": "一致するか。", "answer": answer} for answer in ("はい", "いいえ"))
PERCENTAGE = {
    "question": "What is the percentage change?",
    "answer": ["23.7"],
    "answer_type": "arithmetic",
    "scale": "percent",
}

RIGHT = [
    (metrics.docmath, INVENTORIES, "The change was not 2,437, it was 2,347."),
    (metrics.docmath, YEARS_TWO_TO_THREE, "$731.4 million"),
    (metrics.docmath, YEARS_TWO_TO_THREE, "$731,400,000"),
    (metrics.docmath, THOUSANDS, "-$0.386 million"),
    (metrics.docmath, MILLIONS, "$0.1185 billion"),
    (metrics.docmath, MILLIONS, "If product revenue was $640 million, it would be larger by $118.5 million."),
    (metrics.docmath, IN_THOUSANDS, "4,218 thousand"),
    (metrics.docmath_cot, DECIMAL, "The final answer is 8.8%."),
    (metrics.docmath_cot, EQUITY, "The final answer is 8.8%."),
    (metrics.docmath, LOSS, "The net loss attributable to owners was $3.9 million in 2020."),
    (
        metrics.docmath_cot,
        AMORTIZATION,
        "The final answer is about $3.13 million, more exactly $3,127.5 thousand.",
    ),
    (metrics.docmath, DECLINE, "Inventories declined by 1,274."),
    (metrics.exact_number_cot, HOURS, "She spends 19 hours on the train."),
    (metrics.exact_number_cot, CHANGE, "合計は7,000円ですから、おつりは10,000円−7,000円＝3,000円です。"),
    (metrics.exact_number_cot, PAID, "1つの値段は3,600円なので、2つで7,200円払いました。"),
    (metrics.choice_cot, COMBINATION, "申告期限は3月15日である。したがって、正しい組み合わせは2である。"),
    (metrics.jfinqa_cot, SHARE, "最終回答：41.5%\n\n問：負債比率は何%か。\n最終回答：58.5%"),
    (metrics.jfinqa, SALES, "5,284百万円\nいや、違います。5,482百万円です。"),
    (metrics.jfinqa, SALES, "回答：5,284百万円\n訂正：5,482百万円"),
    (metrics.tatqa, PERCENTAGE, "23.7"),
    (metrics.tatqa, PERCENTAGE, "0.237"),
    (metrics.docmath, LOSS, "Net loss: $3.9 million"),
    (metrics.exact_number_cot, HOURS, "She spends 19 hours."),  # "hours." ends in no "Rs."
    (metrics.exact_number_cot, HOURS, "She spends 1,140 minutes, or 19 hours, on the train."),
    (metrics.exact_number_cot, CHANGE, "10,000円から7,000円を引いて、3,000円が残ります。"),
    (metrics.choice_cot, COMBINATION, "よって正しい語句の組み合わせは2である。"),
]
WRONG = [
    (metrics.docmath, INVENTORIES, "The change in inventories was not 2,347."),
    (metrics.docmath, INVENTORIES, "Inventories did not increase by 2,347."),
    (metrics.docmath, THOUSANDS, "-$386 million"),
    (metrics.docmath, MILLIONS, "$118.5 thousand"),
    (metrics.docmath, MILLIONS, "$118.5 billion"),
    (metrics.docmath, EMPLOYEES, "4,218 thousand"),
    (metrics.docmath_cot, DECIMAL, "The final answer is 0.088%."),
    (metrics.docmath_cot, EQUITY, "The final answer is $8.8 million."),
    (metrics.docmath, INCOME, "The net loss attributable to owners was $3.9 million in 2020."),
    (metrics.docmath, DECLINE, "-1,274"),
    (metrics.docmath, DECLINE, "(1,274)"),
    (metrics.exact_number_cot, HOURS, "She spends 9 hours on the train."),
    (metrics.jfinqa, SALES, "5,482百万円\nいや、違います。5,284百万円です。"),
    (metrics.jfinqa, SALES, "回答：5,482百万円\n訂正：5,284百万円"),
    (metrics.jfinqa, SALES, "5,482円"),
    (metrics.jfinqa, YES, "はいまたはいいえ"),
    (metrics.jfinqa, NO, "はいまたはいいえ"),
    (metrics.tatqa, PERCENTAGE, "$23.7"),
    (metrics.docmath, INVENTORIES, "The change was never 2,347."),
    (metrics.docmath, INVENTORIES, "2,347 is not the change."),
    (metrics.docmath, MILLIONS, "118.5%"),
    (metrics.docmath_cot, WACC, "The final answer is $0.088."),
]


@pytest.mark.parametrize(("score", "doc", "output"), RIGHT, ids=range(len(RIGHT)))
def test_right_as_a_reader_judges(score, doc, output):
    assert score(dict(doc), [output])["correct"] == 1.0


@pytest.mark.parametrize(("score", "doc", "output"), WRONG, ids=range(len(WRONG)))
def test_wrong_as_a_reader_judges(score, doc, output):
    assert score(dict(doc), [output])["correct"] == 0.0
