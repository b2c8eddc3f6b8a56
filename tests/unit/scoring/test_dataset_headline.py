"""Gold commodity headlines: traps of its two releases."""

from collections import Counter, defaultdict

import pytest
from helpers.tasks import rows

from mergekit_finance.data import loader
from mergekit_finance.data.adapters.english import SHOTS_CHOICE
from mergekit_finance.scoring import aggregate
from mergekit_finance.scoring import metrics as scoring


def columns(news, up=0, constant=0, down=0, assets=0, past=0, future=0, **more):
    names = ("Price Direction Up", "Price Direction Constant", "Price Direction Down", "Asset Comparision")
    values = dict(zip(names, map(str, (up, constant, down, assets)), strict=True))
    return values | {"News": news, "Past Information": str(past), "Future Information": str(future), **more}


def nine(number, class_id, headline, gold=1):
    shots = 'Headline: "gold slips" Now answer this question: Is it about price? Yes\n\n'
    return {
        "id": number, "options": ["No", "Yes"], "gold_index": gold, "class_id": class_id,
        "input": f'{shots}Headline: "{headline}" Now answer this question: Is it about topic {class_id}?',
    }  # fmt: skip


def test_headline_six_questions_in_one_release_and_nine_in_the_other():
    six = rows("headline_columns", columns("gold up", up=1), columns("gold down", down=1))
    assert Counter(row["class_id"] for row in six) == dict.fromkeys(range(6), 2)
    others = [nine(9 * h + q, q, text) for h, text in enumerate(("gold up", "gold down")) for q in range(9)]
    adapted = rows("adaptllm_choice", *others)
    assert Counter(row["class_id"] for row in adapted) == dict.fromkeys(range(9), 2)
    for release in (six, adapted):
        assert len({row["cluster_id"] for row in release}) == 2
        assert len({row["item_id"] for row in release}) == len(release)


def test_headline_a_demonstration_or_a_blank_line_does_not_decide_the_cluster():
    one, two = nine(1, 0, "gold up"), nine(2, 1, "gold up")
    two["input"] = two["input"].replace("slips", "jumps").replace("Yes\n\n", "No\n")
    asked = {
        "id": 3,
        "input": "gold up\nQuestion: Is it?\nAnswer:",
        "options": ["No", "Yes"],
        "gold_index": 0,
    }
    a, b, c = rows("adaptllm_choice", one, two, asked)
    assert a["cluster_id"] == b["cluster_id"] != c["cluster_id"]


def test_headline_score_is_the_mean_over_questions_whichever_there_are():
    items = [(0, 1, 1)] * 90 + [(1, 0, 1)] * 10  # question 0 all right, question 1 all wrong
    assert aggregate.headline_mean_f1(items) == 0.5  # not 0.9: questions count the same
    docs = [{"options": ["No", "Yes"], "gold_index": 1, "class_id": q} for q in range(9)]
    scores = [scoring.headline(doc, [(-2.0, False), (-1.0, False)])["score"] for doc in docs]
    assert aggregate.headline_mean_f1(scores) == 1.0 and len(aggregate.headline_f1_by_question(scores)) == 9


def test_headline_a_constant_answer_scores_above_0_9_on_an_uneven_question():
    """97 % of the answers to "past" are yes, so always answering yes scores 0.955."""
    golds = [1] * 97 + [0] * 3
    by_question = aggregate.headline_f1_by_question([(4, gold, 1) for gold in golds])
    assert by_question[4] == pytest.approx(0.955, abs=1e-3)


def test_headline_constant_answers_on_the_real_rows(mirror):
    loaded = loader.load_rows("headline", "default", data_dir=str(mirror))
    golds = defaultdict(list)
    for row in loaded:
        golds[row["class_id"]].append(row["gold_index"])
    constant = {q: max(set(g), key=g.count) for q, g in golds.items()}
    items = [(row["class_id"], row["gold_index"], constant[row["class_id"]]) for row in loaded]
    by_question = aggregate.headline_f1_by_question(items)
    assert sum(f1 > 0.9 for f1 in by_question.values()) == 3  # constant price, past, future
    assert 0.6 < aggregate.headline_mean_f1(items) < 0.8


def test_headline_with_two_directions_keeps_both_answers():
    adapted = rows("headline_columns", columns("gold up, then down", up=1, down=1))
    assert [row["gold_index"] for row in adapted] == [1, 0, 1, 0, 0, 0]


def test_headline_a_record_given_twice_counts_once():
    one, other = (columns("gold up", up=1, Dates="d", URL=url) for url in ("u", "v"))
    adapted = rows("headline_columns", one, dict(one), other)
    assert len(adapted) == 12 and len({row["cluster_id"] for row in adapted}) == 1


def test_headline_demonstrations_answer_the_same_question(prompt):
    train = [columns(f"gold news {n}", past=n % 2, URL=str(n)) for n in range(9)]
    adapted = rows("headline_columns", columns("gold up", past=1), train=train)
    text = prompt("headline", adapted[4])
    assert text.count(adapted[4]["question"]) == SHOTS_CHOICE + 1 and "Yes\n" in text and "No\n" in text
