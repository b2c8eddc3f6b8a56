"""A model whose answers a test states, and outputs of many forms for it."""

import hashlib
from pathlib import Path

import pytest
from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager


class Canned(LM):
    """A model that answers with `say(document)`: the number of an option, or a text."""

    def __init__(self, say):
        super().__init__()
        self.say = say

    def loglikelihood(self, requests):
        return [(-1.0 - (request.idx != self.say(request.doc)), False) for request in requests]

    def generate_until(self, requests):
        return [self.say(request.doc) for request in requests]

    def loglikelihood_rolling(self, requests):
        raise AssertionError("no task of this benchmark asks for rolling likelihoods")


def draw(doc, count):
    """A number below `count`, the same for a document at each call."""
    return int.from_bytes(hashlib.sha256(f"{doc['item_id']}".encode()).digest()[:4], "big") % count


def evaluate(model, *tasks, where=None, **options):
    manager = TaskManager(include_defaults=False, metadata=where)
    names = [f"finance_bench_{t}" if isinstance(t, str) and "finance" not in t else t for t in tasks]
    return simple_evaluate(model, tasks=names, task_manager=manager, **{"bootstrap_iters": 0, **options})


def jfinqa_output(doc):
    """Outputs of many shapes: right, near, wrong, labelled, with signs and widths, empty."""
    gold = doc["answer"]
    wide = gold.translate({ord(a): chr(ord(a) + 0xFEE0) for a in "0123456789.%-"})
    shapes = [
        f" {gold}", f"Answer: {gold}", f"計算する。\n回答：{gold}", f"First 3.\nThen {gold}", f" {wide}", "",
        "分からない", f" {gold}した", f" {gold.replace('-', '△')}", f" {gold.lstrip('-')}", f" 約{gold}",
        f" {gold.rstrip('%')}", f" 12{gold}", f" {gold}、{gold}", " 1,234百万円",
        f"Answer: {gold}\n\nQuestion: 5", f" {gold}です。",
    ]  # fmt: skip
    try:
        value = float(gold.rstrip("%"))
        shapes += [f" {value * 1.0099:.6f}%", f" {value * 1.01005:.6f}", f" {value * 0.9901:.6f}"] * 3
    except ValueError:
        pass
    return shapes[draw(doc, len(shapes))]


def builtin_jfinqa(name, rows):
    """lm-eval's own task with our rows; the test is skipped where there is none (0.5.0.dev1)."""
    utils = pytest.importorskip("lm_eval.tasks.jfinqa.utils")
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    path = Path(utils.__file__).with_name(f"jfinqa_{name}.yaml")
    config = load_yaml(path, resolve_func=True)
    assert (
        config["dataset_path"] == "ajtgjmdjp/jfinqa"
        and config["process_results"].__name__ == "process_results"
    )
    return ConfigurableTask(config={**config, "custom_dataset": lambda **_: {"test": rows}})


def best(values):
    """The first of the largest values; near ties would make the comparison random."""
    first, second = sorted(values, reverse=True)[:2]
    return values.index(first), first - second > 1e-4
