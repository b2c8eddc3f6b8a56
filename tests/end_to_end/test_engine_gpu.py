"""MergeSession on real GPUs: the same bytes as on the CPU, for any memory limit and number of devices."""

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.merging import WORDS, random_models, raw, recipe, write_tokenizer

from mergekit_finance.errors import ModelError
from mergekit_finance.merging.session import MergeSession

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
NAMES = ("base", "finance", "math")
POINTS: dict[str, list[dict[str, Any]]] = {
    "cpt_task_arithmetic": [{"lambda_": 0.3}, {"lambda_": 1.0, "weight": {"math": 0.5}}],
    "cpt_ties": [{"density": 0.2}, {"density": 0.7, "lambda_": 0.5}, {"density": {"math": 0.9}}],
    "cpt_dare_ties": [{"density": 0.2, "seed": 3}, {"density": 0.6, "weight": 0.4}],
}
CASES = [("cpt_task_arithmetic", "paper"), ("cpt_task_arithmetic", "mergekit"), ("cpt_ties", "paper"),
         ("cpt_ties", "mergekit"), ("cpt_dare_ties", "paper")]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 million parameters in bf16, 40 MB a model."""
    place = tmp_path_factory.mktemp("models")
    shape = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 4, "vocab_size": 2048}
    random_models(place, dtypes=dict.fromkeys(NAMES, torch.bfloat16), scale=1e-4, **shape)
    for name in NAMES:
        write_tokenizer(place / name, WORDS)
    return place


def settings_of(folder: Path, method: str, semantics: str) -> dict[str, Any]:
    each = {} if method == "cpt_task_arithmetic" else {"density": 0.4}
    settings = recipe(folder, method, ("finance", "math"), each=each, semantics=semantics)
    return {**settings, "out_dtype": "bfloat16"}


def points(session: MergeSession, method: str) -> Iterator[dict[str, bytes]]:
    """The model's bytes at every point, densities prepared at once."""
    grid = [p["density"] for p in POINTS[method] if isinstance(p.get("density"), float)]
    session.prepare(density=grid)
    for point in POINTS[method]:
        model = session.apply(**point)
        yield {name: raw(tensor.data.cpu()) for name, tensor in model.named_parameters()}


def assert_same(settings: dict[str, Any], **where: Any) -> None:
    method = settings["merge_method"]
    with MergeSession.open(settings) as session:
        expected = list(points(session, method))
    with MergeSession.open(settings, **where) as session:
        for merged, reference in zip(points(session, method), expected, strict=True):
            assert merged == reference


@contextmanager
def at_most(megabytes: int) -> Iterator[None]:
    """A GPU with little memory beside what this process holds: torch's allocator refuses more, as a full one does."""
    gc.collect()  # free tensors that the traceback of a failed test refers to
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(
        (torch.cuda.memory_reserved(0) + megabytes * (1 << 20))
        / torch.cuda.get_device_properties(0).total_memory
    )
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


@pytest.mark.parametrize("method,semantics", CASES)
def test_points_have_the_bytes_of_the_cpu(method: str, semantics: str, folder: Path) -> None:
    assert_same(settings_of(folder, method, semantics), device="cuda")


@pytest.mark.parametrize("method,semantics", CASES)
def test_points_on_several_gpus_have_the_bytes_of_the_cpu(method: str, semantics: str, folder: Path) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    assert_same(settings_of(folder, method, semantics), device=devices)


@pytest.mark.parametrize("method,semantics", CASES)
def test_tensors_that_do_not_fit_are_streamed(
    method: str, semantics: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with at_most(120), caplog.at_level(logging.WARNING):  # the model and one or two of three constituents
        assert_same(settings_of(folder, method, semantics), device="cuda")
    assert "ran out of memory" in caplog.text and "streamed" in caplog.text


@pytest.mark.parametrize("method,semantics", CASES)
def test_a_session_continues_if_another_process_takes_the_memory(
    method: str, semantics: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Constituents fit, but then there is no memory left to prepare and merge points."""
    settings = settings_of(folder, method, semantics)
    with MergeSession.open(settings) as session:
        expected = list(points(session, method))
    with at_most(260), caplog.at_level(logging.WARNING):
        with MergeSession.open(settings, device="cuda", merged=False) as session:
            taken = _fill()
            assert list(points(session, method)) == expected
            del taken


def _fill() -> list[torch.Tensor]:
    """Allocate all free memory, in pieces down to 64 KB."""
    taken, size = [], 64 << 20
    while size >= 64 << 10:
        try:
            taken.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
        except torch.OutOfMemoryError:
            size //= 2
    return taken


def test_a_gpu_that_cannot_hold_the_model_is_named(folder: Path) -> None:
    with at_most(20), pytest.raises(ModelError, match="cuda.*cannot hold the merged model itself"):
        MergeSession.open(settings_of(folder, "cpt_ties", "paper"), device="cuda")
