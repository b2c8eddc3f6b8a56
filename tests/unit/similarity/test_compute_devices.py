"""Memory of devices, with a simulated GPU."""

import pytest
import torch

from mergekit_finance.errors import ModelError
from mergekit_finance.similarity import measures
from mergekit_finance.similarity.compute import compute_similarity


@pytest.fixture
def simulated_gpu(monkeypatch):
    """A device "cuda:3" whose memory is the CPU's and holds `limit` elements per buffer; records the requested buffers."""
    requested, original = [], measures.Workspace.__init__

    def make(space, count, span, block, device, everything):
        requested.append((device, span))
        if span > make.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        original(space, count, span, block, "cpu", everything)

    make.limit, make.requested = measures.GPU_SPAN, requested
    monkeypatch.setattr(measures.Workspace, "__init__", make)
    monkeypatch.setattr("mergekit_finance.similarity.compute._check", lambda *_: None)
    return make


def floats(value):
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from floats(part)
    else:
        yield value


def test_a_gpu_works_in_larger_spans_with_the_same_result(family, simulated_gpu):
    folders, _ = family
    arguments = folders["base"], [folders["a"], folders["b"]]
    measured, requested = compute_similarity(*arguments, "cuda:3").as_json(), list(simulated_gpu.requested)
    assert requested == [("cuda:3", measures.GPU_SPAN)] * 2
    for mine, theirs in zip(floats(measured), floats(compute_similarity(*arguments).as_json()), strict=True):
        assert mine == (pytest.approx(theirs, rel=1e-12) if isinstance(theirs, float) else theirs)
    assert simulated_gpu.requested[-1] == ("cpu", measures.SPAN)


def test_a_device_with_little_memory_gets_smaller_spans(family, simulated_gpu, caplog):
    folders, _ = family
    simulated_gpu.limit = measures.SPAN
    compute_similarity(folders["base"], [folders["a"]], "cuda:3")
    assert f"cuda:3 ran out of memory: measuring {measures.SPAN} elements at a time" in caplog.text
    assert simulated_gpu.requested[-1] == ("cuda:3", measures.SPAN)


def test_a_device_without_memory_is_named(family, simulated_gpu):
    folders, _ = family
    simulated_gpu.limit = 0
    with pytest.raises(ModelError, match=r"cuda:3 ran out of memory\. Use --device cpu"):
        compute_similarity(folders["base"], [folders["a"]], "cuda:3")
