"""A disk or a device without room while a study runs: one line, work is kept, and the next run asks for the rest."""

import errno

import pytest
import torch
from helpers import study as helpers

from mergekit_finance.evaluation import answer_store
from mergekit_finance.evaluation.inference.compiled_lm import CompiledLM
from mergekit_finance.evaluation.live_models import LiveModels

MORE = {"operators": {"task_arithmetic": {"lambda": [0.5, 0.25]}}}  # 3 models that are not stored


def full_disk(monkeypatch):
    """The disk is full from the second file of answers on."""
    written, write_part = [], answer_store.write_part

    def write(folder, answers):
        written.append(folder)
        if len(written) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_part(folder, answers)

    monkeypatch.setattr(answer_store, "write_part", write)


def no_memory_for_a_batch(monkeypatch):
    """The device holds the models, and the choices, but not one generated answer."""

    def generate(self, requests, disable_tqdm=False):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(CompiledLM, "generate_until", generate)


def no_memory_for_a_model(monkeypatch):
    """The device does not hold the model."""

    def wrap(self, model, tokenizer, models=1):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(LiveModels, "wrap", wrap)


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (full_disk, "cannot be written (No space left on device); finished work is kept"),
        (no_memory_for_a_batch, "cpu: out of memory with one request at a time; finished work is kept"),
        (
            no_memory_for_a_model,
            "cpu is out of memory (CUDA out of memory. Tried to allocate 2 GiB); finished work",
        ),
    ],
    ids=["disk", "batch", "model"],
)
def test_no_room_is_one_line_and_the_next_run_asks_for_the_rest(
    command, study_copy, monkeypatch, fault, line
):
    before = helpers.stamps(study_copy)
    with monkeypatch.context() as patched:
        fault(patched)
        done = command("-o", str(study_copy), "--quiet", **MORE)
    assert done.exit_code == 1 and "Traceback" not in done.output
    (error,) = [one for one in done.output.splitlines() if one.startswith("Error:")]
    assert line in error
    assert not helpers.leftovers(study_copy) and before.items() <= helpers.stamps(study_copy).items()
    again = command("-o", str(study_copy), "--quiet", **MORE)
    assert again.exit_code == 0, again.output
    assert before.items() <= helpers.stamps(study_copy).items() and len(helpers.stamps(study_copy)) == 9
