"""Studies of made-up scores: two experts, one lambda, so three points."""

import numpy as np

from helpers import study as helpers
from mergekit_finance.study.analysis.summary import summary
from mergekit_finance.study.results import load_results
from mergekit_finance.study.schema import Summary

MODELS = ("base", "finance", "math")
POINTS = ("stage1-finance-ta-lambda0.5", "stage1-math-ta-lambda0.5", "stage2-finance-math-ta-lambda0.5")
PAIR = POINTS[2]
SAME = {"same_items": True}
RETENTION = {"kind": "retention", "skills": []}


def build(tmp_path, tables, tasks=None, **changes):
    """Write a study folder and read it. tables: task -> model or point -> each item's score."""
    study = helpers.content(".", tasks=list(tables), limit=None, **changes)
    helpers.synthetic(tmp_path, study, tables, tasks)
    return load_results(tmp_path, finished=False)


def shares(items, **right):
    """Model or point -> scores of which the first `right` are 1. Points: s1f, s1m, pair; default 0."""
    counts = dict.fromkeys(("base", "finance", "math", "s1f", "s1m", "pair"), 0) | right
    names = dict(zip((*MODELS, *POINTS), ("base", "finance", "math", "s1f", "s1m", "pair"), strict=True))
    return {full: np.arange(items) < counts[short] for full, short in names.items()}


def noisy(tmp_path, seed=0):
    """Two tasks of 150 coin flips a model."""
    rng = np.random.default_rng(seed)
    tables = {t: {name: rng.random(150) < 0.5 for name in (*MODELS, *POINTS)} for t in ("a", "b")}
    return build(tmp_path, tables)


STORED: list[Summary] = []


def noisy_summary(tmp_path):
    """The summary of `noisy`, computed once in this process; a test may change it."""
    if not STORED:
        STORED.append(summary(noisy(tmp_path).folder))
    return STORED[0].model_copy(deep=True)


def lines(summary, about):
    """Return the sentences of the verdict on one subject, such as `recovery`."""
    return [sentence.text for sentence in summary.verdict if sentence.about == about]
