"""Texts for training: held-out documents, questions made from train rows, and no text of a test row."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from helpers import smollm2_inputs
from helpers.smollm2_study import corpora, overlap, plans, tokens
from helpers.tiny_models import make_tokenizer

VARIABLE = "SMOLLM2_TEST_CORPORA"  # names a folder of corpora, whose texts are not in this repository


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    return smollm2_inputs.write_corpora(folder / "corpora"), smollm2_inputs.write_mirror(folder)


def test_train_rows_become_questions_in_the_words_of_the_tasks_prompts(inputs):
    questions = list(corpora.finance_questions(inputs[1]))
    assert questions[0] == "Sales fell .\nQuestion: what is the sentiment?\nAnswer: negative"
    assert questions[1] == "Shares of B sank\nQuestion: what is the sentiment on B?\nAnswer: negative"
    assert questions[2].startswith("Headline: gold news of train\nQuestion: Does the headline say")
    assert questions[2].endswith("\nAnswer: Yes") and questions[3].endswith("\nAnswer: No")
    assert questions[-1] == "Ann lends train\nExtract named entity: Ann (PER)"
    assert len(questions) == 1 + 1 + 6 + 1  # the train row with the words of the test row is left out


def test_finance_text_has_the_questions_six_times_and_no_run_of_a_test_row(inputs):
    texts = corpora.texts(inputs[0], "finance", inputs[1])
    assert texts.questions == 9 * 6 and texts.train.count(texts.train[-1]) == 6
    everything = [*texts.train, *texts.held_out]
    assert len(texts.held_out) == 4 and not set(texts.held_out) & set(texts.train)
    raw = corpora.documents(inputs[0], "finance")
    assert sum(smollm2_inputs.TEST_SENTENCE in text for text in raw) == 1
    assert not any("pulp mill" in text for text in everything)
    cut = next(text for text in everything if text.endswith("and more"))
    assert raw[0].startswith(cut.split("  ")[0]) and len(cut) < len(raw[0]) - 60


def test_other_texts_have_no_questions(inputs):
    texts = corpora.texts(inputs[0], "math", inputs[1])
    assert texts.questions == 0 and len(texts.train) + len(texts.held_out) == 8


def test_runs_are_found_by_words_and_by_japanese_characters():
    japanese = "滝とは河川や湖の一部が段差になっているため水が落下している場所をいう"  # 34 characters
    rows = [
        {
            "text": "One two three four five six seven eight nine ten eleven twelve thirteen.",
            "shots": [{"text": "x " * 20}],
        }
    ]
    test = overlap.TestText.of_rows([*rows, {"text": "", "context": japanese}])
    words = "ONE two, three four five six seven eight nine ten eleven twelve thirteen"
    assert test.contains(f"before {words} after") and not test.contains(words.replace("seven", "7"))
    assert not test.contains(words.rsplit(" ", 1)[0])  # twelve words
    assert test.contains(f"あ{japanese[2:33]}ん") and not test.contains(f"あ{japanese[:29]}ん")
    assert not test.contains("x " * 20)  # demonstrations are not test rows
    assert test.cut(f"before {words} after") == "before  after"
    assert test.cut(f"前{japanese}後") == "前後"


def test_overlapping_runs_are_cut_as_one():
    words = [f"w{k}" for k in range(20)]
    test = overlap.TestText.of_rows([{"text": " ".join(words)}])
    assert test.cut("a " + " ".join(words) + " b " + " ".join(words[3:18]) + " c") == "a  b  c"


def test_tokens_of_all_documents_are_written_once(inputs, tmp_path, monkeypatch):
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(json.dumps({"eos_token_id": 7}))
    counts = tokens.write_all(*inputs, tmp_path / "model", tmp_path / "out")
    train = np.load(tmp_path / "out" / "math.train.npy")
    assert train.dtype == np.uint16 and len(train) == counts["math"]["train_tokens"]
    assert (train == 7).sum() == counts["math"]["documents"] == 4
    assert counts["general"]["train_tokens"] == 0 < counts["general"]["held_out_tokens"]
    lines = (tmp_path / "out" / "japanese.held_out.jsonl").read_text().splitlines()
    texts = corpora.texts(inputs[0], "japanese", inputs[1]).held_out
    assert [json.loads(line)["text"] for line in lines] == [text[:1000] for text in texts]
    monkeypatch.setattr(tokens, "write_domain", None)
    assert tokens.write_all(*inputs, tmp_path / "model", tmp_path / "out") == counts


def test_a_beginning_has_whole_characters():
    assert tokens.beginning("あ" * 500) == "あ" * 333 and tokens.beginning("abc") == "abc"


def test_experts_of_a_domain_differ_by_seed_alone_or_by_learning_rate_alone():
    experts = plans.expert_plans()
    assert len(experts) == 9 and list(experts)[:3] == ["finance_a", "math_a", "japanese_a"]
    for domain in corpora.DOMAINS:
        a, b, c = (experts[f"{domain}_{kind}"] for kind in "abc")
        assert a.domain == domain and (a.seed, a.rate) == (0, 5e-4)
        assert (b.seed, b.rate) == (1, 5e-4) and (c.seed, c.rate) == (0, 2.5e-4)


def test_the_schedule_rises_then_follows_a_cosine_and_text_is_read_at_most_twice():
    plan = plans.Plan("math", rate=1.0, length=10, batch=10, tokens=10_000)
    assert plan.steps(4_000) == 80 and plan.steps(10**9) == 100 and plan.steps(1) == 1
    rates = [plan.rate_at(step, 100) for step in range(101)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0]) and rates[5] == 1.0
    assert rates[100] == pytest.approx(0.1) and rates[5 + 47] == pytest.approx(0.5574, abs=1e-3)
    assert all(one >= other for one, other in zip(rates[5:], rates[6:], strict=False))


def test_the_real_corpora_have_no_test_row(mirror):
    """A sample of the real texts, compared with sets of words instead of hashes."""
    if not os.environ.get(VARIABLE):
        pytest.skip(f"{VARIABLE} names no folder of corpora")
    runs = set()
    for row in overlap.test_rows(mirror):
        for text in overlap._strings(row):
            words = overlap._words(text)
            runs |= {tuple(words[k : k + 13]) for k in range(len(words) - 12)}
    assert len(runs) > 100_000
    for domain in corpora.DOMAINS:
        texts = corpora.texts(Path(os.environ[VARIABLE]), domain, mirror)
        for text in [*texts.held_out, *texts.train[:: max(1, len(texts.train) // 300)], *texts.train[-50:]]:
            words = overlap._words(text)
            assert not runs & {tuple(words[k : k + 13]) for k in range(len(words) - 12)}
