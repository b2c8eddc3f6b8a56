"""TAT-QA: traps of its answers."""

from collections import Counter

import pytest
from helpers.tasks import rows, tatqa_matches

from mergekit_finance.data import loader, registry
from mergekit_finance.scoring import metrics as scoring


def context(*questions, uid="t1"):
    full = [{"uid": f"{uid}-{n}", "question": "what ?", "scale": "", **q} for n, q in enumerate(questions)]
    paragraphs = [{"order": 2, "text": "second"}, {"order": 1, "text": "first"}]
    return {
        "table": {"uid": uid, "table": [["", "2019"], ["Rent", "51.3"]]},
        "paragraphs": paragraphs,
        "questions": full,
    }


def test_tatqa_has_one_row_per_question_with_answers_of_any_type(prompt):
    mixed = [
        {"answer": -7.4, "answer_type": "arithmetic", "scale": "million"},
        {"answer": 3, "answer_type": "count"},
        {"answer": "2", "answer_type": "count"}, {"answer": ["Rent", "Power"], "answer_type": "multi-span"},
    ]  # fmt: skip
    adapted = rows("tatqa", context(*mixed), context({"answer": ["Rent"], "answer_type": "span"}, uid="t2"))
    assert [row["answer"] for row in adapted] == [["-7.4"], ["3"], ["2"], ["Rent", "Power"], ["Rent"]]
    assert Counter(row["cluster_id"] for row in adapted) == {"t1": 4, "t2": 1}
    text = prompt("tatqa", adapted[0])
    assert text.index("first") < text.index("second") < text.index("Rent | 51.3") < text.index("what ?")
    from datasets import Dataset

    assert Dataset.from_list(adapted)["answer"][0] == ["-7.4"]


@pytest.mark.parametrize(
    ("answer", "scale", "output", "right"),
    [
        ("-7.4", "million", "-7.4", True), ("-7.4", "million", "-7.4 million", True),
        ("-7.4", "million", "-7,400,000", True), ("-7.4", "million", "-7.4 thousand", False),
        ("-7.4", "million", "7.4", False), ("21.3", "percent", "21.3%", True),
        ("21.3", "percent", "0.213", True), ("21.3", "percent", "2.13", False),
        ("5", "", "5 million", False), ("61.128", "", "61.13", True),
    ],
)  # fmt: skip
def test_tatqa_scale_is_part_of_the_answer(answer, scale, output, right):
    doc = {"answer": [answer], "answer_type": "arithmetic", "scale": scale}
    assert tatqa_matches(output, doc) is right


def test_tatqa_several_spans_are_a_set():
    doc = {"answer": ["Rent", "the Power"], "answer_type": "multi-span", "scale": ""}
    outputs = ("power; rent", "Rent", "Rent; Power; Tax", "Rent; Rent")
    assert [scoring.tatqa(doc, [f" {text}"])["correct"] for text in outputs] == [1, 0, 0, 0]


@pytest.mark.parametrize(
    "answer",
    [
        ["$21.4 million"],
        ["$ 6,120", "$ 2,780"],
        ["2018–2019"],
        ["“Unit A”"],
        ["$80 of 4% notes (the “Notes”)"],
    ],
)
def test_tatqa_a_span_written_as_in_gold_is_right(answer):
    """Extraction takes a leading "$" and typographic signs from the output; they are removed from gold too."""
    doc = {"answer": answer, "answer_type": "span" if len(answer) == 1 else "multi-span", "scale": ""}
    assert scoring.tatqa(doc, [f" {'; '.join(answer)}\n"])["correct"] == 1
    assert scoring.tatqa_cot(doc, [f"So. The final answer is {'; '.join(answer)}"])["correct"] == 1
    assert scoring.tatqa(doc, [" $21.5 million"])["correct"] == 0


def test_tatqa_every_gold_of_the_real_rows_scores_itself(mirror):
    loaded = loader.load_rows("tatqa", "default", data_dir=str(mirror))
    for task, before in ((scoring.tatqa, " "), (scoring.tatqa_cot, "Hence. The final answer is ")):
        wrong = [
            row["answer"] for row in loaded if not task(row, [before + "; ".join(row["answer"])])["correct"]
        ]
        assert wrong == []
    assert {row["scale"] for row in loaded} >= {"", "percent", "thousand", "million"}


def test_tatqa_dev_is_never_taken_for_test(mirror):
    places = loader.locate(registry.dataset("tatqa"), "default", None, str(mirror))
    assert [path.name.startswith("tatqa_dataset_test_gold") for path, *_ in places] == [True]
