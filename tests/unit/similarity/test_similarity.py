"""Similarity against NumPy in float64, SciPy, cases made by hand, and what must hold for any weights."""

import json
import os
from fractions import Fraction
from itertools import combinations
from math import ceil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from scipy.spatial.distance import cosine as scipy_distance
from scipy.stats import quantile as scipy_quantile

from mergekit_finance.errors import ModelError
from mergekit_finance.similarity import entries, measures, table
from mergekit_finance.similarity.checkpoint_files import CheckpointFamily
from mergekit_finance.similarity.compute import compute_similarity
from mergekit_finance.similarity.measures import Accumulator

EMBED, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"
UP, DOWN = "model.layers.{}.mlp.up_proj.weight", "model.layers.{}.mlp.down_proj.weight"
quick = settings(max_examples=40, deadline=None)


@pytest.fixture
def small_blocks(monkeypatch):
    """Several blocks a span and several spans a tensor, on tensors of a few thousand elements."""
    monkeypatch.setattr(measures, "BLOCK", 100)
    monkeypatch.setattr(measures, "SPAN", 700)


def measured(base, *models, **options):
    """The entry for one tensor; each model given as a list of numbers or a tensor."""
    names = [f"m{i}" for i in range(len(models))]
    rows = [
        torch.as_tensor(row, dtype=None if torch.is_tensor(row) else torch.float32) for row in (base, *models)
    ]
    accumulator = Accumulator("base", names, **options)
    accumulator.add("w.weight", rows[0], dict(zip(names, rows[1:], strict=True)))
    return entries.result(accumulator)["total"]


def weights(seed, dtype=torch.bfloat16, scale=0.002, base=None):
    """A checkpoint's tensors: a base, or `base` with noise on two thirds of the elements."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {EMBED: (40, 24), NORM: (24,), HEAD: (40, 24)}
    shapes |= {UP.format(i): (64, 24) for i in (0, 1, 10)} | {DOWN.format(i): (24, 64) for i in (0, 1, 10)}
    noise = {n: torch.randn(s, generator=generator) for n, s in shapes.items()}
    if base is None:
        return {n: (0.02 * x).to(dtype) for n, x in noise.items()}
    keep = {n: torch.rand(s, generator=generator) < 2 / 3 for n, s in shapes.items()}
    return {n: (base[n].float() + scale * noise[n] * keep[n]).to(dtype) for n in shapes}


def write(folder, tensors, shards=1, config=None):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config or {"tie_word_embeddings": False}))
    names = sorted(tensors, reverse=shards > 1)
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    files = {n: f"model-{i % shards + 1:05}-of-{shards:05}.safetensors" for i, n in enumerate(names)}
    for file in set(files.values()):
        save_file({n: tensors[n] for n in names if files[n] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    return folder


@pytest.fixture
def family(tmp_path):
    """base, a, b: folders, and their tensors."""
    base = weights(0)
    tensors = {"base": base, "a": weights(1, base=base), "b": weights(2, base=base)}
    return {name: str(write(tmp_path / name, t)) for name, t in tensors.items()}, tensors


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
        for q, found in vector["quantiles"].items():
            exact = np.quantile(t, float(q), method="inverted_cdf")
            assert found <= exact <= found * (1 + 2**-7)
    (pair,) = entry["task_vector_pairs"]
    both = (tau["a"] != 0) & (tau["b"] != 0)
    assert pair["both_moved"] == both.mean()
    assert pair["sign_conflicts"] == np.mean((np.sign(tau["a"]) != np.sign(tau["b"]))[both])
    assert 1 - pair["cosine"] == pytest.approx(scipy_distance(tau["a"], tau["b"]), rel=1e-12)


def test_every_number_equals_numpys(family, small_blocks):
    folders, tensors = family
    found = compute_similarity(folders["base"], [folders["a"], folders["b"]])
    names = list(tensors["base"])
    check(found["total"], dense(tensors, sorted(names)), folders)
    for name in names:
        check(found["tensors"][name], dense(tensors, [name]), folders)
    assert list(found["layers"]) == ["0", "1", "10"]
    check(found["layers"]["10"], dense(tensors, [UP.format(10), DOWN.format(10)]), folders)
    assert list(found["modules"]) == ["down_proj", "embeddings", "lm_head", "norms", "up_proj"]
    check(found["modules"]["up_proj"], dense(tensors, [UP.format(i) for i in (0, 1, 10)]), folders)


def test_a_case_by_hand():
    entry = measured([3.0, 4.0, 0.0, 1.0], [3.0, 5.0, -2.0, 1.0], [4.0, 3.0, -1.0, 1.0])
    (pair,) = entry["task_vector_pairs"]  # (0, 1, -2, 0) and (1, -1, -1, 0)
    assert pair["both_moved"] == 0.5 and pair["sign_conflicts"] == 0.5
    assert pair["cosine"] == pytest.approx(1 / 15**0.5)
    assert [p["equal"] for p in entry["pairs"]] == [0.5, 0.25, 0.25]
    assert [p["l2"] ** 2 for p in entry["pairs"]] == pytest.approx([5, 3, 6])
    assert entry["task_vectors"]["m0"]["relative_norm"] == pytest.approx((5 / 26) ** 0.5)
    assert entry["task_vectors"]["m0"]["quantiles"]["0.75"] == 1
    assert entry["task_vectors"]["m0"]["quantiles"]["1.0"] == 2


def test_what_is_not_defined_is_null():
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
def test_bounds_and_symmetry(rows):
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
def test_quantiles_are_ranks_and_scipys(row):
    vector = measured([0.0] * len(row), row)["task_vectors"]["m0"]
    for q, found in vector["quantiles"].items():
        rank = Fraction(q) * len(row)
        exact = sorted(row)[max(1, ceil(rank)) - 1]
        if rank.denominator != 1:  # else float arithmetic decides which neighbour SciPy takes
            assert exact == scipy_quantile(row, float(q), method="inverted_cdf")
        assert found <= exact and (exact < 2.0**-126 or exact < found * (1 + 2**-7))


# --- one pass, whatever the layout


def bytes_of(tmp_path, monkeypatch, layout, threads):
    base = weights(0)
    home = tmp_path / f"{layout}-{threads}"
    for i, name in enumerate(("base", "a", "b")):
        write(home / name, base if name == "base" else weights(i, base=base), layout[i])
    monkeypatch.chdir(home)
    table.write(compute_similarity("base", ["a", "b"], threads=threads), home / "sim.json")
    return (home / "sim.json").read_bytes()


def test_threads_and_shards_do_not_change_a_byte(tmp_path, monkeypatch, small_blocks):
    first = bytes_of(tmp_path, monkeypatch, (1, 1, 1), 1)
    for layout, threads in [((1, 1, 1), 2), ((1, 1, 1), 5), ((3, 1, 2), 2), ((1, 4, 2), 1)]:
        assert bytes_of(tmp_path, monkeypatch, layout, threads) == first


def test_every_byte_is_read_once(family, monkeypatch, small_blocks):
    folders, tensors = family
    read, original = [], os.preadv
    monkeypatch.setattr(
        os, "preadv", lambda f, b, start: read.append((f, start, len(b[0]))) or original(f, b, start)
    )
    compute_similarity(folders["base"], [folders["a"], folders["b"]], threads=2)
    assert len(set(read)) == len(read)
    assert sum(size for *_, size in read) == sum(t.nbytes for m in tensors.values() for t in m.values())


def test_a_merge_that_streams_the_same_tensors_measures_the_same(family, small_blocks):
    folders, tensors = family
    fed = Accumulator(folders["base"], [folders["a"], folders["b"]])
    for name in reversed(list(tensors["base"])):
        parts = {folders[m]: tensors[m][name] for m in ("b", "a")}
        fed.add(name, tensors["base"][name], parts)
    assert entries.result(fed) == compute_similarity(folders["base"], [folders["a"], folders["b"]])


def test_only_distances(family):
    folders, _ = family
    few = compute_similarity(folders["base"], [folders["a"], folders["b"]], everything=False)
    all_ = compute_similarity(folders["base"], [folders["a"], folders["b"]])
    for name, entry in few["tensors"].items():
        for mine, full in zip(entry["pairs"], all_["tensors"][name]["pairs"], strict=True):
            assert mine == {key: full[key] for key in ("a", "b", "l2", "cosine")}
        assert "quantiles" not in entry["task_vectors"][folders["a"]]


def test_torch_keeps_its_threads(family):
    before = torch.get_num_threads()
    measured([1.0], [2.0], threads=1)
    assert torch.get_num_threads() == before


# --- devices, as far as a machine without a GPU can show


@pytest.fixture
def pretended(monkeypatch):
    """A device "cuda:3" whose memory is the CPU's and holds `limit` elements a buffer; what was asked of it."""
    asked, original = [], measures.Workspace.__init__

    def make(space, count, span, block, device, everything):
        asked.append((device, span))
        if span > make.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        original(space, count, span, block, "cpu", everything)

    make.limit, make.asked = measures.GPU_SPAN, asked
    monkeypatch.setattr(measures.Workspace, "__init__", make)
    monkeypatch.setattr("mergekit_finance.similarity.compute._check", lambda *_: None)
    return make


def floats(value):
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from floats(part)
    else:
        yield value


def test_the_device_gets_the_work_in_its_own_spans(family, pretended):
    folders, _ = family
    arguments = folders["base"], [folders["a"], folders["b"]]
    found, asked = compute_similarity(*arguments, "cuda:3"), list(pretended.asked)
    assert asked == [("cuda:3", measures.GPU_SPAN)] * 2
    for mine, theirs in zip(floats(found), floats(compute_similarity(*arguments)), strict=True):
        assert mine == (pytest.approx(theirs, rel=1e-12) if isinstance(theirs, float) else theirs)
    assert pretended.asked[-1] == ("cpu", measures.SPAN)


def test_a_device_with_little_memory_gets_smaller_spans(family, pretended, caplog):
    folders, _ = family
    pretended.limit = measures.SPAN
    compute_similarity(folders["base"], [folders["a"]], "cuda:3")
    assert f"cuda:3 ran out of memory: measuring {measures.SPAN} elements at a time" in caplog.text
    assert pretended.asked[-1] == ("cuda:3", measures.SPAN)


def test_a_device_without_memory_is_named(family, pretended):
    folders, _ = family
    pretended.limit = 0
    with pytest.raises(ModelError, match="cuda:3 ran out of memory\. Use --device cpu"):
        compute_similarity(folders["base"], [folders["a"]], "cuda:3")


# --- mixed dtypes, tied embeddings, other tensors


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64, torch.float8_e4m3fn])
def test_dtypes_may_differ(tmp_path, dtype):
    base = weights(0)
    other = {n: t.to(dtype) for n, t in weights(1, torch.float32, base=base).items()}
    folders = [str(write(tmp_path / n, t)) for n, t in (("base", base), ("a", other))]
    total = compute_similarity(folders[0], folders[1:])["total"]
    x, y = (np.concatenate([t[n].double().numpy().ravel() for n in sorted(t)]) for t in (base, other))
    assert total["pairs"][0]["l2"] == pytest.approx(np.linalg.norm(x - y), rel=1e-12)
    assert total["pairs"][0]["equal"] == np.mean(x == y)


def test_tied_output_embeddings(tmp_path):
    """Stored or not, with all tied they count once; a tied model against an untied one has the input's."""
    base = weights(0)
    tied = {n: t for n, t in base.items() if n != HEAD}
    says = {"tie_word_embeddings": True}
    folders = {
        "untied": write(tmp_path / "untied", base),
        "tied": write(tmp_path / "tied", tied, config=says),
        "silent": write(tmp_path / "silent", tied, config={"model_type": "gemma2"}),
        "stored": write(tmp_path / "stored", tied | {HEAD: base[EMBED].clone()}, config=says),
    }
    folders = {k: str(v) for k, v in folders.items()}
    assert HEAD not in compute_similarity(folders["tied"], [folders["stored"]])["tensors"]
    for name in ("tied", "silent"):
        found = compute_similarity(folders["untied"], [folders[name]])["tensors"][HEAD]
        expected = np.linalg.norm((base[HEAD].double() - base[EMBED].double()).numpy())
        assert found["pairs"][0]["l2"] == pytest.approx(expected, rel=1e-12)


def test_integers_are_left_out_and_named(tmp_path):
    extra = {"model.position_ids": torch.arange(5)}
    folders = [str(write(tmp_path / n, weights(0) | extra)) for n in ("base", "a")]
    found = compute_similarity(folders[0], folders[1:])
    assert found["skipped"] == ["model.position_ids"] and "model.position_ids" not in found["tensors"]


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


# --- what is refused


def refused(match, base, *models, **options):
    with pytest.raises(ModelError, match=match) as caught:
        compute_similarity(base, list(models), **options)
    assert "\n" not in str(caught.value)


def test_tensors_that_are_missing_or_of_other_shapes_are_named(tmp_path):
    full = weights(0)
    less = {n: t for n, t in full.items() if n not in (UP.format(1), NORM)}
    wide = full | {UP.format(1): torch.zeros(65, 24)}
    folders = {n: str(write(tmp_path / n, t)) for n, t in (("full", full), ("less", less), ("wide", wide))}
    missing = rf"less: tensor {UP.format(1)} is missing \(and 1 more\), which .*full has"
    refused(missing, folders["full"], folders["less"])
    refused(missing, folders["less"], folders["full"])
    refused(
        rf"wide: tensor {UP.format(1)} has shape \[65, 24\], .* has \[64, 24\]",
        folders["full"],
        folders["wide"],
    )
    untied = {n: t for n, t in full.items() if n != HEAD}
    refused("lm_head.weight is missing", folders["full"], str(write(tmp_path / "u", untied)))


@pytest.mark.parametrize("keep", [-100, 40, 3, 0])
def test_a_truncated_shard_is_named(tmp_path, keep):
    folders = [str(write(tmp_path / n, weights(0), shards=2)) for n in ("base", "a")]
    shard = tmp_path / "a" / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:keep])
    refused("a: model-00002-of-00002.safetensors is not a whole safetensors file", *folders)
    shard.unlink()
    refused("a: shard model-00002-of-00002.safetensors is missing", *folders)


def test_a_file_that_shrinks_under_us_is_named(family):
    folders, _ = family
    stream = CheckpointFamily([folders["base"], folders["a"]])
    path = f"{folders['a']}/model.safetensors"
    os.truncate(path, os.path.getsize(path) // 2)
    with pytest.raises(ModelError, match="model.safetensors became shorter"):
        stream.measure(Accumulator(folders["base"], [folders["a"]]))


def test_other_mistakes(tmp_path, family):
    folders, tensors = family
    base = folders["base"]
    refused("no such folder", base, str(tmp_path / "nowhere"))
    refused("not a Hub id", base, "nowhere")
    refused("is named twice", base, folders["a"], folders["a"])
    refused("Name at least one", base)
    refused("device 'cuba' cannot be used", base, folders["a"], device="cuba")
    old = write(tmp_path / "old", {})
    (old / "model.safetensors").unlink()
    (old / "pytorch_model.bin").touch()
    refused("safetensors only", base, str(old))
    place = write(tmp_path / "garbled", tensors["a"])
    whole = (place / "config.json").read_text()
    for text in ("{", "[]"):
        (place / "config.json").write_text(text)
        refused("config.json is broken", base, str(place))
    (place / "config.json").write_text(whole)
    (place / "model.safetensors").unlink()
    for text in ("[]", '{"weight_map": {"a": 5}}', "{"):
        (place / "model.safetensors.index.json").write_text(text)
        refused("index.json is broken", base, str(place))
    refused("is the same folder", base, folders["a"], folders["a"] + "/")
    broken = tensors["a"] | {NORM: tensors["a"][NORM] * float("nan")}
    refused(f"tensor {NORM} holds NaN or Inf", base, str(write(tmp_path / "nan", broken)))
    (old / "model.safetensors.index.json").write_text("{}")
    refused("index.json is broken", base, str(old))


def test_shapes_that_a_merge_feeds_are_checked():
    accumulator = Accumulator("base", ["a"])
    with pytest.raises(ModelError, match=r"a: tensor w has shape \[3\], base has \[2\]"):
        accumulator.add("w", torch.zeros(2), {"a": torch.zeros(3)})


def test_the_file_is_whole_or_not_there(tmp_path):
    with pytest.raises(ValueError):
        table.write({"x": float("nan")}, tmp_path / "sim.json")
    assert list(tmp_path.iterdir()) == []


def test_the_table_has_a_row_a_pair(family):
    folders, _ = family
    text = table.render(compute_similarity(folders["base"], [folders["a"], folders["b"]]))
    pairs = [" - ".join(p) for p in combinations(("base", "a", "b"), 2)]
    assert [line.split("  ")[0] for line in text.splitlines()[2:]] == pairs


@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-4, 1e-6])
def test_the_cosine_of_task_vectors_of_any_lengths(scale):
    generator = torch.Generator().manual_seed(0)
    base, x, noise = (torch.randn(5000, generator=generator).double() for _ in range(3))
    y = scale * (0.5 * x + noise)
    (pair,) = measured(base, base + x, base + y)["task_vector_pairs"]
    a, b = ((base + v - base).numpy() for v in (x, y))
    assert pair["cosine"] == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), abs=1e-14)


def test_a_task_vector_past_float32_has_quantiles():
    row = measured([3e38, 1.0], [-3e38, 1.0])["task_vectors"]["m0"]
    assert row["quantiles"]["1.0"] == pytest.approx(3.39e38, rel=1e-2) and row["quantiles"]["0.5"] == 0
