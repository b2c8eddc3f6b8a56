"""ConvFinQA: traps of its conversations and answers."""

import pytest
from helpers.tasks import rows

from mergekit_finance.data import loader
from mergekit_finance.scoring import metrics as scoring


def conversation(answers, executed, name="Single_X/2020/page_3.pdf-1"):
    questions = [f"question {n} ?" for n in range(len(answers))]
    table = {"2019": {"rent": -31.5}, "2020": {"rent": 28.2}}
    return {
        "id": name, "doc": {"pre_text": "before .", "post_text": "after .", "table": table},
        "dialogue": {"conv_questions": questions, "conv_answers": answers, "executed_answers": executed},
    }  # fmt: skip


def test_convfinqa_has_one_row_per_turn_with_gold_history(prompt):
    adapted = rows("convfinqa", conversation(["3120", "2890", "230"], [3120.0, 2890.0, 230.0]))
    assert [row["item_id"].rsplit("#")[1] for row in adapted] == ["0", "1", "2"]
    text = prompt("convfinqa", adapted[1])
    assert "Question: question 0 ?\nAnswer: 3120\n" in text and text.endswith(
        "Question: question 1 ?\nAnswer:"
    )
    assert "2890" not in text and "230" not in text and "question 2" not in text


def test_convfinqa_conversations_on_one_page_are_one_cluster():
    names = ("Single_X/2020/page_3.pdf-1", "Double_X/2020/page_3.pdf", "Single_X/2020/page_4.pdf-1")
    adapted = rows("convfinqa", *(conversation(["1"], [1.0], name) for name in names[::2]))
    assert adapted[0]["cluster_id"] != adapted[1]["cluster_id"]
    pair = rows(
        "convfinqa", conversation(["1"], [1.0], names[0]), conversation(["1"], [1.0], names[0][:-1] + "2")
    )
    assert pair[0]["cluster_id"] == pair[1]["cluster_id"]


@pytest.mark.parametrize(
    ("answer", "executed", "output", "right"),
    [
        ("118.3%", 1.18292, "118.3%", True),  # executed answers are fractions
        ("118.3%", 1.18292, "1.183", True),
        ("118.3%", 1.18292, "1.183%", False),
        ("8%", -0.07612, "-7.6%", True),  # written answers can be wrong: the executed one decides
        ("8%", -0.07612, "8%", False),
        ("41.50", 41.5, "41.5", True),
        ("41.50", 41.5, "-41.5", False),
        ("41.50", 41.5, "0.415", False),  # no percentage in play
        ("-13%", -0.13421, "-13.4%", True),
        ("-13%", -0.13421, "13.4%", False),
        ("0.84%", 0.0084, "0", False),  # AdaptLLM's absolute 0.01 takes it
        ("2008", 2008.0, "2007", False),
        ("yes", "yes", "Yes.", True),
        ("yes", "yes", "no", False),
        ("no", "no", "No", True),
        ("no", "no", "0", False),
    ],
)
def test_convfinqa_the_executed_value_decides(answer, executed, output, right):
    (row,) = rows("convfinqa", conversation([answer], [executed]))
    assert scoring.convfinqa(row, [f" {output}\n"])["correct"] == right


def test_convfinqa_every_executed_value_of_the_real_rows_scores_and_not_every_written_one(mirror):
    loaded = loader.load_rows("convfinqa", "default", data_dir=str(mirror))
    outputs = [
        str(row["answer"] if row["executed_answer"] is None else row["executed_answer"]) for row in loaded
    ]
    assert all(scoring.convfinqa(r, [f" {s}"])["correct"] for r, s in zip(loaded, outputs, strict=True))
    wrong = [row for row in loaded if not scoring.convfinqa(row, [f" {row['answer']}"])["correct"]]
    assert 0 < len(wrong) / len(loaded) < 0.04
    assert all(row["executed_answer"] is not None for row in wrong)


def test_convfinqa_adaptllm_rule_is_reported_and_looser():
    (row,) = rows("convfinqa", conversation(["0.84%"], [0.0084]))
    metrics = scoring.convfinqa(row, [" 0"])
    assert (metrics["score"], metrics["convfinqa_adaptllm"]) == (0.0, 1.0)


def test_convfinqa_without_an_executed_value_the_written_answer_is_used():
    text = "before .\n\nQuestion: rent ?\nAnswer: 31.5\n\nQuestion: change ?\nAnswer:"
    (row,) = rows("adaptllm_convfinqa", {"id": 4, "input": text, "label": ["6.5%", "6.5 %"]})
    assert row["executed_answer"] is None and row["percent"]
    assert [scoring.convfinqa(row, [f" {s}"])["correct"] for s in ("6.5%", "0.065", "6.5", "-6.5%")] == [
        1,
        1,
        1,
        0,
    ]


def test_convfinqa_with_chain_of_thought_asks_for_reasoning_in_both_forms_of_rows(prompt):
    turn = rows("convfinqa", conversation(["3120", "2890"], [3120.0, 2890.0]))[1]
    text = prompt("convfinqa_cot", turn)
    assert "Question: question 0 ?\nAnswer: 3120\n" in text
    assert text.endswith("Question: question 1 ?\nReasoning:") and text.count("step by step") == 1
    complete = "before .\n\nQuestion: change ?\nAnswer:"
    (row,) = rows("adaptllm_convfinqa", {"id": 4, "input": complete, "label": ["6.5%"]})
    text = prompt("convfinqa_cot", row)
    assert "change ?\n\nWork out" in text and text.endswith("The final answer is <answer>.\nReasoning:")


@pytest.mark.parametrize(
    ("answer", "executed", "output", "right"),
    [
        ("6.5%", 0.065, "3 / 46 = 0.0652. The final answer is 6.5%.", True),
        ("6.5%", 0.065, "6.5%\nThe final answer is 0.065.", True),
        ("6.5%", 0.065, "The final answer is -6.5%.", False),
        ("6.5%", 0.065, "The final answer is 65%.", False),
        ("6.5%", 0.065, "The final answer is 6.5%. Wait, the final answer is 7%.", False),
        ("yes", "yes", "28 is more than 20.\nThe final answer is yes.", True),
        ("yes", "yes", "The final answer is no.", False),
        ("no", "no", "Is it more? No, I have to compute.", False),
    ],
)
def test_convfinqa_with_chain_of_thought_scores_the_last_marked_answer(answer, executed, output, right):
    (row,) = rows("convfinqa", conversation([answer], [executed]))
    assert scoring.convfinqa_cot(row, [output])["correct"] == right
