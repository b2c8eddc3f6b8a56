"""Every measure against NumPy in float64, SciPy, and cases computed by hand."""

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
import torch
from helpers.similarity import DOWN, UP
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cosine as scipy_distance

from mergekit_finance.similarity import entries
from mergekit_finance.similarity.compute import compute_similarity
from mergekit_finance.similarity.measures import Accumulator

quick = settings(max_examples=40, deadline=None)


def measured(base, *models, **options):
    """The entry for one tensor; each model given as a list of numbers or a tensor."""
    names = [f"m{i}" for i in range(len(models))]
    rows = [
        torch.as_tensor(row, dtype=None if torch.is_tensor(row) else torch.float32) for row in (base, *models)
    ]
    accumulator = Accumulator("base", names, **options)
    accumulator.add("w.weight", rows[0], dict(zip(names, rows[1:], strict=True)))
    return entries.result(accumulator).as_json()["total"]


def dense(tensors, names):
    return {m: np.concatenate([t[n].double().numpy().ravel() for n in names]) for m, t in tensors.items()}


def check(entry, x, folders):
    """Every number of an entry against NumPy on the whole vectors."""
    label = {folders[m]: m for m in x}
    tau = {m: x[m] - x["base"] for m in ("a", "b")}
    assert entry["elements"] == len(x["base"])
    for m, norm in entry["norms"].items():
        assert norm == pytest.approx(np.linalg.norm(x[label[m]]), rel=1e-12)
    for pair in entry["pairs"]:
        a, b = x[label[pair["a"]]], x[label[pair["b"]]]
        assert pair["l2"] == pytest.approx(np.linalg.norm(a - b), rel=1e-12)
        assert 1 - pair["cosine"] == pytest.approx(scipy_distance(a, b), rel=1e-9, abs=1e-14)
        assert pair["equal"] == np.mean(a == b)
    for m, vector in entry["task_vectors"].items():
        t = np.abs(tau[label[m]])
        assert vector["norm"] == pytest.approx(np.linalg.norm(t), rel=1e-12)
        assert vector["relative_norm"] == pytest.approx(np.linalg.norm(t) / np.linalg.norm(x["base"]))
        for q, quantile in vector["quantiles"].items():
            exact = np.quantile(t, float(q), method="inverted_cdf")
            assert quantile <= exact <= quantile * (1 + 2**-7)
    (pair,) = entry["task_vector_pairs"]
    both = (tau["a"] != 0) & (tau["b"] != 0)
    assert pair["both_moved"] == both.mean()
    assert pair["sign_conflicts"] == np.mean((np.sign(tau["a"]) != np.sign(tau["b"]))[both])
    assert 1 - pair["cosine"] == pytest.approx(scipy_distance(tau["a"], tau["b"]), rel=1e-12)


def test_every_measure_equals_numpy(family, small_blocks):
    folders, tensors = family
    measured = compute_similarity(folders["base"], [folders["a"], folders["b"]]).as_json()
    names = list(tensors["base"])
    check(measured["total"], dense(tensors, sorted(names)), folders)
    for name in names:
        check(measured["tensors"][name], dense(tensors, [name]), folders)
    assert list(measured["layers"]) == ["0", "1", "10"]
    check(measured["layers"]["10"], dense(tensors, [UP.format(10), DOWN.format(10)]), folders)
    assert list(measured["modules"]) == ["down_proj", "embeddings", "lm_head", "norms", "up_proj"]
    check(measured["modules"]["up_proj"], dense(tensors, [UP.format(i) for i in (0, 1, 10)]), folders)


def test_a_case_computed_by_hand():
    entry = measured([3.0, 4.0, 0.0, 1.0], [3.0, 5.0, -2.0, 1.0], [4.0, 3.0, -1.0, 1.0])
    (pair,) = entry["task_vector_pairs"]  # (0, 1, -2, 0) and (1, -1, -1, 0)
    assert pair["both_moved"] == 0.5 and pair["sign_conflicts"] == 0.5
    assert pair["cosine"] == pytest.approx(1 / 15**0.5)
    assert [p["equal"] for p in entry["pairs"]] == [0.5, 0.25, 0.25]
    assert [p["l2"] ** 2 for p in entry["pairs"]] == pytest.approx([5, 3, 6])
    assert entry["task_vectors"]["m0"]["relative_norm"] == pytest.approx((5 / 26) ** 0.5)
    assert entry["task_vectors"]["m0"]["quantiles"]["0.75"] == 1
    assert entry["task_vectors"]["m0"]["quantiles"]["1.0"] == 2


def test_undefined_measures_are_null():
    entry = measured([0.0, 0.0], [0.0, 0.0], [1.0, 0.0])
    assert entry["pairs"][0]["cosine"] is None and entry["pairs"][0]["l2"] == 0
    assert entry["task_vectors"]["m1"]["relative_norm"] is None
    assert entry["task_vector_pairs"] == [
        {"a": "m0", "b": "m1", "cosine": None, "both_moved": 0.0, "sign_conflicts": None}
    ]


def test_signs_of_tiny_numbers_count_and_minus_zero_equals_zero():
    """A product of two such task vectors underflows in float32; their signs still differ."""
    entry = measured([0.0, 0.0], [1e-30, -0.0], [-1e-30, 0.0])
    assert entry["task_vector_pairs"][0]["sign_conflicts"] == 1
    assert entry["pairs"][2]["equal"] == 0.5


def test_float64_holds_a_small_distance_between_large_models():
    base = torch.full((5000,), 100.0)
    entry = measured(base, base + torch.tensor(2.0**-17), base)
    assert entry["pairs"][0]["l2"] == 5000**0.5 * 2.0**-17


numbers = st.floats(-8, 8, width=16)
rows = st.integers(1, 30).flatmap(
    lambda n: st.lists(st.lists(numbers, min_size=n, max_size=n), min_size=3, max_size=3)
)


@quick
@given(rows)
def test_measures_are_bounded_and_symmetric(rows):
    base, a, b = rows
    one, other = measured(base, a, b), measured(base, b, a)
    swap = {"base": "base", "m0": "m1", "m1": "m0"}
    mirrored = {frozenset((p["a"], p["b"])): p for p in other["pairs"]}
    for pair in one["pairs"]:
        assert pair["cosine"] is None or -1 <= pair["cosine"] <= 1
        assert 0 <= pair["equal"] <= 1
        twin = mirrored[frozenset((swap[pair["a"]], swap[pair["b"]]))]
        assert all(pair[key] == twin[key] for key in ("l2", "cosine", "equal"))
    assert one["task_vector_pairs"][0]["cosine"] == other["task_vector_pairs"][0]["cosine"]
    conflicts = one["task_vector_pairs"][0]["sign_conflicts"]
    assert conflicts is None or 0 <= conflicts <= 1


@quick
@given(st.lists(numbers.filter(bool), min_size=1, max_size=30))
def test_a_model_is_identical_to_itself(row):
    entry = measured([0.0] * len(row), row, row)
    pair = entry["pairs"][2]
    assert (pair["l2"], pair["cosine"], pair["equal"]) == (0, 1, 1)
    assert entry["task_vector_pairs"][0] | {"a": 0, "b": 0} == {
        "a": 0, "b": 0, "cosine": 1, "both_moved": 1, "sign_conflicts": 0
    }  # fmt: skip


@quick
@given(st.lists(st.floats(0, 2.0**100, width=32), min_size=1, max_size=200))
def test_quantiles_are_ranks_and_equal_numpy(row):
    vector = measured([0.0] * len(row), row)["task_vectors"]["m0"]
    for q, quantile in vector["quantiles"].items():
        rank = Fraction(q) * len(row)
        exact = sorted(row)[max(1, ceil(rank)) - 1]
        if rank.denominator != 1:  # else float arithmetic decides which neighbour NumPy takes
            assert exact == np.quantile(np.array(row), float(q), method="inverted_cdf")
        assert quantile <= exact and (exact < 2.0**-126 or exact < quantile * (1 + 2**-7))


@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-4, 1e-6])
def test_the_cosine_of_task_vectors_of_any_lengths(scale):
    generator = torch.Generator().manual_seed(0)
    base, x, noise = (torch.randn(5000, generator=generator).double() for _ in range(3))
    y = scale * (0.5 * x + noise)
    (pair,) = measured(base, base + x, base + y)["task_vector_pairs"]
    a, b = ((base + v - base).numpy() for v in (x, y))
    assert pair["cosine"] == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), abs=1e-14)


def test_quantiles_of_a_task_vector_too_large_for_float32():
    row = measured([3e38, 1.0], [-3e38, 1.0])["task_vectors"]["m0"]
    assert row["quantiles"]["1.0"] == pytest.approx(3.39e38, rel=1e-2) and row["quantiles"]["0.5"] == 0


@pytest.mark.parametrize(
    ("name", "layer", "kind"),
    [
        ("model.layers.11.self_attn.q_proj.weight", "11", "q_proj"),
        ("model.layers.11.self_attn.q_proj.bias", "11", "q_proj.bias"),
        ("model.layers.0.input_layernorm.weight", "0", "norms"),
        ("model.layers.0.self_attn.q_norm.weight", "0", "norms"),
        ("model.layers.3.mlp.experts.7.down_proj.weight", "3", "down_proj"),
        ("transformer.h.2.ln_1.weight", "2", "norms"),
        ("model.norm.weight", None, "norms"),
        ("model.embed_tokens.weight", None, "embeddings"),
        ("lm_head.weight", None, "lm_head"),
        ("model.layers.1.self_attn.rotary_emb.inv_freq", "1", "inv_freq"),
    ],
)
def test_layers_and_kinds_come_from_names(name, layer, kind):
    assert (entries.layer_of(name), entries.kind_of(name)) == (layer, kind)


def test_torch_keeps_its_threads(family):
    before = torch.get_num_threads()
    measured([1.0], [2.0], threads=1)
    assert torch.get_num_threads() == before
