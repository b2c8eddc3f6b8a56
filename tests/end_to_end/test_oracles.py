"""Our numbers compared with other implementations: lm-eval's own tasks, plain transformers, scikit-learn, seqeval."""

import http.server
import json
import shutil
import threading

import pytest
from helpers import commands
from helpers.canned import Canned, best, builtin_jfinqa, draw, evaluate, jfinqa_output
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from mergekit_finance import registration
from mergekit_finance.data import loader
from mergekit_finance.data.mirror import MANIFEST
from mergekit_finance.errors import DataError

registration.register()

JFINQA = ("numerical", "consistency", "temporal")
EXAMS = ("cma_basics", "cpa_audit", "fp2", "security_sales_1")


# --- jfinqa: lm-eval's built-in tasks


@pytest.mark.parametrize("name", JFINQA)
def test_jfinqa_equals_the_builtin_task_on_the_same_rows_and_outputs(where, name):
    subset = {"numerical": "numerical_reasoning", "consistency": "consistency_checking"}
    rows = loader.load("jfinqa", subset.get(name, "temporal_reasoning"), **where)["test"]
    ours, theirs = f"finance_bench_jfinqa_{name}", f"jfinqa_{name}"
    model = Canned(jfinqa_output)
    results = evaluate(model, f"jfinqa_{name}", builtin_jfinqa(name, rows), where=where)
    assert len(results["samples"][ours]) == len(results["samples"][theirs]) == len(rows)
    for a, b in zip(results["samples"][ours], results["samples"][theirs], strict=True):
        assert a["arguments"][0][0] == b["arguments"][0][0]  # the prompt
        assert (a["numerical_match"], a["exact_match"]) == (b["numerical_match"], b["exact_match"]), a[
            "resps"
        ]
    for metric in ("numerical_match,none", "exact_match,none"):
        assert results["results"][ours][metric] == results["results"][theirs][metric]
    # `score` also accepts other wordings, such as 約-3.5% and 増収です.
    assert results["results"][ours]["score,none"] >= results["results"][theirs]["numerical_match,none"]
    if len(rows) > 50:
        assert 0.2 < results["results"][theirs]["numerical_match,none"] < 0.9
        assert 0.2 < results["results"][ours]["score,none"] < 0.9


# --- choices: the likelihood of plain transformers


def test_exam_choices_equal_a_direct_likelihood_computation(tiny, plain, where, one_thread):
    limit, batch_size = 3, 3 if "data_dir" in where else 1
    results = simple_evaluate(
        "hf", model_args=f"pretrained={tiny}/finance,dtype=float32", device="cpu", limit=limit,
        bootstrap_iters=0, batch_size=batch_size, tasks=[f"finance_bench_{t}" for t in EXAMS],
        task_manager=TaskManager(include_defaults=False, metadata=where),
    )  # fmt: skip
    clear = 0
    for name in EXAMS:
        manager = TaskManager(include_defaults=False, metadata=where)
        task = manager.load([f"finance_bench_{name}"])["tasks"][f"finance_bench_{name}"]
        samples = results["samples"][f"finance_bench_{name}"]
        assert len(samples) == min(limit, len(task.test_docs()))
        for sample, doc in zip(samples, task.test_docs(), strict=False):
            assert sample["doc"] == doc
            likelihoods = [plain(task.doc_to_text(doc), option)[0] for option in doc["options"]]
            lm_eval_likelihoods = [float(resp[0][0]) for resp in sample["resps"]]
            assert lm_eval_likelihoods == pytest.approx(likelihoods, abs=1e-4)
            choice, is_clear = best(likelihoods)
            clear += is_clear
            assert not is_clear or sample["acc"] == float(choice == doc["gold_index"]), doc["item_id"]
        accuracy = sum(sample["acc"] for sample in samples) / len(samples)
        assert results["results"][f"finance_bench_{name}"]["acc,none"] == pytest.approx(accuracy)
    assert clear >= 10


# --- groups: the unweighted mean of their leaves


def leaves(results, group):
    below = results["group_subtasks"].get(group)
    return [leaf for child in below for leaf in leaves(results, child)] if below else [group]


def check_groups(results, sizes):
    for group, size in sizes.items():
        row = results["results"][group]
        below = leaves(results, group)
        scores = [results["results"][task]["score,none"] for task in below]
        assert len(below) == len(set(below)) == size
        assert [key for key in row if key.startswith("score,")] == ["score,none"]
        assert (
            row["score,none"] == pytest.approx(sum(scores) / size, abs=1e-12) and 0 <= row["score,none"] <= 1
        )
        assert results["groups"][group]["score,none"] == row["score,none"]


SIZES = {
    "finance_bench": 18,
    "finance_bench_f": 4,
    "finance_bench_fm": 5,
    "finance_bench_fj": 6,
    "finance_bench_fmj": 3,
}


def test_the_tiny_models_scores_of_a_group_are_the_mean_of_its_leaves(tiny, one_thread):
    results = simple_evaluate(
        "hf", model_args=f"pretrained={tiny}/finance", tasks=["finance_bench"], device="cpu", limit=3,
        gen_kwargs={"max_gen_toks": 12}, batch_size=8, bootstrap_iters=0,
        task_manager=TaskManager(include_defaults=False, metadata={"source": "sample"}),
    )  # fmt: skip
    check_groups(results, SIZES)
    assert results["results"]["finance_bench"]["score,none"] > 0


class Either(str):
    """An answer for both kinds of tasks: equal to the number of an option, and the text of an answer."""

    def __new__(cls, number, text):
        answer = super().__new__(cls, text)
        answer.number = number
        return answer

    def __eq__(self, other):
        return self.number == other if isinstance(other, int) else str.__eq__(self, other)

    def __ne__(self, other):
        return not self == other

    __hash__ = str.__hash__


def sometimes_right(doc):
    """Right on about two items of three."""
    wrong = draw(doc, 3) == 0
    if "gold_index" in doc:
        options = doc["options"]
        return Either(
            (doc["gold_index"] + wrong) % len(options), f"最終回答：{options[doc['gold_index'] - wrong]}"
        )
    gold = next(doc[name] for name in ("ground_truth", "label", "answer", "word") if name in doc)
    gold = "; ".join(gold) if isinstance(gold, list) else f"{gold}"
    return Either(-9, "7777777" if wrong else f"The final answer is {gold}." if draw(doc, 2) else gold)


@pytest.mark.parametrize(
    "sizes",
    [
        SIZES,
        {"finance_bench_open": 14, "finance_bench_fj": 6},
        {"finance_bench_extra": 8},
        {"finance_bench_probe": 4},
        {"finance_bench_retention": 8},
        {"finance_bench_published": 10},
    ],
    ids=lambda sizes: next(iter(sizes)),
)
def test_a_groups_score_is_the_unweighted_mean_of_its_leaves(sizes, tiny):
    where = {"source": "sample", "tokenizer": f"{tiny}/base"}
    results = evaluate(Canned(sometimes_right), next(iter(sizes)), where=where)
    check_groups(results, sizes)
    tasks = leaves(results, next(iter(sizes)))
    scores = [results["results"][task]["score,none"] for task in tasks]
    lengths = [results["n-samples"][task]["effective"] for task in tasks]
    if len(tasks) > 4:
        # finance_bench_extra has few sample rows, so some of its scores are equal.
        assert len(set(scores)) > (3 if "finance_bench_extra" in sizes else 4)
        weighted = sum(s * n for s, n in zip(scores, lengths, strict=True)) / sum(lengths)
        assert results["results"][next(iter(sizes))]["score,none"] != pytest.approx(weighted, abs=1e-3)


# --- F1: scikit-learn and seqeval, through a whole evaluation


def uneven(doc):
    """A choice that prefers the first option."""
    return min(draw(doc, 2 * len(doc["options"])), len(doc["options"]) - 1) % len(doc["options"])


@pytest.mark.parametrize("task", ["fpb", "fiqa_sa", "headline", "chabsa"])
def test_choice_f1_equals_scikit_learn(where, task):
    metrics = pytest.importorskip("sklearn.metrics")
    name = f"finance_bench_{task}"
    results = evaluate(Canned(uneven), task, where=where, limit=400)
    docs = [sample["doc"] for sample in results["samples"][name]]
    golds, preds = [doc["gold_index"] for doc in docs], [uneven(doc) for doc in docs]

    def f1(items, **options):
        gold, pred = zip(*items, strict=True)
        return metrics.f1_score(gold, pred, zero_division=0, **options)

    if task == "headline":
        questions = sorted({doc["class_id"] for doc in docs})
        by_question = [
            f1([(d["gold_index"], uneven(d)) for d in docs if d["class_id"] == q], average="weighted")
            for q in questions
        ]
        expected = sum(by_question) / len(by_question)
    elif task == "chabsa":
        expected = 1.5 * f1(list(zip(golds, preds, strict=True)), labels=[0, 1, -1], average="macro")
    else:
        expected = f1(list(zip(golds, preds, strict=True)), average="weighted")
    result = results["results"][name]
    assert result["score,none"] == pytest.approx(expected, abs=1e-12) and 0 < expected < 1
    assert result["acc,none"] == pytest.approx(metrics.accuracy_score(golds, preds), abs=1e-12)


def changed_tags(tokens, tags, number):
    """Predicted tags: whole mentions dropped, retyped or invented, by the item's number."""
    from mergekit_finance.scoring.entities import tag_spans

    changed = list(tags)
    for place, (kind, first, last) in enumerate(tag_spans(tags)):
        act = (number + place) % 5
        if act in (0, 1):
            new = "O" if act else {"PER": "I-ORG", "ORG": "I-LOC", "LOC": "I-PER"}[kind]
            changed[first : last + 1] = [new] * (last + 1 - first)
    free = [
        i for i, token in enumerate(tokens)
        if token.isalpha() and len(token) > 3 and set(tags[max(0, i - 1) : i + 2]) == {"O"}
    ]  # fmt: skip
    if number % 3 == 0 and free:
        changed[free[number % len(free)]] = "I-LOC"
    return changed


def test_entity_f1_equals_seqeval(where):
    seqeval = pytest.importorskip("seqeval.metrics")
    from mergekit_finance.data.records import read
    from mergekit_finance.data.registry import dataset
    from mergekit_finance.scoring.entities import entities_from_tags, format_entities

    places = loader.locate(dataset("fin_ner"), "default", where.get("source"), where.get("data_dir"))
    path, shown, *_ = next(place for place in places if place.split == "test")
    raw = {record.data["id"]: record.data for record in read(path, shown)}
    tags = {n: ["O" if t == "I-MISC" else t for t in r["ner_tags"]] for n, r in raw.items()}

    def predicted(doc):
        name = doc["item_id"]
        return changed_tags(raw[name]["tokens"], tags[name], draw(doc, 60))

    def say(doc):
        return f" {format_entities(entities_from_tags(raw[doc['item_id']]['tokens'], predicted(doc)))}\n"

    results = evaluate(Canned(say), "fin_ner", where=where)
    docs = [sample["doc"] for sample in results["samples"]["finance_bench_fin_ner"]]
    expected = seqeval.f1_score(
        [tags[doc["item_id"]] for doc in docs], [predicted(doc) for doc in docs], zero_division=0
    )
    assert results["results"]["finance_bench_fin_ner"]["score,none"] == pytest.approx(expected, abs=1e-12)
    assert 0 < expected < 1


# --- the plain command


@pytest.mark.slow
def test_the_plain_command_runs_all_tasks_on_the_real_rows_offline(tiny, mirror, tmp_path):
    done = commands.run(
        "lm_eval", "--model", "hf", "--model_args", f"pretrained={tiny}/base", "--device", "cpu", "--batch_size", 4,
        "--tasks", "finance_bench,finance_bench_extra", "--limit", 2, "--output_path", "out",
        "--gen_kwargs", "max_gen_toks=8", cwd=tmp_path,
        env={"FINANCE_BENCH_DATA": str(mirror), "HF_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = (tmp_path / "out").rglob("results_*.json")
    results = json.loads(path.read_text(encoding="utf-8"))
    check_groups(results, {**SIZES, "finance_bench_extra": 8})
    assert all(n["effective"] == 2 < n["original"] for n in results["n-samples"].values())
    assert sum(line.count("|score") for line in done.stdout.splitlines()) >= 22


@pytest.fixture
def gate():
    """A Hub that treats every repository as gated, for a user without a token."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def refuse(self):
            self.send_response(401)
            self.send_header("X-Error-Code", "GatedRepo")
            self.send_header("X-Error-Message", "Access to this dataset is restricted.")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD = refuse

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.slow
def test_a_gated_dataset_without_a_token_is_reported_in_one_line_in_the_plain_command(gate, tmp_path):
    done = commands.run(
        "lm_eval", "--model", "dummy", "--tasks", "finance_bench_docmath_cs", "--limit", 1, cwd=tmp_path,
        env={"HF_ENDPOINT": gate, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path), "HF_TOKEN": ""},
    )  # fmt: skip
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert done.returncode == 1 and "Traceback" not in done.stderr and len(errors) == 1, done.stderr
    assert "https://huggingface.co/datasets/yale-nlp/DocMath-Eval" in errors[0]
    assert "gated" in errors[0] and "Accept the terms" in errors[0] and "`hf auth login`" in errors[0]
    assert done.stderr.splitlines()[-1] == errors[0]


@pytest.mark.slow
def test_the_open_group_needs_no_gated_dataset(mirror, tmp_path, monkeypatch):
    """Without DocMath-Eval's rows, 14 tasks run; evaluating the whole benchmark names what is missing."""
    folder = tmp_path / "open"
    folder.mkdir()
    manifest = json.loads((mirror / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"] = {n: e for n, e in manifest["files"].items() if e["dataset"] != "docmath"}
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    for name in manifest["files"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(mirror / name, folder / name)
    monkeypatch.setenv("FINANCE_BENCH_DATA", str(folder))
    results = evaluate(Canned(sometimes_right), "finance_bench_open", limit=1)
    check_groups(results, {"finance_bench_open": 14})
    with pytest.raises(DataError, match="no rows of docmath/simpshort"):
        evaluate(Canned(sometimes_right), "finance_bench", limit=1)
