"""Paper TIES through mergekit's planner, against a dense NumPy TIES that sorts the whole vector."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.merging import SMALL, as_numpy, dense_ties, edit, random_models, raw, recipe, run, split, stored

from mergekit_finance.merge_methods.whole_vector_thresholds import WholeVectorThresholds, share_in_order
from mergekit_finance.merging.compare import llama_config, llama_shapes, write_model

BF16 = torch.bfloat16


def assert_is_dense_ties(
    merged: Any, folder: Path, experts: tuple[str, ...], density: Any, scale: float = 1.0
) -> None:
    """`experts` in mask_id order; every output bit is compared."""
    densities = density if isinstance(density, list) else [density] * len(experts)
    weights = [as_numpy(stored(folder / e)) for e in experts]
    expected = dense_ties(as_numpy(stored(folder / "base")), weights, densities, scale)
    assert merged.keys() == expected.keys()
    wrong = {n: int((merged[n].numpy() != expected[n]).sum()) for n in expected}
    assert not any(wrong.values()), wrong


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("experts", [("finance",), ("finance", "math"), ("finance", "japanese", "math")])
def test_equals_a_dense_numpy_implementation(tmp_path: Path, experts: tuple[str, ...], tied: bool) -> None:
    folder = random_models(tmp_path, tie_word_embeddings=tied)
    merged = run(
        recipe(folder, "cpt_ties", reversed(experts), each={"density": 0.2}, lambda_=0.7), tmp_path / "out"
    )
    assert ("lm_head.weight" in merged) is not tied
    assert_is_dense_ties(merged, folder, experts, 0.2, 0.7)


def test_a_head_of_its_own_is_ranked_although_the_configs_tie_it(tmp_path: Path) -> None:
    folder = random_models(tmp_path, tie_word_embeddings=True)
    for name in ("base", "finance", "math"):
        edit(folder / name, lambda w: {**w, "lm_head.weight": w["model.embed_tokens.weight"].flip(0) * 3})
    merged = run(recipe(folder, "cpt_ties", each={"density": 0.2}), tmp_path / "out")
    assert_is_dense_ties(merged, folder, ("finance", "math"), 0.2)


@pytest.mark.parametrize("density", [0.003, 0.29, 0.5, 0.999, 1.0])
def test_any_density_equals_a_dense_numpy_implementation(tmp_path: Path, density: float) -> None:
    folder = random_models(tmp_path)
    merged = run(recipe(folder, "cpt_ties", each={"density": density}), tmp_path / "out")
    assert_is_dense_ties(merged, folder, ("finance", "math"), density)


def test_a_density_for_each_model(tmp_path: Path) -> None:
    folder = random_models(tmp_path)
    settings = recipe(folder, "cpt_ties")
    for entry, density in zip(settings["models"], (1.0, 0.1), strict=True):
        entry["parameters"]["density"] = density
    assert_is_dense_ties(run(settings, tmp_path / "out"), folder, ("finance", "math"), [1.0, 0.1])


def test_bf16_checkpoints_whose_magnitudes_are_mostly_equal(tmp_path: Path) -> None:
    folder = random_models(tmp_path, dtypes=dict.fromkeys(("base", "finance", "math"), BF16), scale=1e-4)
    tau = np.concatenate(
        [
            (stored(folder / "math")[n].float() - w.float()).numpy().ravel()
            for n, w in stored(folder / "base").items()
        ]
    )
    assert np.unique(np.abs(tau)).size < 300 and (tau == 0).mean() > 0.1
    merged = run(recipe(folder, "cpt_ties", each={"density": 0.2}), tmp_path / "out")
    assert_is_dense_ties(merged, folder, ("finance", "math"), 0.2)


@pytest.mark.parametrize("dtype", ["float32", None])
def test_models_of_different_dtypes(tmp_path: Path, dtype: str | None) -> None:
    folder = random_models(tmp_path, dtypes={"base": BF16, "math": torch.float16})
    merged = run(recipe(folder, "cpt_ties", each={"density": 0.2}, dtype=dtype), tmp_path / "out")
    assert_is_dense_ties(merged, folder, ("finance", "math"), 0.2)


def test_the_merge_is_rounded_once_to_out_dtype(tmp_path: Path) -> None:
    folder = random_models(tmp_path, dtypes=dict.fromkeys(("base", "finance", "math"), torch.float16))
    settings = recipe(folder, "cpt_ties", each={"density": 0.2}, dtype=None)
    exact = run(recipe(folder, "cpt_ties", each={"density": 0.2}), tmp_path / "exact")
    merged = run({**settings, "out_dtype": "bfloat16"}, tmp_path / "out")
    # Through float16 first, some values would land on the other side of a bfloat16 boundary.
    assert any(not torch.equal(t.half().bfloat16(), t.bfloat16()) for t in exact.values())
    assert all(raw(merged[name]) == raw(exact[name].bfloat16()) for name in exact)


def test_untied_experts_of_a_tied_base(tmp_path: Path) -> None:
    folder = random_models(tmp_path / "tied", tie_word_embeddings=True)
    untied = random_models(tmp_path / "untied", seed=1)
    (folder / "math").rename(tmp_path / "gone")
    (untied / "math").rename(folder / "math")
    merged = run(recipe(folder, "cpt_ties", each={"density": 0.2}), tmp_path / "out")
    # The tied models' head is their embedding.
    for model in ("base", "finance"):
        edit(folder / model, lambda w: {**w, "lm_head.weight": w["model.embed_tokens.weight"].clone()})
    assert_is_dense_ties(merged, folder, ("finance", "math"), 0.2)


def test_tied_tensors_that_are_stored_twice_count_once(tmp_path: Path) -> None:
    folder = random_models(
        tmp_path, tie_word_embeddings=True, dtypes=dict.fromkeys(("base", "finance"), BF16)
    )
    once = run(recipe(folder, "cpt_ties", ["finance"], each={"density": 0.2}), tmp_path / "once")
    for model in ("base", "finance"):
        edit(folder / model, lambda w: {**w, "lm_head.weight": w["model.embed_tokens.weight"].clone()})
    twice = run(recipe(folder, "cpt_ties", ["finance"], each={"density": 0.2}), tmp_path / "twice")
    head = twice.pop("lm_head.weight")
    assert raw(head) == raw(twice["model.embed_tokens.weight"])
    assert all(raw(once[n]) == raw(twice[n]) for n in once)


def test_sharded_checkpoints_equal_a_dense_numpy_implementation(tmp_path: Path) -> None:
    folder = random_models(tmp_path)
    for model, shards in (("finance", 3), ("base", 2)):
        split(folder / model, shards)
    merged = run(recipe(folder, "cpt_ties", each={"density": 0.2}), tmp_path / "out")
    assert_is_dense_ties(merged, folder, ("finance", "math"), 0.2)


# ---- a model small enough to compute by hand


TINY = {"hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "vocab_size": 4}
HANDS = {**TINY, "num_attention_heads": 1, "num_key_value_heads": 1}
SIZE = 16 + 16 * 4 + 16 * 3 + 4 * 3 + 16  # embedding, attention, MLP, norms, head: 156


def by_hand(folder: Path, **experts: dict[tuple[str, int], float]) -> Path:
    """A base of zeros, and experts that differ from it in the given (tensor, flat index) only."""
    config = llama_config(**HANDS)
    zeros = {name: torch.zeros(shape) for name, shape in llama_shapes(config).items()}
    assert sum(w.numel() for w in zeros.values()) == SIZE
    for model, changes in {"base": {}, **experts}.items():
        weights = {name: w.clone() for name, w in zeros.items()}
        for (name, index), value in changes.items():
            weights[name].view(-1)[index] = value
        write_model(folder / model, config, weights)
    return folder


HEAD, EMBED, NORM = "lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"
QUERY = "model.layers.0.self_attn.q_proj.weight"


def nonzero(weights: dict[str, torch.Tensor]) -> dict[tuple[str, int], float]:
    return {
        (name, int(i)): float(tensor.view(-1)[i])
        for name, tensor in weights.items()
        for i in tensor.view(-1).nonzero().view(-1)
    }


def test_equal_magnitudes_are_kept_in_name_and_index_order(tmp_path: Path) -> None:
    changes = {
        (NORM, 0): 2.0,
        (QUERY, 9): 2.0,
        (QUERY, 3): -2.0,
        (HEAD, 15): 2.0,
        (EMBED, 1): 8.0,
        (NORM, 2): 1.0,
    }
    folder = by_hand(tmp_path, finance=changes)
    # Sorted names: lm_head, model.embed_tokens, model.layers.0..., model.norm. From the top: the 8, then the
    # 2 of the head, the first 2 of the query, its second, the norm's.
    order = [(EMBED, 1), (HEAD, 15), (QUERY, 3), (QUERY, 9), (NORM, 0), (NORM, 2)]
    for k in range(1, 7):
        settings = recipe(folder, "cpt_ties", ["finance"], each={"density": k / SIZE})
        assert nonzero(run(settings, tmp_path / f"out{k}")) == {place: changes[place] for place in order[:k]}


@pytest.mark.parametrize("winner", [1.0, -1.0])
def test_a_zero_sum_takes_the_majority_sign_of_the_whole_model(tmp_path: Path, winner: float) -> None:
    lone = {(NORM, 0): winner, (NORM, 1): winner, (QUERY, 0): -winner}
    folder = by_hand(tmp_path, finance={(HEAD, 0): 3.0, **lone}, math={(HEAD, 0): -3.0})
    merged = run(recipe(folder, "cpt_ties", each={"density": 1.0}), tmp_path / "out")
    assert nonzero(merged) == {(HEAD, 0): 3.0 * winner, **lone}


def test_an_even_majority_leaves_the_base(tmp_path: Path) -> None:
    folder = by_hand(
        tmp_path, finance={(HEAD, 0): 3.0, (NORM, 0): 1.0}, math={(HEAD, 0): -3.0, (NORM, 1): -1.0}
    )
    merged = run(recipe(folder, "cpt_ties", each={"density": 1.0}), tmp_path / "out")
    assert nonzero(merged) == {(NORM, 0): 1.0, (NORM, 1): -1.0}


def test_the_majority_is_counted_after_the_trim(tmp_path: Path) -> None:
    # Untrimmed, four small negatives would outvote the two positives.
    small = {(QUERY, i): -0.5 for i in range(4)}
    folder = by_hand(
        tmp_path, finance={(HEAD, 0): 3.0, (NORM, 0): 1.0, (NORM, 1): 1.0, **small}, math={(HEAD, 0): -3.0}
    )
    merged = run(recipe(folder, "cpt_ties", each={"density": 3 / SIZE}), tmp_path / "out")
    assert nonzero(merged) == {(HEAD, 0): 3.0, (NORM, 0): 1.0, (NORM, 1): 1.0}


def test_many_zero_sums_equal_a_dense_numpy_implementation(tmp_path: Path) -> None:
    folder = random_models(tmp_path)
    base = stored(folder / "base")
    tau = {n: ((stored(folder / "finance")[n] - w) * 2e3).round() / 2e3 for n, w in base.items()}
    write_model(folder / "base", llama_config(**SMALL), {n: torch.zeros_like(w) for n, w in base.items()})
    write_model(folder / "finance", llama_config(**SMALL), tau)
    half = {n: torch.where(torch.arange(t.numel()).view(t.shape) % 2 == 0, -t, t) for n, t in tau.items()}
    write_model(folder / "math", llama_config(**SMALL), half)
    merged = run(recipe(folder, "cpt_ties", each={"density": 0.4}), tmp_path / "out")
    assert_is_dense_ties(merged, folder, ("finance", "math"), 0.4)


def test_the_majority_pass_runs_once_and_only_if_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    count = WholeVectorThresholds._count_signs
    monkeypatch.setattr(WholeVectorThresholds, "_count_signs", lambda self: passes.append(1) or count(self))
    folder = by_hand(
        tmp_path, finance={(HEAD, 0): 3.0, (NORM, 0): 3.0}, math={(HEAD, 0): -3.0, (NORM, 0): -3.0}
    )
    run(recipe(folder, "cpt_ties", each={"density": 1.0}), tmp_path / "out")
    assert len(passes) == 1
    run(recipe(folder, "cpt_ties", ["finance"], each={"density": 1.0}), tmp_path / "out2")
    assert len(passes) == 1


def test_only_one_tensor_is_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import weakref

    from mergekit_finance.merge_methods.planned_inputs import PlannedInputs

    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    most, gather = [0], PlannedInputs._gather

    def watched(self: PlannedInputs, task: Any) -> Any:
        most[0] = max(most[0], len(alive))
        gathered = gather(self, task)
        for tensor in gathered.stored.values():
            alive.add(tensor)
        return gathered

    monkeypatch.setattr(PlannedInputs, "_gather", watched)
    run(recipe(random_models(tmp_path), "cpt_ties", each={"density": 0.2}), tmp_path / "out")
    assert most[0] <= 3  # the three inputs of the previous output tensor, which are released next


def test_ties_are_kept_in_sorted_name_order() -> None:
    assert share_in_order({"b": 5, "a": 2, "c": 4}, 6) == {"a": 2, "b": 4, "c": 0}
