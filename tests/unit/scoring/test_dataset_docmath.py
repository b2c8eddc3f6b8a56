"""DocMath-Eval: traps of its rows."""

from helpers.tasks import rows

from mergekit_finance.scoring import metrics as scoring


def test_docmath_official_rule_is_reported_and_more_generous():
    doc = {"question": "what is the difference ?", "ground_truth": 3.97}
    outputs = ("3.97", "-3.97", "39.7", "0.397", "397", "4.1")
    metrics = [scoring.docmath(doc, [f" {text}"]) for text in outputs]
    assert [m["score"] for m in metrics] == [1, 0, 0, 0, 0, 0]
    assert [m["docmath_official"] for m in metrics] == [1, 1, 1, 1, 1, 0]


def test_docmath_questions_on_one_document_are_one_cluster():
    records = [
        {"question_id": n, "question": "q", "paragraphs": [text], "ground_truth": 1}
        for n, text in (("a", "rent"), ("b", "rent"), ("c", "power"))
    ]
    clusters = [row["cluster_id"] for row in rows("docmath", *records)]
    assert clusters[0] == clusters[1] != clusters[2]
