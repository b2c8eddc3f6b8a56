"""`finance_bench_published`: its scores are those of the published evaluations, computed here in another way."""

import ast
import math
import re
from collections import defaultdict

import pytest
from helpers.canned import Canned, best, builtin_jfinqa, draw, evaluate, jfinqa_output
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from mergekit_finance import registration
from mergekit_finance.data import loader
from mergekit_finance.errors import DataError

registration.register()


@pytest.mark.parametrize("task", ["fpb", "fiqa_sa", "headline"])
def test_choices_per_token_and_their_f1_equal_a_direct_likelihood_computation(
    tiny, plain, where, one_thread, task
):
    """AdaptLLM's choice, and the scikit-learn F1 that AdaptLLM computes of it."""
    metrics = pytest.importorskip("sklearn.metrics")
    ours, published = f"finance_bench_{task}", f"finance_bench_{task}_published"
    results = simple_evaluate(
        "hf", model_args=f"pretrained={tiny}/finance,dtype=float32", device="cpu", limit=12,
        bootstrap_iters=0, batch_size=4, tasks=[ours, published],
        task_manager=TaskManager(include_defaults=False, metadata={**where, "pretrained": f"{tiny}/finance"}),
    )  # fmt: skip
    clear, questions = 0, defaultdict(list)  # of each question: gold options and choices
    for sample in results["samples"][ours]:
        doc, prompt = sample["doc"], sample["arguments"][0][0]
        options = [plain(prompt, f" {option}") for option in doc["options"]]
        assert doc["option_tokens"] == [length for _, length in options]
        choice, is_clear = best([likelihood / length for likelihood, length in options])
        clear += is_clear
        choice = choice if is_clear else sample["f1_token"][-1]
        assert sample["acc_token"] == float(choice == doc["gold_index"])
        questions[doc.get("class_id")].append((doc["gold_index"], choice))
    f1 = [metrics.f1_score(*zip(*pairs, strict=True), average="weighted") for pairs in questions.values()]
    assert results["results"][ours]["f1_token,none"] == pytest.approx(sum(f1) / len(f1), abs=1e-12)
    assert results["results"][published]["score,none"] == results["results"][ours]["f1_token,none"]
    assert results["results"][published]["correct,none"] == results["results"][ours]["acc_token,none"]
    assert clear > 5


def test_the_documented_settings_cut_prompts_as_adaptllm_does(tiny, monkeypatch, one_thread):
    """To the last `max_length` - 100 tokens; a short `max_length` stands for 2,048 here."""
    from lm_eval.models.huggingface import HFLM

    contexts, encode = [], HFLM.tok_batch_encode

    def recorded(self, strings, *args, **kwargs):
        ids, mask = encode(self, strings, *args, **kwargs)
        contexts.append((self.tokenizer(strings[0], add_special_tokens=False)["input_ids"], ids[0].tolist()))
        return ids, mask

    monkeypatch.setattr(HFLM, "tok_batch_encode", recorded)
    simple_evaluate(
        "hf", model_args=f"pretrained={tiny}/base,add_bos_token=False,max_length=120", device="cpu", limit=1,
        tasks=["finance_bench_fin_ner_published"], bootstrap_iters=0,
        task_manager=TaskManager(include_defaults=False, metadata={"source": "sample"}),
    )  # fmt: skip
    ((whole, cut),) = contexts
    assert len(whole) > 20 and cut == whole[-20:]


def test_choices_without_a_tokenizer_are_one_error():
    with pytest.raises(DataError, match="number of tokens of each option"):
        evaluate(Canned(lambda doc: 0), "fpb_published", where={"source": "sample"})


@pytest.mark.parametrize("name", ["numerical", "consistency", "temporal"])
def test_jfinqa_published_equals_the_builtin_task(where, name):
    ours, theirs = f"finance_bench_jfinqa_{name}_published", f"jfinqa_{name}"
    subset = {"numerical": "numerical_reasoning", "consistency": "consistency_checking"}
    rows = loader.load("jfinqa", subset.get(name, "temporal_reasoning"), **where)["test"]
    results = evaluate(Canned(jfinqa_output), ours, builtin_jfinqa(name, rows), where=where)
    for a, b in zip(results["samples"][ours], results["samples"][theirs], strict=True):
        assert a["arguments"][0][0] == b["arguments"][0][0]  # the prompt
        settings = a["arguments"][0][1], b["arguments"][0][1]
        assert [{k: s[k] for k in ("until", "max_gen_toks", "do_sample")} for s in settings] == [
            {"until": ["\n\n", "Question:"], "max_gen_toks": 256, "do_sample": False}
        ] * 2
        assert (a["score"], a["exact_match"]) == (b["numerical_match"], b["exact_match"])
    ours, theirs = results["results"][ours], results["results"][theirs]
    assert ours["score,none"] == theirs["numerical_match,none"] and 0 < ours["score,none"] < 1


def nereval_f1(gold, predicted):
    """nereval's F1 of one sentence with all entities at position 0, as AdaptLLM calls it."""

    def entities(text):
        pairs = re.findall(r"([^\s]+[\s]+)(\([^\s]+\))", text)
        return list(dict.fromkeys((name[:-1], kind[1:-1]) for name, kind in pairs))

    golds, predictions, points = entities(gold), entities(predicted), 0
    for name, kind in golds:
        matches = [(other == name) + (other_kind == kind) for other, other_kind in predictions]
        points += next((match for match in matches if match), 0)
    if not points:
        return 0.0
    precision, recall = points / (2 * len(predictions)), points / (2 * len(golds))
    return 2 * precision * recall / (precision + recall)


def ner_output(doc):
    """The gold entities, some left out, renamed or of another type."""
    kept = [(name, kind) for name, kind in doc["entities"] if draw({"item_id": doc["item_id"] + name}, 4)]
    changed = [(name, "LOC" if draw({"item_id": name}, 5) == 0 else kind) for name, kind in kept]
    return " " + ", ".join(f"{name} ({kind})" for name, kind in changed)


def test_fin_ner_published_equals_nerevals_rule(where):
    results = evaluate(Canned(ner_output), "fin_ner_published", where=where)
    task = "finance_bench_fin_ner_published"
    expected = []
    for sample in results["samples"][task]:
        doc = sample["doc"]
        gold = doc.get("label") or ", ".join(f"{name} ({kind})" for name, kind in doc["entities"])
        expected.append(nereval_f1(gold, ner_output(doc)))
        assert sample["score"] == pytest.approx(expected[-1])
    assert results["results"][task]["score,none"] == pytest.approx(sum(expected) / len(expected))
    assert 0 < sum(expected) < len(expected)


def adaptllm_right(gold, output):
    """AdaptLLM's rule for ConvFinQA; a numeral that Python does not evaluate is infinite."""

    def numbers(text):
        pattern = r"[-+]?[.]?[\d]+(?:,\d\d\d)*[\.]?\d*(?:[eE][-+]?\d+)?[%]*"
        for numeral in re.findall(pattern, text.split("\n")[0].strip()):
            digits = numeral.replace(",", "").rstrip("%")
            try:
                yield ast.literal_eval(digits) / 100 ** numeral.count("%")
            except SyntaxError:  # "05"
                yield math.inf

    golds = list(numbers(gold))
    return bool(golds) and any(abs(number - golds[0]) <= 0.01 for number in numbers(output))


def convfinqa_output(doc):
    gold = doc["answer"]
    shapes = [
        f" {gold}", f" It was {gold} in 2018.", f"\n{gold}", f" 0{gold}", f" 3, {gold}", " 0", " yes", "", f" -{gold}",
        f" {gold.rstrip('%')}", f" {gold}%", f" {gold}1", f" {gold}\n\nQuestion: 5",
    ]  # fmt: skip
    return shapes[draw(doc, len(shapes))]


def test_convfinqa_published_equals_adaptllms_rule(where):
    results = evaluate(Canned(convfinqa_output), "convfinqa_published", where=where)
    samples = results["samples"]["finance_bench_convfinqa_published"]
    for sample in samples:
        doc, settings = sample["doc"], sample["arguments"][0][1]
        assert sample["score"] == adaptllm_right(doc["answer"], convfinqa_output(doc)), convfinqa_output(doc)
        assert (settings["until"], settings["max_gen_toks"], settings["do_sample"]) == (["\n"], 100, False)
    assert 0 < sum(sample["score"] for sample in samples) < len(samples)


def docmath_right(gold, number):
    """The rule of DocMath-Eval's repository for an extracted number."""
    high, low = sorted([abs(gold), abs(number)], reverse=True)
    if low > 0 and math.log10(high / low) == math.trunc(math.log10(high / low)):
        return True
    scaled = [low * factor for factor in (100, 1000, 100000) if low <= high * 2 / factor]
    if any(abs(value - high) <= high * 0.0015 for value in scaled):
        return True
    return math.ceil(high * 1000) == math.ceil(low * 1000) or abs(number - gold) <= abs(gold) * 0.0015


def docmath_number(doc):
    factors = [1, -1, 10, 0.01, 100, 1000, 1e5, 1.0012, 0.9987, 1.002, 1.1, 7, 100.1, 0, 0.00999]
    return float(f"{doc['ground_truth'] * factors[draw(doc, len(factors))]:.6f}")


@pytest.mark.parametrize("subset", ["ss", "cs"])
def test_docmath_published_equals_the_repositorys_rule(where, subset):
    def say(doc):
        return f"A step. Therefore, the answer is {docmath_number(doc):f}."

    results = evaluate(Canned(say), f"docmath_{subset}_cot_published", where=where)
    samples = results["samples"][f"finance_bench_docmath_{subset}_cot_published"]
    for sample in samples:
        number, gold = docmath_number(sample["doc"]), sample["doc"]["ground_truth"]
        assert sample["score"] == docmath_right(gold, number), (gold, number)
    assert len(samples) < 20 or 0.2 < sum(sample["score"] for sample in samples) / len(samples) < 0.9
