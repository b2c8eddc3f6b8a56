"""Rows and prompts of the benchmark's tasks, and a model that answers nothing."""

import json

import yaml
from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate

from mergekit_finance.data.adapters import adapter
from mergekit_finance.data.records import Record
from mergekit_finance.scoring.answers import direct_number
from mergekit_finance.scoring.tatqa import tatqa_match


def rows(name, *test, train=()):
    """The rows that an adapter makes of raw records."""
    records = {"test": [Record(data, "test.jsonl", n) for n, data in enumerate(test, 1)]}
    if train:
        records["train"] = [Record(data, "train.jsonl", n) for n, data in enumerate(train, 1)]
    return adapter(name)(records)


def jsonl(path):
    """The records of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def task_yaml(path):
    """A task's YAML with the names of its functions as text, without resolving them."""
    return yaml.load(path.read_text(encoding="utf-8"), _NamesOnly)


class _NamesOnly(yaml.SafeLoader): ...


_NamesOnly.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def tatqa_matches(output, doc):
    """Return whether a line without reasoning is the gold answer of a TAT-QA question."""
    return tatqa_match(output, direct_number(output, str(doc.get("question", ""))), doc)


class SilentModel(LM):
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
        raise AssertionError("no task of ours asks for rolling likelihoods")


def run_silent(manager, *tasks, **options):
    """Evaluate a SilentModel on tasks; returns the prompts that it saw and lm-eval's results."""
    model = SilentModel()
    options = {"bootstrap_iters": 0, **options}
    names = [f"finance_bench_{task}" for task in tasks]
    evaluated = simple_evaluate(model, tasks=names, task_manager=manager, **options)
    return model.prompts, evaluated["results"]
