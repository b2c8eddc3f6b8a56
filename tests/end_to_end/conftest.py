"""Fixtures of the studies' tests: a finished study, copies to change, and a count of what is evaluated."""

import shutil

import pytest
from helpers import share as share_helpers
from helpers import study as helpers

from mergekit_finance.evaluation.evaluator import Evaluator


@pytest.fixture(scope="session")
def finished_study(tiny, tmp_path_factory):
    """A finished study of three models and three points, to look at or copy."""
    out = tmp_path_factory.mktemp("study") / "out"
    helpers.go(tiny, out)
    return out


@pytest.fixture
def study_copy(finished_study, tmp_path):
    """A copy of the finished study that a test may change."""
    shutil.copytree(finished_study, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def evaluated(monkeypatch):
    """Names of what is scored in this process, as it happens; `asked` tells whether a model responded."""
    names, measure = [], Evaluator.measure

    def counted(self, model, name, *items):
        names.append(name.rsplit("/", 1)[-1])
        return measure(self, model, name, *items)

    monkeypatch.setattr(Evaluator, "measure", counted)
    return names


@pytest.fixture
def figures_drawn_once(monkeypatch):
    """Cards of studies with the same results share their pictures, which take 1 s of CPU time to draw."""
    monkeypatch.setattr("mergekit_finance.report.figures.draw_all", share_helpers.draw_once)


@pytest.fixture
def models_copy(tiny, tmp_path):
    """Models that a test may change."""
    shutil.copytree(tiny, tmp_path / "own")
    return tmp_path / "own"


@pytest.fixture
def command(tiny, tmp_path):
    """The command in this process, as click's own runner gives it."""
    from click.testing import CliRunner

    from mergekit_finance.cli import main

    def call(*args, **changes):
        path = helpers.write(tmp_path / "study.yml", tiny, **changes)
        where = [] if "--help" in args else [str(path)]
        return CliRunner().invoke(main, ["study", *args[:1], *where, *args[1:]] if args[:1] == ("plan",) else ["study", *where, *args])  # fmt: skip

    return call


@pytest.fixture
def one_thread():
    """One torch thread: more make a tiny model slower when other processes use the cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=["sample", "real"])
def where(request):
    """Metadata that says where rows come from: those of the project, and the real ones if they are there."""
    if request.param == "sample":
        return {"source": "sample"}
    return {"data_dir": str(request.getfixturevalue("mirror"))}


@pytest.fixture(scope="session")
def plain(tiny):
    """Log-likelihood of an option after a prompt, and the option's number of tokens; no lm-eval in it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny / "finance")
    model = AutoModelForCausalLM.from_pretrained(tiny / "finance", dtype=torch.float32).eval()

    def likelihood(prompt, option):
        ids = tokenizer(prompt + option, return_tensors="pt")["input_ids"]
        start = len(tokenizer(prompt)["input_ids"])
        with torch.no_grad():
            logits = model(ids).logits[0].log_softmax(-1)
        return sum(logits[i - 1, ids[0, i]].item() for i in range(start, ids.shape[1])), ids.shape[1] - start

    return likelihood
