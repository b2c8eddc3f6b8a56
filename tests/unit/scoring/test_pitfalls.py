"""The known traps of the datasets, one test each: what the rows hide, and what the tasks make of it.

Rows here are made by hand; where the real rows lie beside the checkout, they are asked too.
"""

import json
import random
from collections import Counter, defaultdict

import pytest
import yaml
from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from mergekit_finance import registration as integration
from mergekit_finance.data import loader, mirror, registry
from mergekit_finance.data.adapters import adapter
from mergekit_finance.data.adapters.english import SHOTS_CHOICE, SHOTS_ENTITIES, fiqa_class
from mergekit_finance.data.records import Record
from mergekit_finance.errors import DataError
from mergekit_finance.files import bundled
from mergekit_finance.scoring import aggregate, entities, numbers, spans
from mergekit_finance.scoring import metrics as scoring

integration.register()


def rows(name, *test, train=()):
    """What an adapter makes of raw records."""
    records = {"test": [Record(data, "test.jsonl", n) for n, data in enumerate(test, 1)]}
    if train:
        records["train"] = [Record(data, "train.jsonl", n) for n, data in enumerate(train, 1)]
    return adapter(name)(records)


def jsonl(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


@pytest.fixture(scope="module")
def manager():
    return TaskManager(include_defaults=False, metadata={"source": "sample"})


@pytest.fixture(scope="module")
def prompt(manager):
    """The prompt that a task's YAML makes of a row."""
    loaded = {}

    def render(task, row):
        name = f"finance_bench_{task}"
        if name not in loaded:
            loaded[name] = manager.load([name])["tasks"][name]
        return loaded[name].doc_to_text(row)

    return render


class Silent(LM):
    """Finds every option equally likely, writes nothing, and keeps the prompts that it was given."""

    def __init__(self):
        super().__init__()
        self.prompts = []

    def loglikelihood(self, requests):
        self.prompts += [request.args[0] for request in requests]
        return [(-1.0, False) for _ in requests]

    def generate_until(self, requests):
        self.prompts += [request.args[0] for request in requests]
        return ["" for _ in requests]

    def loglikelihood_rolling(self, requests):
        raise NotImplementedError


def run_silent(manager, *tasks, **options):
    model = Silent()
    options = {"bootstrap_iters": 0, **options}
    names = [f"finance_bench_{task}" for task in tasks]
    found = simple_evaluate(model, tasks=names, task_manager=manager, **options)
    return model.prompts, found["results"]


# --- all datasets


class Loader(yaml.SafeLoader): ...


Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def test_no_task_asks_datasets_to_run_a_loading_script():
    """datasets 4 refuses `<name>.py`: no YAML names a dataset to look up, no source is a script."""
    for path in bundled("lm_eval_tasks").rglob("*yaml"):
        fields = yaml.load(path.read_text(encoding="utf-8"), Loader)
        assert not fields.keys() & {"dataset_path", "dataset_name", "fewshot_split", "training_split"}, path
        loads = fields.get("custom_dataset", "mergekit_finance.data.loader.load")
        assert loads == "mergekit_finance.data.loader.load"
    files = [f.path for d in registry.datasets().values() for s in d.sources.values() for f in s.files]
    assert {name.rsplit(".", 1)[1] for name in files} <= {"json", "csv", "parquet", "xlsx"}


def test_sources_name_their_files_one_by_one():
    """A repository asked as a whole guesses: two of TAT-QA's files match "test" and differ in schema."""
    for dataset in registry.datasets().values():
        for source in dataset.sources.values():
            assert source.files and not any(set(file.path) & set("*?[") for file in source.files)
    (tatqa,) = registry.dataset("tatqa").sources.values()
    assert [file.path.rsplit("/", 1)[1] for file in tatqa.files] == ["tatqa_dataset_test_gold.json"]


def test_only_docmath_is_behind_a_gate():
    """TheFinAI's copies (en-fpb, jp-chabsa, ...) are gated, and others moved; neither is a source of ours."""
    sources = [(d.name, s) for d in registry.datasets().values() for s in d.sources.values()]
    assert {name for name, source in sources if source.gate} == {"docmath"}
    assert not [s.repo for _, s in sources if s.repo.split("/")[0] in ("TheFinAI", "ChanceFocus", "takala")]


@pytest.mark.parametrize("task", ["fpb", "headline", "fin_ner", "convfinqa"])
def test_num_fewshot_cannot_double_the_demonstrations(manager, task):
    """Shots are inside the prompt already; lm-eval leaves a num_fewshot of 0 alone."""
    plain, _ = run_silent(manager, task, limit=2)
    asked, results = run_silent(manager, task, limit=2, num_fewshot=5)
    assert plain == asked and len(plain) >= 2 and results[f"finance_bench_{task}"]["score,none"] >= 0


def test_a_prompt_with_its_own_demonstrations_is_taken_as_it_is(prompt):
    own = "Sales fell.\nQuestion: up or down?\nAnswer: down\n\nSales rose.\nQuestion: up or down?\nAnswer:"
    (row,) = rows("adaptllm_choice", {"id": 1, "input": own, "options": ["down", "up"], "gold_index": 1})
    assert row["shots"] == [] and prompt("fpb", row) == own
    assert prompt("fiqa_sa", row) == own and prompt("headline", row) == own


def test_rows_have_one_order_whatever_the_order_of_files_and_lines(tmp_path):
    """chABSA is many files, which a glob lists as the file system likes; no file's name or place counts."""
    for folder, names in {"a": "abc", "b": "cba"}.items():
        for name, document in zip(names, ("E1", "E2", "E3"), strict=True):
            opinions = [{"target": "売上", "polarity": "positive", "from": n, "to": n + 2} for n in range(3)]
            sentence = {"sentence_id": 0, "sentence": "売上は伸びた", "opinions": opinions}
            annotation = {"header": {"document_id": document}, "sentences": [sentence]}
            path = tmp_path / folder / "chABSA-dataset" / f"{name}_ann.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(annotation, indent=1), encoding="utf-8")
        mirror.adopt(
            tmp_path / folder, mirror.Mirror(tmp_path / f"m-{folder}"), registry.datasets().values(), str
        )
    a, b = (loader.load_rows("chabsa", "default", data_dir=str(tmp_path / f"m-{x}")) for x in "ab")
    assert a == b and len(a) == 9
    assert [row["item_id"] for row in a] != sorted(row["item_id"] for row in a)


def test_the_order_of_the_train_rows_does_not_change_the_demonstrations():
    train = [{"id": n, "sentence": f"Sales rose by {n} % .", "label": "positive"} for n in range(40)]
    test = {"id": "x", "sentence": "Sales fell .", "label": "negative"}
    shuffled = random.Random(1).sample(train, len(train))
    assert rows("phrasebank", test, train=train) == rows("phrasebank", test, train=shuffled)


@pytest.mark.parametrize("dataset", ["headline", "chabsa", "convfinqa"])
def test_the_real_rows_have_one_order_too(mirror, dataset):
    places, _ = loader.locate(registry.dataset(dataset), "default", None, str(mirror))
    forward = loader.load_rows(dataset, "default", data_dir=str(mirror))
    backward = {row["item_id"]: row for row in loader.rows_of(list(reversed(places)))}
    assert [backward[row["item_id"]] for row in forward] == forward and len(backward) == len(forward)


# --- Financial PhraseBank


def phrase(name, sentence, label="neutral"):
    return {"id": name, "sentence": sentence, "label": label}


def test_fpb_repeated_sentences_share_a_cluster_even_with_different_labels():
    found = rows(
        "phrasebank", phrase(1, "It grew ."), phrase(2, "It grew .", "positive"), phrase(3, "It fell .")
    )
    assert [row["cluster_id"] == found[0]["cluster_id"] for row in found] == [True, True, False]
    assert [row["gold_index"] for row in found[:2]] == [1, 2] and len({r["item_id"] for r in found}) == 3


def test_fpb_mojibake_stays_as_the_source_has_it(prompt):
    broken = "Harbour Mills named J+ñrvi as head of its M+ñki unit ."
    (row,) = rows("phrasebank", phrase(1, broken))
    assert row["text"] == broken and broken in prompt("fpb", row)


def test_fpb_mojibake_of_the_real_rows_reaches_the_prompt(real_rows, mirror, prompt):
    raw = {
        str(r["id"]): r["sentence"] for r in jsonl(real_rows / "fpb" / "test.jsonl") if "+ñ" in r["sentence"]
    }
    found = {row["item_id"]: row for row in loader.load_rows("fpb", "default", data_dir=str(mirror))}
    assert raw and all(sentence in prompt("fpb", found[name]) for name, sentence in raw.items())


def test_fpb_always_neutral_looks_better_than_it_is():
    """59 % neutral: accuracy and weighted F1 flatter the majority class; the mean of three F1 does not."""
    golds = [0] * 604 + [1] * 2879 + [2] * 1363
    always = [(gold, 1) for gold in golds]
    assert sum(g == p for g, p in always) / len(always) == pytest.approx(0.594, abs=5e-4)
    assert aggregate.weighted_f1(always) == pytest.approx(0.443, abs=5e-4)
    assert sum(f1 for f1, _ in aggregate.class_f1(always).values()) / 3 == pytest.approx(0.248, abs=5e-4)


def test_fpb_options_are_in_the_rows_own_order():
    options = ["Positive", "Negative", "Neutral"]
    (row,) = rows("adaptllm_choice", {"id": 1, "input": "x", "options": options, "gold_index": 1})
    assert row["options"] == options and row["gold_index"] == 1


# --- FiQA


def aspect(name, sentence, target, score):
    return {"id": name, "sentence": sentence, "target": target, "sentiment_score": score}


@pytest.mark.parametrize(
    ("score", "label"),
    [(-1, 0), (-0.101, 0), (-0.1, 1), (-0.099, 1), (0.0, 1), (0.099, 1), (0.1, 2), (0.101, 2), (1, 2)],
)
def test_fiqa_classes_change_below_minus_0_1_and_at_0_1(score, label):
    assert fiqa_class(score) == label


def test_fiqa_scores_are_text_and_a_number_is_a_broken_row():
    (row,) = rows("fiqa", aspect("a", "Oakline gains", "Oakline", "0.10"))
    assert row["gold_index"] == 2
    with pytest.raises(DataError, match="line 1: column 'sentiment_score'"):
        rows("fiqa", aspect("a", "Oakline gains", "Oakline", 0.1))


def test_fiqa_class_counts_of_the_real_rows(real_rows, mirror):
    """The rule matters: by sign hardly anything is neutral."""
    found = loader.load_rows("fiqa_sa", "default", data_dir=str(mirror))
    assert Counter(row["gold_index"] for row in found) == {0: 51, 1: 17, 2: 91}
    scores = [float(r["sentiment_score"]) for r in jsonl(real_rows / "fiqa_sa" / "test.jsonl")]
    assert len(scores) == len(found) and sum(score == 0 for score in scores) < 5


def test_fiqa_the_target_is_in_the_prompt_for_the_item_and_its_demonstrations(prompt):
    sentence = "Brightwell loses supply deal to Tern Foods"
    train = [aspect(f"t{n}", f"Elmfield {n} holds", f"Elmfield {n}", "0.0") for n in range(9)]
    two = (aspect("a", sentence, "Brightwell", "-0.5"), aspect("b", sentence, "Tern Foods", "0.4"))
    first, second = rows("fiqa", *two, train=train)
    assert (first["gold_index"], second["gold_index"]) == (0, 2)
    assert first["cluster_id"] == second["cluster_id"] and first["item_id"] != second["item_id"]
    assert "sentiment on Brightwell?" in prompt("fiqa_sa", first).rsplit(sentence, 1)[1]
    assert "sentiment on Tern Foods?" in prompt("fiqa_sa", second).rsplit(sentence, 1)[1]
    assert prompt("fiqa_sa", first).count("sentiment on Elmfield") == SHOTS_CHOICE


def test_fiqa_every_real_row_asks_about_its_target(mirror, prompt):
    found = loader.load_rows("fiqa_sa", "default", data_dir=str(mirror))
    assert all(f"sentiment on {row['target']}?" in prompt("fiqa_sa", row)[-200:] for row in found)
    golds = defaultdict(set)
    for row in found:
        golds[row["cluster_id"]].add(row["gold_index"])
    assert any(len(labels) > 1 for labels in golds.values())


# --- gold headlines


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
    found = rows("adaptllm_choice", *others)
    assert Counter(row["class_id"] for row in found) == dict.fromkeys(range(9), 2)
    for release in (six, found):
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


def test_headline_always_the_majority_gets_nine_tenths_of_a_question():
    """Past is 97 % yes, so a constant answer scores 0.955 there while it finds no exception."""
    golds = [1] * 97 + [0] * 3
    by_question = aggregate.headline_f1_by_question([(4, gold, 1) for gold in golds])
    assert by_question[4] == pytest.approx(0.955, abs=1e-3)


def test_headline_always_the_majority_on_the_real_rows(mirror):
    found = loader.load_rows("headline", "default", data_dir=str(mirror))
    golds = defaultdict(list)
    for row in found:
        golds[row["class_id"]].append(row["gold_index"])
    constant = {q: max(set(g), key=g.count) for q, g in golds.items()}
    items = [(row["class_id"], row["gold_index"], constant[row["class_id"]]) for row in found]
    by_question = aggregate.headline_f1_by_question(items)
    assert sum(f1 > 0.9 for f1 in by_question.values()) == 3  # constant price, past, future
    assert 0.6 < aggregate.headline_mean_f1(items) < 0.8


def test_headline_with_two_directions_keeps_both_answers():
    found = rows("headline_columns", columns("gold up, then down", up=1, down=1))
    assert [row["gold_index"] for row in found] == [1, 0, 1, 0, 0, 0]


def test_headline_a_record_given_twice_counts_once():
    one, other = (columns("gold up", up=1, Dates="d", URL=url) for url in ("u", "v"))
    found = rows("headline_columns", one, dict(one), other)
    assert len(found) == 12 and len({row["cluster_id"] for row in found}) == 1


def test_headline_demonstrations_answer_the_same_question(prompt):
    train = [columns(f"gold news {n}", past=n % 2, URL=str(n)) for n in range(9)]
    found = rows("headline_columns", columns("gold up", past=1), train=train)
    text = prompt("headline", found[4])
    assert text.count(found[4]["question"]) == SHOTS_CHOICE + 1 and "Yes\n" in text and "No\n" in text


# --- FIN NER


def tagged(name, text, tags, document="d"):
    full = {"P": "I-PER", "G": "I-ORG", "L": "I-LOC", "M": "I-MISC", ".": "O"}
    return {"id": name, "document": document, "tokens": text.split(), "ner_tags": [full[t] for t in tags]}


def test_ner_sentences_without_a_person_organization_or_location_are_left_out():
    found = rows(
        "fin_ner", tagged("a", "The Lender pays", ".P."), tagged("b", "It pays", ".."),
        tagged("c", "Euro notes", "M."),
        train=[tagged("t", "No name", ".."), tagged("u", "Oakline pays", "G.")],
    )  # fmt: skip
    assert [row["item_id"] for row in found] == ["a"]
    assert [shot["text"] for shot in found[0]["shots"]] == ["Oakline pays"]


def test_ner_misc_is_dropped_and_other_entities_of_the_sentence_stay():
    (row,) = rows("fin_ner", tagged("a", "Oakline issues Euro notes", "G.M."))
    assert row["entities"] == [["Oakline", "ORG"]] and row["label"] == "Oakline (ORG)"


def test_ner_adjacent_entities_of_one_type_are_one_because_tags_are_io():
    (row,) = rows("fin_ner", tagged("a", "Ann Ash Bob Bell of Oakline", "PPPP.G"))
    assert row["entities"] == [["Ann Ash Bob Bell", "PER"], ["Oakline", "ORG"]]


def test_ner_the_real_rows_hold_only_three_types_and_some_replacement_characters(mirror, real_rows):
    found = loader.load_rows("fin_ner", "default", data_dir=str(mirror))
    assert {kind for row in found for _, kind in row["entities"]} == {"PER", "ORG", "LOC"}
    raw = jsonl(real_rows / "fin_ner" / "test.jsonl")
    has = [r for r in raw if {"I-PER", "I-ORG", "I-LOC"} & set(r["ner_tags"])]
    assert len(found) == len(has) < len(raw)
    assert any("\ufffd" in row["text"] for row in found)
    people = Counter(text for row in found for text, kind in row["entities"] if kind == "PER")
    assert people["Borrower"] + people["Lender"] > 0.8 * people.total()  # what this task measures most


def test_ner_corpus_f1_and_adaptllms_mean_over_sentences_differ():
    docs = [
        {"entities": [["Ann Ash", "PER"], ["Bob Bell", "PER"], ["Oakline", "ORG"]]},
        {"entities": [["Lund", "LOC"]]},
    ]
    metrics = [
        scoring.entities(doc, [text]) for doc, text in zip(docs, ("Jim Ash (PER)", "Lund (LOC)"), strict=True)
    ]
    assert aggregate.corpus_entity_f1([m["score"] for m in metrics]) == pytest.approx(1 / 3)
    assert sum(m["adaptllm_f1"] for m in metrics) / 2 == pytest.approx(
        0.875
    )  # "Jim Ash" passes for "Ann Ash"


def test_ner_adaptllms_parser_keeps_the_last_word_only_and_ours_all():
    text = "Harbour Trust Bank (ORG)"
    assert entities.adaptllm_entities(text) == [("Bank", "ORG")]
    assert entities.parse_entities(text) == [("Harbour Trust Bank", "ORG")]


def test_ner_the_sentence_is_the_end_of_a_long_prompt(mirror, prompt):
    """20 demonstrations overflow 2,048 tokens; lm-eval cuts from the left, so the sentence must come last."""
    for row in loader.load_rows("fin_ner", "default", data_dir=str(mirror))[:20]:
        assert len(row["shots"]) == SHOTS_ENTITIES
        assert prompt("fin_ner", row).endswith(f"{row['text']}\nExtract named entity:")


# --- ConvFinQA


def conversation(answers, executed, name="Single_X/2020/page_3.pdf-1"):
    questions = [f"question {n} ?" for n in range(len(answers))]
    table = {"2019": {"rent": -31.5}, "2020": {"rent": 28.2}}
    return {
        "id": name, "doc": {"pre_text": "before .", "post_text": "after .", "table": table},
        "dialogue": {"conv_questions": questions, "conv_answers": answers, "executed_answers": executed},
    }  # fmt: skip


def test_convfinqa_a_conversation_is_a_row_a_turn_and_history_is_gold(prompt):
    found = rows("convfinqa", conversation(["3120", "2890", "230"], [3120.0, 2890.0, 230.0]))
    assert [row["item_id"].rsplit("#")[1] for row in found] == ["0", "1", "2"]
    text = prompt("convfinqa", found[1])
    assert "Question: question 0 ?\nAnswer: 3120\n" in text and text.endswith(
        "Question: question 1 ?\nAnswer:"
    )
    assert "2890" not in text and "230" not in text and "question 2" not in text


def test_convfinqa_conversations_on_one_page_are_one_cluster():
    names = ("Single_X/2020/page_3.pdf-1", "Double_X/2020/page_3.pdf", "Single_X/2020/page_4.pdf-1")
    found = rows("convfinqa", *(conversation(["1"], [1.0], name) for name in names[::2]))
    assert found[0]["cluster_id"] != found[1]["cluster_id"]
    pair = rows(
        "convfinqa", conversation(["1"], [1.0], names[0]), conversation(["1"], [1.0], names[0][:-1] + "2")
    )
    assert pair[0]["cluster_id"] == pair[1]["cluster_id"]


@pytest.mark.parametrize(
    ("answer", "executed", "said", "right"),
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
def test_convfinqa_the_executed_value_decides(answer, executed, said, right):
    (row,) = rows("convfinqa", conversation([answer], [executed]))
    assert scoring.convfinqa(row, [f" {said}\n"])["correct"] == right


def test_convfinqa_every_executed_value_of_the_real_rows_scores_and_not_every_written_one(mirror):
    found = loader.load_rows("convfinqa", "default", data_dir=str(mirror))
    said = [str(row["answer"] if row["executed_answer"] is None else row["executed_answer"]) for row in found]
    assert all(scoring.convfinqa(r, [f" {s}"])["correct"] for r, s in zip(found, said, strict=True))
    wrong = [row for row in found if not scoring.convfinqa(row, [f" {row['answer']}"])["correct"]]
    assert 0 < len(wrong) / len(found) < 0.04
    assert all(row["executed_answer"] is not None for row in wrong)


def test_convfinqa_adaptllms_rule_is_beside_and_looser():
    (row,) = rows("convfinqa", conversation(["0.84%"], [0.0084]))
    metrics = scoring.convfinqa(row, [" 0"])
    assert (metrics["score"], metrics["convfinqa_adaptllm"]) == (0.0, 1.0)


def test_convfinqa_without_an_executed_value_the_written_answer_stands_in():
    own = "before .\n\nQuestion: rent ?\nAnswer: 31.5\n\nQuestion: change ?\nAnswer:"
    (row,) = rows("adaptllm_convfinqa", {"id": 4, "input": own, "label": ["6.5%", "6.5 %"]})
    assert row["executed_answer"] is None and row["percent"]
    assert [scoring.convfinqa(row, [f" {s}"])["correct"] for s in ("6.5%", "0.065", "6.5", "-6.5%")] == [
        1,
        1,
        1,
        0,
    ]


# --- TAT-QA


def context(*questions, uid="t1"):
    full = [{"uid": f"{uid}-{n}", "question": "what ?", "scale": "", **q} for n, q in enumerate(questions)]
    paragraphs = [{"order": 2, "text": "second"}, {"order": 1, "text": "first"}]
    return {
        "table": {"uid": uid, "table": [["", "2019"], ["Rent", "51.3"]]},
        "paragraphs": paragraphs,
        "questions": full,
    }


def test_tatqa_a_context_becomes_a_row_a_question_with_answers_of_any_type(prompt):
    mixed = [
        {"answer": -7.4, "answer_type": "arithmetic", "scale": "million"},
        {"answer": 3, "answer_type": "count"},
        {"answer": "2", "answer_type": "count"}, {"answer": ["Rent", "Power"], "answer_type": "multi-span"},
    ]  # fmt: skip
    found = rows("tatqa", context(*mixed), context({"answer": ["Rent"], "answer_type": "span"}, uid="t2"))
    assert [row["answer"] for row in found] == [["-7.4"], ["3"], ["2"], ["Rent", "Power"], ["Rent"]]
    assert Counter(row["cluster_id"] for row in found) == {"t1": 4, "t2": 1}
    text = prompt("tatqa", found[0])
    assert text.index("first") < text.index("second") < text.index("Rent | 51.3") < text.index("what ?")
    from datasets import Dataset

    assert Dataset.from_list(found)["answer"][0] == ["-7.4"]


@pytest.mark.parametrize(
    ("answer", "scale", "said", "right"),
    [
        ("-7.4", "million", "-7.4", True), ("-7.4", "million", "-7.4 million", True),
        ("-7.4", "million", "-7,400,000", True), ("-7.4", "million", "-7.4 thousand", False),
        ("-7.4", "million", "7.4", False), ("21.3", "percent", "21.3%", True),
        ("21.3", "percent", "0.213", True), ("21.3", "percent", "2.13", False),
        ("5", "", "5 million", False), ("61.128", "", "61.13", True),
    ],
)  # fmt: skip
def test_tatqa_scale_is_part_of_the_answer(answer, scale, said, right):
    doc = {"answer": [answer], "answer_type": "arithmetic", "scale": scale}
    assert spans.tatqa_match(said, doc) is right


def test_tatqa_several_spans_are_a_set():
    doc = {"answer": ["Rent", "the Power"], "answer_type": "multi-span", "scale": ""}
    said = ("power; rent", "Rent", "Rent; Power; Tax", "Rent; Rent")
    assert [scoring.tatqa(doc, [f" {text}"])["correct"] for text in said] == [1, 0, 0, 0]


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
def test_tatqa_a_span_said_as_gold_has_it_is_right(answer):
    """Extraction takes a leading "$" and typographic signs from what was said; gold loses them too."""
    doc = {"answer": answer, "answer_type": "span" if len(answer) == 1 else "multi-span", "scale": ""}
    assert scoring.tatqa(doc, [f" {'; '.join(answer)}\n"])["correct"] == 1
    assert scoring.tatqa_cot(doc, [f"So. The final answer is {'; '.join(answer)}"])["correct"] == 1
    assert scoring.tatqa(doc, [" $21.5 million"])["correct"] == 0


def test_tatqa_every_gold_of_the_real_rows_scores_itself(mirror):
    found = loader.load_rows("tatqa", "default", data_dir=str(mirror))
    for task, before in ((scoring.tatqa, " "), (scoring.tatqa_cot, "Hence. The final answer is ")):
        wrong = [
            row["answer"] for row in found if not task(row, [before + "; ".join(row["answer"])])["correct"]
        ]
        assert wrong == []
    assert {row["scale"] for row in found} >= {"", "percent", "thousand", "million"}


def test_tatqa_dev_is_never_taken_for_test(mirror):
    places, _ = loader.locate(registry.dataset("tatqa"), "default", None, str(mirror))
    assert [path.name.startswith("tatqa_dataset_test_gold") for path, *_ in places] == [True]


# --- DocMath-Eval


def test_docmath_official_rule_is_beside_and_more_generous():
    doc = {"question": "what is the difference ?", "ground_truth": 3.97}
    said = ("3.97", "-3.97", "39.7", "0.397", "397", "4.1")
    metrics = [scoring.docmath(doc, [f" {text}"]) for text in said]
    assert [m["score"] for m in metrics] == [1, 0, 0, 0, 0, 0]
    assert [m["docmath_official"] for m in metrics] == [1, 1, 1, 1, 1, 0]


def test_docmath_questions_on_one_document_are_one_cluster():
    records = [
        {"question_id": n, "question": "q", "paragraphs": [text], "ground_truth": 1}
        for n, text in (("a", "rent"), ("b", "rent"), ("c", "power"))
    ]
    clusters = [row["cluster_id"] for row in rows("docmath", *records)]
    assert clusters[0] == clusters[1] != clusters[2]


# --- japanese-lm-fin-harness


def exam(number=1, choices=("甲", "乙", "丙", "丁"), answer=2, **more):
    listed = [{"id": n, "text": text} for n, text in enumerate(choices)]
    return {"id": number, "question": "問", "context": "文", "choices": listed, "answer": answer, **more}


def test_exam_choices_are_a_list_of_objects_and_the_old_layout_is_named():
    """The harness's own code reads an object of lists, which datasets no longer makes of these files."""
    (row,) = rows("jlm_exam", exam())
    assert (
        row["choices"] == ["甲", "乙", "丙", "丁"]
        and row["options"] == list("ABCD")
        and row["gold_index"] == 2
    )
    old = exam() | {"choices": {"id": [0, 1], "text": ["甲", "乙"]}}
    with pytest.raises(DataError, match="line 1: column 'choices'"):
        rows("jlm_exam", old)


def test_exam_fp2_scores_full_width_numerals_and_the_others_letters(prompt, manager):
    (row,) = rows("jlm_numbered", exam(choices="１２３４", context="１．甲\n２．乙\n３．丙\n４．丁"))
    assert row["options"] == ["１", "２", "３", "４"] and "３．丙" in prompt("fp2", row)
    (letters,) = rows("jlm_exam", exam())
    assert "\nC. 丙\n" in prompt("cma_basics", letters) and "\nC. 丙\n" in prompt("security_sales_1", letters)
    for name in ("cma_basics", "cpa_audit", "fp2", "security_sales_1", "chabsa"):
        task = manager.load([f"finance_bench_{name}"])["tasks"][f"finance_bench_{name}"]
        assert task.config.target_delimiter == ""


def test_exam_full_width_and_half_width_labels_are_one_in_the_cot_task():
    (row,) = rows("jlm_numbered", exam(choices="１２３４", answer=2))
    said = ("最終回答：３", "最終回答：3", "最終回答：③", "最終回答：２", "３だと思う")
    assert [scoring.choice_cot(row, [text])["correct"] for text in said] == [1, 1, 1, 0, 0]


def test_exam_the_explanation_of_the_answer_reaches_neither_row_nor_prompt(prompt):
    secret = "丙が正しい理由"
    for name, task in (("jlm_exam", "cma_basics"), ("jlm_exam", "security_sales_1"), ("jlm_numbered", "fp2")):
        (row,) = rows(name, exam(comment=secret))
        assert secret not in json.dumps(row, ensure_ascii=False) and secret not in prompt(task, row)


def test_exam_no_explanation_of_the_real_rows_reaches_a_prompt(real_rows, mirror, prompt):
    seen = 0
    for name in ("cma_basics", "fp2", "security_sales_1"):
        raw = json.loads((real_rows / "jlm_fin_harness" / name / "data.json").read_text(encoding="utf-8"))[
            "data"
        ]
        found = {row["item_id"]: row for row in loader.load_rows(name, "default", data_dir=str(mirror))}
        for record in raw:
            row = found[str(record["id"])]
            comment = record["comment"] or ""
            if len(comment) > 20 and comment not in record["question"] + record["context"]:
                seen += 1
                assert comment not in prompt(name, row)
    assert seen > 50


def test_exam_security_sales_mixes_true_false_with_four_choices(mirror, prompt):
    (row,) = rows("jlm_exam", exam(choices="○×", answer=1))
    assert row["options"] == ["A", "B"] and "A. ○\nB. ×\n" in prompt("security_sales_1", row)
    found = loader.load_rows("security_sales_1", "default", data_dir=str(mirror))
    assert {len(row["options"]) for row in found} == {2, 4}
    assert sum(row["gold_index"] < 2 for row in found) > 0.8 * len(found)  # answers lean to the first two


def statements(number=1, answer=2, flag=0, **more):
    pairs = dict(zip("123456", ("アイ", "アウ", "アエ", "イウ", "イエ", "ウエ"), strict=True))
    texts = {"ア": "一", "イ": "二", "ウ": "三", "エ": "四", "オ": None, "カ": None}
    return {
        "key": "k",
        "q_no": number,
        "question": "問",
        "a_no": answer,
        "abnormal_flg": flag,
        **pairs,
        **texts,
        **more,
    }


def test_cpa_abnormal_rows_blank_rows_and_answers_of_a_dash_are_left_out():
    found = rows(
        "cpa_audit", statements(1), statements(2, flag=1), statements(3, answer="-"),
        statements(4, answer=None), statements(5, question=None), statements(6, question=""),
    )  # fmt: skip
    assert [row["item_id"] for row in found] == ["k-1"] and found[0]["gold_index"] == 1


def test_cpa_a_missing_sixth_choice_is_no_choice(prompt):
    (row,) = rows("cpa_audit", statements(**{"6": None}))
    assert row["options"] == list("ABCDE") and "None" not in prompt("cpa_audit", row)
    assert "E. イエ\n" in prompt("cpa_audit", row) and "F." not in prompt("cpa_audit", row)
    with pytest.raises(DataError, match="a_no.*6 is not one of 5 choices"):
        rows("cpa_audit", statements(answer=6, **{"6": None}))


def test_cpa_of_the_real_rows_as_many_stay_as_are_not_abnormal(real_rows, mirror):
    raw = jsonl(real_rows / "jlm_fin_harness" / "cpa_audit" / "cpa_audit.jsonl")
    found = loader.load_rows("cpa_audit", "default", data_dir=str(mirror))
    normal = [r for r in raw if r["abnormal_flg"] == 0]
    assert len(found) == len(normal) < len(raw) and any(r["a_no"] == "-" for r in raw)
    five = sum(len(row["options"]) == 5 for row in found)
    assert five == sum(r["6"] is None for r in normal) > 0
    guess = sum(1 / len(row["options"]) for row in found) / len(found)
    assert 1 / 6 < guess < 0.175  # published scores of 8B models are at this level
    assert max(Counter(row["gold_index"] for row in found).values()) / len(found) < 0.2


def test_exam_workbook_and_lines_give_the_same_rows(real_rows):
    pytest.importorskip("openpyxl")
    folder = real_rows / "jlm_fin_harness" / "cpa_audit"
    found = [
        loader.rows_of([(folder / name, name, "cpa_audit", "test")])
        for name in ("cpa_audit.jsonl", "CPA_AUDIT.xlsx")
    ]
    assert found[0] == found[1]


def test_exam_small_sets_come_with_their_standard_error(manager):
    """38 items: one is worth 2.6 points. lm-eval prints the error beside the score."""
    sets = ("cma_basics", "cpa_audit", "fp2", "security_sales_1")
    _, results = run_silent(manager, *sets, bootstrap_iters=10)
    for name in sets:
        found = results[f"finance_bench_{name}"]
        p, n = found["score,none"], len(loader.load_rows(name, "default", source="sample"))
        assert found["score_stderr,none"] == pytest.approx((p * (1 - p) / (n - 1)) ** 0.5)


# --- chABSA


def annotation(*opinions, sentence="売上高は増え、売上高は減った"):
    listed = [{"target": t, "polarity": p, "from": a, "to": a + len(t)} for t, p, a in opinions]
    return {
        "header": {"document_id": "E1"},
        "sentences": [{"sentence_id": 3, "sentence": sentence, "opinions": listed}],
    }


def test_chabsa_neutral_rows_stay_and_are_wrong_whatever_is_said(manager):
    (row,) = rows("chabsa", annotation(("売上高", "neutral", 0)))
    assert row["gold_index"] == -1 and row["options"] == ["positive", "negative"]
    for likely in ([(-1.0, True), (-2.0, False)], [(-2.0, False), (-1.0, True)]):
        metrics = scoring.chabsa(row, likely)
        assert metrics["correct"] == metrics["acc"] == metrics["acc_norm"] == 0.0


def test_chabsa_a_target_that_occurs_twice_is_two_items():
    found = rows("chabsa", annotation(("売上高", "positive", 0), ("売上高", "negative", 7)))
    assert len({row["item_id"] for row in found}) == 2 and [r["gold_index"] for r in found] == [0, 1]
    assert len({row["cluster_id"] for row in found}) == 1
    turned = rows("chabsa", annotation(("売上高", "negative", 7), ("売上高", "positive", 0)))
    assert turned[::-1] == found  # the place names the item, not its number in the list
    same = rows("chabsa", annotation(("売上高", "positive", 0), ("売上高", "negative", 0)))
    assert len({row["item_id"] for row in same}) == 2  # even where the source gives both one place


def test_chabsa_score_is_the_three_class_macro_f1_times_one_and_a_half():
    metrics = pytest.importorskip("sklearn.metrics")
    draw = random.Random(3)
    items = [(draw.choice([0, 0, 0, 1, 1, -1]), draw.choice([0, 0, 1])) for _ in range(300)]
    golds, preds = zip(*items, strict=True)
    three = metrics.f1_score(golds, preds, labels=[0, 1, -1], average="macro", zero_division=0)
    assert aggregate.macro_f1_two_class(items) == pytest.approx(1.5 * three, abs=1e-12)


def test_chabsa_the_real_rows_hold_neutral_ones_and_repeated_targets(mirror):
    found = loader.load_rows("chabsa", "default", data_dir=str(mirror))
    assert Counter(row["gold_index"] for row in found) == {0: 299, 1: 172, -1: 13}
    pairs = defaultdict(set)
    for row in found:
        pairs[row["sentence"], row["target"]].add(row["item_id"])
    assert any(len(names) > 1 for names in pairs.values())
    best = [(gold, max(gold, 0)) for gold in (row["gold_index"] for row in found)]
    assert aggregate.macro_f1_two_class(best) < 1.0  # not even a perfect model reaches 1


# --- jfinqa


@pytest.mark.parametrize(
    ("gold", "said", "right"),
    [
        ("11.36%", "11.36", True), ("11.36", "11.36%", True),  # % is ignored on both sides
        ("-3.5%", "△3.5%", True), ("-3.5%", "▲3.5", True), ("-3.5%", "3.5%", False),
        ("-3.5%", "約△3.5%", False),  # triangles are signs at the start only, as in the built-in task
        ("120百万円", "120百万円", True), ("120百万円", "120", True), ("1,200百万円", "１２００百万円", True),
        ("2.5ポイント", "2.5", True), ("100", "100.9", True), ("100", "101.1", False),
        ("0", "0", True), ("0", "0.001", False), ("0%", "0.0", True),  # 1 % of 0 is 0
        ("増収", "増収", True), ("増収", "増加", False), ("改善", "改善した", True), ("はい", "はい", True),
    ],
)  # fmt: skip
def test_jfinqa_answers(gold, said, right):
    assert numbers.jfinqa_match(said, gold) is right
    assert scoring.jfinqa({"answer": gold}, [f" {said}\n"])["score"] == right


def report(answer, number=1, company="E1"):
    return {
        "id": f"n{number}", "subtask": "temporal_reasoning", "edinet_code": company,
        "source_doc_id": f"S{company}", "pre_text": ["抜粋。"], "post_text": [],
        "table_headers": ["", "当期"], "table_rows": [["売上", "△5"]], "question": "増収か。",
        "answer": answer,
        "program": ["x"], "gold_evidence": [1],
    }  # fmt: skip


def test_jfinqa_rows_name_their_company_and_neither_program_nor_evidence(prompt):
    """Two data versions differ in their number of companies: the rows say which one this is."""
    (row,) = rows("jfinqa", report("増収"))
    assert (
        row["edinet_code"] == "E1"
        and row["cluster_id"] == "SE1"
        and not {"program", "gold_evidence"} & row.keys()
    )
    assert "△5" in prompt("jfinqa_temporal", row) and "増収\n" not in prompt("jfinqa_temporal", row)


def test_jfinqa_the_post_audit_version_is_pinned_and_more_than_its_forerunner(mirror):
    (source,) = registry.dataset("jfinqa").sources.values()
    assert len(source.revision) == 40 and source.files[0].path.endswith("jfinqa_v1.json")
    found = [r for s in ("numerical_reasoning", "consistency_checking", "temporal_reasoning")
             for r in loader.load_rows("jfinqa", s, data_dir=str(mirror))]  # fmt: skip
    assert len({row["edinet_code"] for row in found}) > 40 and all(row["edinet_code"] for row in found)
    assert all(scoring.jfinqa(row, [f" {row['answer']}"])["score"] for row in found)


def test_jfinqa_stops_and_length_are_the_builtin_tasks(manager):
    for name in ("numerical", "consistency", "temporal"):
        task = manager.load([f"finance_bench_jfinqa_{name}"])["tasks"][f"finance_bench_jfinqa_{name}"]
        options = task.config.generation_kwargs
        assert options["until"] == ["\n\n", "Question:"] and options["max_gen_toks"] == 256


def test_task_names_are_all_prefixed_because_lm_eval_has_jfinqa_tasks_too(manager):
    assert all(name.startswith("finance_bench") for name in manager.all_tasks)


# --- FOMC


def test_fomc_a_row_without_a_label_is_named():
    """The split files on GitHub hold rows labelled "-"."""
    with pytest.raises(DataError, match="line 1: column 'label': "):
        rows("fomc", {"index": 3, "sentence": "Rates rose.", "label": "-"})
    (row,) = rows("fomc", {"index": 3, "sentence": "Rates rose.", "label": "1"})
    assert row["options"][row["gold_index"]] == "hawkish"
