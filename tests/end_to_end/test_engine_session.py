"""MergeSession: its points are what mergekit's run_merge writes, bit for bit, in a live model."""

import gc
import logging
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.merging import edit, permuted, raw, recipe, run
from helpers.sessions import NAMES, assert_is_written, at, models, settings_of
from transformers import AutoModelForCausalLM

from mergekit_finance.errors import ModelError, RecipeError
from mergekit_finance.merging import placement
from mergekit_finance.merging.compare import OPERATORS
from mergekit_finance.merging.session import MergeSession

pytestmark = pytest.mark.usefixtures("one_thread")
BF16 = torch.bfloat16
POINTS: dict[str, list[dict[str, Any]]] = {
    "cpt_task_arithmetic": [{"lambda_": 0.3}, {"lambda_": 1.0, "weight": {"math": 0.5}}, {"lambda_": -0.7}],
    "cpt_ties": [{"density": 0.2}, {"density": 1.0, "lambda_": 0.5}, {"density": {"math": 0.7}}],
    "cpt_dare_ties": [{"density": 0.2, "seed": 3}, {"density": 1.0}, {"density": 0.6, "weight": 0.4}],
}


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("semantics", ["paper", "mergekit"])
@pytest.mark.parametrize("method", OPERATORS)
def test_points_equal_what_run_merge_writes(method: str, semantics: str, tied: bool, tmp_path: Path) -> None:
    folder = models(tmp_path / "m", tie_word_embeddings=tied, dtypes=dict.fromkeys(NAMES, BF16), scale=1e-4)
    settings = {**settings_of(folder, method, semantics), "out_dtype": "bfloat16"}
    with MergeSession.open(settings) as session:
        assert_is_written(session, settings, tmp_path / "first")
        pointers = {n: p.data_ptr() for n, p in session.model.named_parameters()}
        for i, point in enumerate(POINTS[method]):
            assert session.apply(**point) is session.model
            assert_is_written(session, at(settings, point), tmp_path / str(i))
        session.apply()
        assert_is_written(session, settings, tmp_path / "again")
        assert {n: p.data_ptr() for n, p in session.model.named_parameters()} == pointers
        assert session.tokenizer("w1 w2")["input_ids"] == [1, 2]


@pytest.mark.parametrize("owners", [("math",), NAMES], ids=["one expert", "all"])
@pytest.mark.parametrize("method", OPERATORS)
def test_heads_that_a_config_ties_are_merged_apart_where_they_differ(
    method: str, owners: tuple[str, ...], tmp_path: Path
) -> None:
    """As transformers loads them: what is written to disk has both, and is loaded untied."""
    folder = models(tmp_path / "m", tie_word_embeddings=True)
    for factor, name in enumerate(owners, 2):
        edit(folder / name, lambda w, f=factor: {**w, "lm_head.weight": w["model.embed_tokens.weight"] * f})
    settings = settings_of(folder, method, "paper")
    with MergeSession.open(settings) as session:
        session.apply(lambda_=0.7)
        changed = at(settings, {"lambda_": 0.7})
        assert_is_written(session, changed, tmp_path / "out")
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
        tokens = torch.tensor([[1, 2, 3]])
        assert torch.equal(session.model(tokens).logits, loaded(tokens).logits)
        assert session.model.lm_head.weight is not session.model.model.embed_tokens.weight


@pytest.mark.parametrize("method", OPERATORS)
@pytest.mark.parametrize("out_dtype", [None, "float16"])
def test_points_of_models_of_mixed_dtypes_equal_what_run_merge_writes(
    method: str, out_dtype: str | None, tmp_path: Path
) -> None:
    folder = models(tmp_path / "m", dtypes={"base": BF16, "math": torch.float16})
    settings = settings_of(folder, method, "paper", dtype=None)
    settings |= {"out_dtype": out_dtype} if out_dtype else {}
    with MergeSession.open(settings) as session:
        for i, point in enumerate(POINTS[method]):
            session.apply(**point)
            assert_is_written(session, at(settings, point), tmp_path / str(i))


@pytest.mark.parametrize("semantics", ["paper", "mergekit"])
@pytest.mark.parametrize("method", OPERATORS)
def test_bfloat16_numbers_stored_as_float32_give_the_same_bytes(
    method: str, semantics: str, tmp_path: Path
) -> None:
    """Cuts split ties here, and float32 inputs are views of the files: neither may be written to."""
    shape = {"hidden_size": 256, "intermediate_size": 512, "vocab_size": 1024}
    narrow = models(tmp_path / "bf16", dtypes=dict.fromkeys(NAMES, BF16), scale=1e-4, **shape)
    wide = shutil.copytree(narrow, tmp_path / "float32")
    for name in NAMES:
        edit(wide / name, lambda weights: {n: t.float() for n, t in weights.items()})
    results = []
    for folder in (narrow, wide):
        settings = {**settings_of(folder, method, semantics), "out_dtype": "float32"}
        with MergeSession.open(settings, merged=False) as session:
            # All points in one session: state that one point left would change the next.
            for point in POINTS[method]:
                session.apply(**point)
            results.append({n: raw(p.data) for n, p in session.model.named_parameters()})
            assert_is_written(session, at(settings, POINTS[method][-1]), tmp_path / f"out {folder.name}")
    assert results[0] == results[1]


@pytest.mark.parametrize("semantics", ["paper", "mergekit"])
def test_one_pass_prepares_all_densities(
    semantics: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mergekit_finance.engine import cuts

    folder = models(tmp_path / "m", dtypes=dict.fromkeys(NAMES, BF16), scale=1e-4)
    settings = settings_of(folder, "cpt_ties", semantics)
    with MergeSession.open(settings) as session:
        session.prepare(density=[0.1, 0.5, 0.9])

        def never(*_: Any) -> None:
            raise AssertionError("counted again")

        monkeypatch.setattr(cuts, "high_counts", never)
        monkeypatch.setattr(cuts, "low_counts", never)
        for density in (0.9, 0.1, 0.5):
            session.apply(density=density)
        monkeypatch.undo()
        assert_is_written(session, at(settings, {"density": 0.5}), tmp_path / "out")


def test_a_majority_of_minus_is_found_and_remembered(tmp_path: Path) -> None:
    folder = models(tmp_path / "m")
    base = run(recipe(folder, "cpt_task_arithmetic", lambda_=0.0), tmp_path / "base")
    # Half of the changes cancel; of the rest most are negative.
    for model, sign in (("finance", 1.0), ("math", -1.0)):
        edit(
            folder / model,
            lambda ws, sign=sign: {
                n: base[n] + 0.5 * torch.where(torch.arange(w.numel()).view(w.shape) % 2 == 0, sign, -1.0)
                for n, w in ws.items()
            },
        )
    edit(folder / "base", lambda ws: {n: torch.zeros_like(w) for n, w in ws.items()})
    for model in ("finance", "math"):
        edit(folder / model, lambda ws: {n: (w * 2).round() / 2 for n, w in ws.items()})
    settings = settings_of(folder, "cpt_ties", "paper")
    with MergeSession.open(settings) as session:
        for i in range(2):
            session.apply(density=1.0)
            assert_is_written(session, at(settings, {"density": 1.0}), tmp_path / f"out{i}")
        assert any(balance < 0 for balance in session._balances.values())


def test_dare_elects_the_majority_of_each_tensor(tmp_path: Path) -> None:
    """Half of every tensor cancels; the other half is positive in MLPs and negative elsewhere."""
    folder = models(tmp_path / "m")
    edit(folder / "base", lambda ws: {n: torch.zeros_like(w) for n, w in ws.items()})
    for model, first in (("finance", 1.0), ("math", -1.0)):
        edit(
            folder / model,
            lambda ws, first=first: {
                n: torch.where(
                    torch.arange(w.numel()).view(w.shape) % 2 == 0, first, 1.0 if "mlp" in n else -1.0
                )
                for n, w in ws.items()
            },
        )
    settings = settings_of(folder, "cpt_dare_ties", "paper")
    with MergeSession.open(settings) as session:
        session.apply(density=1.0)
        assert_is_written(session, at(settings, {"density": 1.0}), tmp_path / "out")
        parameters = dict(session.model.named_parameters())
        assert {float(p.detach().unique()) for n, p in parameters.items() if "mlp" in n} == {1.0}
        assert {float(p.detach().unique()) for n, p in parameters.items() if "mlp" not in n} == {-1.0}


def test_points_with_a_tokenizer_block_equal_what_run_merge_writes(tmp_path: Path) -> None:
    folder = models(tmp_path / "m")
    permuted(folder)
    settings = {**settings_of(folder, "cpt_ties", "paper"), "tokenizer": {"source": "base"}}
    with MergeSession.open(settings) as session:
        session.apply(density=0.3)
        assert_is_written(session, at(settings, {"density": 0.3}), tmp_path / "out")


def test_tensors_are_sharded_over_devices(tmp_path: Path) -> None:
    folder = models(tmp_path / "m")
    settings = settings_of(folder, "cpt_ties", "paper")
    with MergeSession.open(settings, device=["cpu", "cpu"]) as session:
        session.apply(density=0.3)
        assert_is_written(session, at(settings, {"density": 0.3}), tmp_path / "out")


def test_placing_balances_and_respects_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = models(tmp_path / "m")
    with MergeSession.open(settings_of(folder, "cpt_ties", "paper")) as session:
        tensors, devices = list(session._tensors), [torch.device("cuda", i) for i in (0, 1)]
        monkeypatch.setattr(placement, "moved", lambda group, device: group)
        placement.place(tensors, devices)
        sizes = [sum(t.size for t in tensors if t.device == d) for d in devices]
        assert abs(sizes[0] - sizes[1]) <= max(t.size for t in tensors)
        assert not any(t.streamed for t in tensors)
        placement.place(tensors, devices[:1], limit=sum(sizes) // 2)
        assert 0 < sum(t.size for t in tensors if not t.streamed) <= sum(sizes) // 2


def test_out_of_memory_is_named_and_streamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, moved = models(tmp_path / "m"), []

    def little(group: Any, device: torch.device) -> Any:
        if len(moved) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        moved.append(group)
        return group

    with MergeSession.open(settings_of(folder, "cpt_ties", "paper")) as session:
        monkeypatch.setattr(placement, "moved", little)
        with caplog.at_level(logging.WARNING):
            placement.place(session._tensors, [torch.device("cuda", 0)])
        assert sum(not h.streamed for h in session._tensors) == 3
        assert "cuda:0 ran out of memory at model." in caplog.text and "streamed" in caplog.text


def test_out_of_memory_at_a_point_leads_to_streaming_and_then_to_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = models(tmp_path / "m")
    with MergeSession.open(settings_of(folder, "cpt_ties", "paper")) as session:
        monkeypatch.setattr(placement, "moved", lambda group, device: group)
        placement.place(session._tensors, [torch.device("cuda", 0)])

        def work() -> None:
            if any(h.device.type != "cpu" for h in session._tensors):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
            session._merge_all(session._check({"density": 0.3}))

        with caplog.at_level(logging.WARNING):
            session._with_less_memory(work)
        assert "streamed at every point" in caplog.text and "merging on the CPU" in caplog.text
        settings = settings_of(folder, "cpt_ties", "paper")
        assert_is_written(session, at(settings, {"density": 0.3}), tmp_path / "out")

        def never() -> None:
            raise torch.OutOfMemoryError("not enough")

        with pytest.raises(ModelError, match=r"out of memory on the CPU \(not enough\)\. The live model"):
            session._with_less_memory(never)
    with pytest.raises(RecipeError, match="this session is closed"):
        session.apply()


def test_buffers_that_are_not_merged_stay_as_they_are(tmp_path: Path) -> None:
    folder = models(tmp_path / "m")
    with MergeSession.open(settings_of(folder, "cpt_task_arithmetic", "paper")) as session:
        before = {n: b.clone() for n, b in session.model.named_buffers()}
        assert before
        session.apply(lambda_=0.9)
        assert all(torch.equal(before[n], b) for n, b in session.model.named_buffers())


def test_looking_for_an_overflow_moves_no_streamed_tensor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A point of tensors that are streamed moves each of them once."""
    settings = {**settings_of(models(tmp_path / "m"), "cpt_task_arithmetic", "paper"), "out_dtype": "float16"}
    with MergeSession.open(settings, merged=False) as session:
        moved: list[Any] = []
        for tensor in session._tensors:
            tensor.streamed = True
        monkeypatch.setattr(placement, "moved", lambda group, device: moved.append(group) or group)
        session.apply(lambda_=0.5)
        assert len(moved) == len(list(session._filled()))


def test_a_closed_session_releases_its_model_at_once(tmp_path: Path) -> None:
    """The next model may need its memory before the garbage collector runs."""
    settings = settings_of(models(tmp_path / "m"), "cpt_ties", "paper")
    MergeSession.open(settings).close()  # imports come first: their tracebacks may refer to the caller
    gc.collect()
    gc.disable()
    try:
        with MergeSession.open(settings) as session:
            session.prepare(density=[0.2])
            session.apply(density=0.2)
            references = [weakref.ref(session), weakref.ref(session.model)]
        del session
        assert [reference() for reference in references] == [None, None]
    finally:
        gc.enable()


def test_a_majority_is_remembered_for_the_weights_of_every_tensor(tmp_path: Path) -> None:
    """A filter weighs the MLP by -1: its sums decide another majority than equal weights do."""
    folder = models(tmp_path / "m")
    edit(folder / "base", lambda ws: {n: torch.zeros_like(w) for n, w in ws.items()})
    for model, sign in (("finance", 0.5), ("math", -0.5)):
        edit(
            folder / model,
            lambda ws, sign=sign: {
                n: torch.full_like(w, 0.25)
                if "mlp" in n
                else sign * (torch.arange(w.numel()).view(w.shape) % 2 * 2 - 1).to(w.dtype)
                for n, w in ws.items()
            },
        )
    settings = at(settings_of(folder, "cpt_ties", "paper"), {"density": 1.0})
    filtered = [{"filter": "mlp", "value": -1.0}, {"value": 1.0}]
    with MergeSession.open(at(settings, {"weight": filtered})) as session:
        assert_is_written(session, at(settings, {"weight": filtered}), tmp_path / "filtered")
        session.apply(weight=1.0)
        assert_is_written(session, at(settings, {"weight": 1.0}), tmp_path / "equal")


def test_the_live_model_is_moved_to_the_device_before_the_constituents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Constituents must not fill the device before the model is placed; a device too small for the model is named."""
    order: list[str] = []
    monkeypatch.setattr("mergekit_finance.merging.session.usable_device", torch.device)
    monkeypatch.setattr(placement, "moved", lambda group, device: order.append("input") or group)
    monkeypatch.setattr("transformers.PreTrainedModel.to", lambda self, *_: order.append("model") or self)
    folder = models(tmp_path / "m")
    settings = settings_of(folder, "cpt_ties", "paper")
    MergeSession.open(settings, device="cuda:5", merged=False)
    assert order[0] == "model" and "input" in order

    def full(self: Any, *_: Any) -> None:
        raise torch.OutOfMemoryError("Tried to allocate 9 GB")

    monkeypatch.setattr("transformers.PreTrainedModel.to", full)
    with pytest.raises(
        ModelError, match=r"cuda:5 cannot hold the merged model itself \(Tried to allocate 9 GB"
    ):
        MergeSession.open(settings, device="cuda:5", merged=False)


def test_an_out_of_memory_error_of_the_cpu_allocator_is_recognized(tmp_path: Path) -> None:
    with MergeSession.open(settings_of(models(tmp_path / "m"), "cpt_ties", "paper")) as session:

        def never() -> None:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"
            )

        with pytest.raises(ModelError, match="out of memory on the CPU"):
            session._with_less_memory(never)

        def fault() -> None:
            raise RuntimeError("a fault of ours")

        with pytest.raises(RuntimeError, match="a fault of ours"):
            session._with_less_memory(fault)


@pytest.mark.parametrize("grid", [{"density": 0.5}, {"density": None}, {"density": "0.5"}])
def test_prepare_refuses_a_grid_that_is_not_a_list(tmp_path: Path, grid: dict[str, Any]) -> None:
    with MergeSession.open(settings_of(models(tmp_path / "m"), "cpt_ties", "paper")) as session:
        with pytest.raises(RecipeError, match="a list of numbers"):
            session.prepare(**grid)
        with pytest.raises(RecipeError, match="lambda: is given twice"):
            session.apply(**{"lambda": 0.1, "lambda_": 0.9})
    with pytest.raises(RecipeError, match="this session is closed"):
        session.prepare()
