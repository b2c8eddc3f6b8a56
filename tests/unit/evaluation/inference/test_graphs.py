"""Decoding steps are captured where that repays; where they cannot be, answers are the same. No GPU is needed."""

import logging

import pytest
import torch
from helpers import lm_requests
from transformers import AutoModelForCausalLM, AutoTokenizer

from mergekit_finance.evaluation.inference import generation, graphs
from mergekit_finance.evaluation.inference.compiled_lm import CompiledLM
from mergekit_finance.lab.copy_models import WEIGHTS

PROMPTS = ["Rent rose to 5.", "The bank", "Profit was 3 and", "Costs fell", "A loss of 2"]


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(WEIGHTS / "base", dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(WEIGHTS / "base")


@pytest.fixture(scope="module")
def expected(model, tokenizer):
    """The answers without captured steps."""
    return texts(model, tokenizer)[0]


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Let the CPU take part as a device that can capture."""

    def used(device):
        one = graphs.StepGraphs(device)
        one.used = "cpu" not in graphs._unable
        return one

    monkeypatch.setattr(generation, "StepGraphs", used)
    monkeypatch.setattr(graphs, "_unable", set())
    monkeypatch.setattr(graphs, "_reported", set())


def texts(model, tokenizer, models=1):
    """The answers of an engine whose memory serves so many models, and the engine."""
    lm = CompiledLM(pretrained=model, tokenizer=tokenizer, batch_size=3)
    lm.models = models
    settings = {"until": ["\n\n"], "max_gen_toks": 24}
    requests = [
        lm_requests.request("generate_until", (prompt, settings), n) for n, prompt in enumerate(PROMPTS)
    ]
    return lm.generate_until(requests, disable_tqdm=True), lm


def captured(step, pool, device):
    """What a capture leaves behind: the step has run twice."""
    step()
    step()
    return step


def test_captured_steps_give_the_same_answers(expected, model, tokenizer, as_on_a_gpu, monkeypatch):
    monkeypatch.setattr(graphs, "capture", captured)
    answers, lm = texts(model, tokenizer, models=20)
    assert answers == expected
    assert lm._generator.graphs.count > 0 and lm.seconds_capturing > 0


@pytest.mark.parametrize(
    ("error", "is_permanent"),
    [
        (RuntimeError("operation not permitted\nwhen capturing"), True),
        (torch.OutOfMemoryError("out of memory"), False),
    ],
)
def test_a_capture_that_fails_is_one_line_and_changes_no_answer(
    expected, model, tokenizer, as_on_a_gpu, monkeypatch, caplog, error, is_permanent
):
    def fails(step, pool, device):
        step()  # as a step that runs before the capture
        raise error

    monkeypatch.setattr(graphs, "capture", fails)
    with caplog.at_level(logging.WARNING):
        assert [texts(model, tokenizer, models=20)[0] for _ in range(2)] == [expected, expected]
    lines = [record.getMessage() for record in caplog.records if "captured" in record.getMessage()]
    assert len(lines) == 1 and "\n" not in lines[0]
    assert lines[0].startswith("cpu: decoding steps cannot be captured (")
    assert ("cpu" in graphs._unable) is is_permanent


def test_few_steps_are_not_captured(model, tokenizer, as_on_a_gpu, monkeypatch):
    """A capture costs as much as some steps; they are counted for each size, over all expected models."""
    calls = []
    monkeypatch.setattr(graphs, "capture", lambda *arguments: calls.append(1) or captured(*arguments))
    one = graphs.StepGraphs(torch.device("cpu"))
    one.used = True
    for steps, expected in ((8, 0), (8, 0), (1, 1), (8, 1)):  # the 17th step of this size
        one.step((4, 128), steps, lambda: None, [])
        assert len(calls) == expected
    one.models = 20
    one.step((4, 160), 1, lambda: None, [])
    assert len(calls) == 2


def test_a_step_is_captured_on_its_own_gpu(monkeypatch):
    """Streams of another GPU would not capture its work. The parts of torch.cuda are stand-ins."""
    current = ["cuda:0"]

    class On:
        def __init__(self, device):
            self.device = device

        def __enter__(self):
            current.append(self.device)

        def __exit__(self, *error):
            current.pop()

    class Stream:
        def __init__(self):
            self.device = current[-1]

        def wait_stream(self, other):
            assert other.device == self.device

    class Graph:
        def replay(self):
            pass

    def capturing(graph, pool, stream):
        assert stream.device == current[-1]
        return On(stream.device)

    for name, part in {"device": On, "Stream": Stream, "current_stream": Stream, "CUDAGraph": Graph}.items():
        monkeypatch.setattr(torch.cuda, name, part)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: On(stream.device))
    monkeypatch.setattr(torch.cuda, "graph", capturing)
    devices = []
    graphs.capture(lambda: devices.append(current[-1]), None, "cuda:1")
    assert devices == ["cuda:1", "cuda:1"] and current == ["cuda:0"]
