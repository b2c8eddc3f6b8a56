"""Reading checkpoints: shards, threads, dtypes, tied embeddings, and what is wrong with files."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.similarity import EMBED, HEAD, NORM, UP, weights, write

from mergekit_finance.errors import ModelError
from mergekit_finance.similarity import entries, table
from mergekit_finance.similarity.checkpoint_files import CheckpointFamily
from mergekit_finance.similarity.compute import compute_similarity
from mergekit_finance.similarity.measures import Accumulator


def bytes_of(tmp_path, monkeypatch, layout, threads):
    base = weights(0)
    home = tmp_path / f"{layout}-{threads}"
    for i, name in enumerate(("base", "a", "b")):
        write(home / name, base if name == "base" else weights(i, base=base), layout[i])
    monkeypatch.chdir(home)
    table.write_similarity(compute_similarity("base", ["a", "b"], threads=threads), home / "sim.json")
    return (home / "sim.json").read_bytes()


def test_threads_and_shards_do_not_change_a_byte(tmp_path, monkeypatch, small_blocks):
    first = bytes_of(tmp_path, monkeypatch, (1, 1, 1), 1)
    for layout, threads in [((1, 1, 1), 2), ((1, 1, 1), 5), ((3, 1, 2), 2), ((1, 4, 2), 1)]:
        assert bytes_of(tmp_path, monkeypatch, layout, threads) == first


def test_a_single_file_beside_an_index_of_others_is_refused(family):
    """transformers would read the single file."""
    folders, tensors = family
    shards = write(Path(folders["a"]).with_name("shards"), tensors["b"], 2)
    for path in shards.glob("*.safetensors*"):
        path.rename(Path(folders["a"], path.name))
    with pytest.raises(
        ModelError, match=r"model.safetensors and an index of other files.*\[model.two-sets\]"
    ):
        compute_similarity(folders["base"], [folders["a"]])


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
    accumulator = Accumulator(folders["base"], [folders["a"], folders["b"]])
    for name in reversed(list(tensors["base"])):
        parts = {folders[m]: tensors[m][name] for m in ("b", "a")}
        accumulator.add(name, tensors["base"][name], parts)
    assert entries.result(accumulator) == compute_similarity(folders["base"], [folders["a"], folders["b"]])


def test_distances_alone_equal_those_of_a_full_measurement(family):
    folders, _ = family
    few = compute_similarity(folders["base"], [folders["a"], folders["b"]], everything=False).as_json()
    all_ = compute_similarity(folders["base"], [folders["a"], folders["b"]]).as_json()
    for name, entry in few["tensors"].items():
        for mine, full in zip(entry["pairs"], all_["tensors"][name]["pairs"], strict=True):
            assert mine == {key: full[key] for key in ("a", "b", "l2", "cosine")}
        assert "quantiles" not in entry["task_vectors"][folders["a"]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64, torch.float8_e4m3fn])
def test_models_of_different_dtypes(tmp_path, dtype):
    base = weights(0)
    other = {n: t.to(dtype) for n, t in weights(1, torch.float32, base=base).items()}
    folders = [str(write(tmp_path / n, t)) for n, t in (("base", base), ("a", other))]
    total = compute_similarity(folders[0], folders[1:]).as_json()["total"]
    x, y = (np.concatenate([t[n].double().numpy().ravel() for n in sorted(t)]) for t in (base, other))
    assert total["pairs"][0]["l2"] == pytest.approx(np.linalg.norm(x - y), rel=1e-12)
    assert total["pairs"][0]["equal"] == np.mean(x == y)


def test_tied_output_embeddings(tmp_path):
    """If all models are tied, they count once, stored or not; if one is not, the head of the others is their input."""
    base = weights(0)
    tied = {n: t for n, t in base.items() if n != HEAD}
    config = {"tie_word_embeddings": True}
    folders = {
        "untied": write(tmp_path / "untied", base),
        "tied": write(tmp_path / "tied", tied, config=config),
        "silent": write(tmp_path / "silent", tied, config={"model_type": "gemma2"}),
        "stored": write(tmp_path / "stored", tied | {HEAD: base[EMBED].clone()}, config=config),
    }
    folders = {k: str(v) for k, v in folders.items()}
    assert HEAD not in compute_similarity(folders["tied"], [folders["stored"]]).as_json()["tensors"]
    for name in ("tied", "silent"):
        measured = compute_similarity(folders["untied"], [folders[name]]).as_json()["tensors"][HEAD]
        expected = np.linalg.norm((base[HEAD].double() - base[EMBED].double()).numpy())
        assert measured["pairs"][0]["l2"] == pytest.approx(expected, rel=1e-12)


def test_a_head_of_its_own_counts_although_the_config_ties_it(tmp_path):
    base, config = weights(0), {"tie_word_embeddings": True}
    one = str(write(tmp_path / "a", base | {HEAD: base[EMBED].clone()}, config=config))
    other = str(write(tmp_path / "b", base, config=config))
    measured = compute_similarity(one, [other]).as_json()["tensors"][HEAD]
    expected = np.linalg.norm((base[HEAD].double() - base[EMBED].double()).numpy())
    assert measured["pairs"][0]["l2"] == pytest.approx(expected, rel=1e-12)


def test_integer_tensors_are_skipped_and_listed(tmp_path):
    extra = {"model.position_ids": torch.arange(5)}
    folders = [str(write(tmp_path / n, weights(0) | extra)) for n in ("base", "a")]
    measured = compute_similarity(folders[0], folders[1:]).as_json()
    assert measured["skipped"] == ["model.position_ids"] and "model.position_ids" not in measured["tensors"]


INV_FREQ = "model.layers.0.self_attn.rotary_emb.inv_freq"


@pytest.mark.parametrize("old", ["base", "a", "both"])
def test_rotary_buffers_of_old_files_are_skipped_and_listed(tmp_path, old):
    """Llama-2-time files store them, newer files of the same model do not."""
    extra = {INV_FREQ: torch.ones(4)}
    folders = [
        str(write(tmp_path / n, weights(0) | (extra if old in (n, "both") else {}))) for n in ("base", "a")
    ]
    result = compute_similarity(folders[0], folders[1:]).as_json()
    assert result["skipped"] == [INV_FREQ]
    assert sorted(result["tensors"]) == sorted(weights(0)) and result["total"]["pairs"][0]["l2"] == 0


def refused(match, base, *models, **options):
    with pytest.raises(ModelError, match=match) as caught:
        compute_similarity(base, list(models), **options)
    assert "\n" not in str(caught.value)


def test_tensors_that_are_missing_or_of_other_shapes_are_named(tmp_path):
    full = weights(0)
    less = {n: t for n, t in full.items() if n not in (UP.format(1), NORM)}
    wide = full | {UP.format(1): torch.zeros(65, 24)}
    folders = {n: str(write(tmp_path / n, t)) for n, t in (("full", full), ("less", less), ("wide", wide))}
    missing = rf"less: tensor {UP.format(1)} is missing \(and 1 more\), but .*full has it"
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
    refused("a: model-00002-of-00002.safetensors is not a complete safetensors file", *folders)
    shard.unlink()
    refused("a: shard model-00002-of-00002.safetensors is missing", *folders)


def test_a_file_truncated_while_it_is_read_is_named(family):
    folders, _ = family
    stream = CheckpointFamily([folders["base"], folders["a"]])
    path = f"{folders['a']}/model.safetensors"
    os.truncate(path, os.path.getsize(path) // 2)
    with pytest.raises(ModelError, match="model.safetensors became shorter"):
        stream.measure(Accumulator(folders["base"], [folders["a"]]))


def test_wrong_arguments_and_broken_folders_are_named(tmp_path, family):
    folders, tensors = family
    base = folders["base"]
    refused("no such folder", base, str(tmp_path / "nowhere"))
    refused("not a Hub id", base, "nowhere")
    refused("is listed twice", base, folders["a"], folders["a"])
    refused("Give at least one", base)
    refused("device 'cuba' cannot be used", base, folders["a"], device="cuba")
    old = write(tmp_path / "old", {})
    (old / "model.safetensors").unlink()
    (old / "pytorch_model.bin").touch()
    refused("safetensors only", base, str(old))
    place = write(tmp_path / "garbled", tensors["a"])
    whole = (place / "config.json").read_text()
    for text, message in (("{", "cannot be read"), ("[]", "not a JSON object")):
        (place / "config.json").write_text(text)
        refused(f"config.json: {message}", base, str(place))
    (place / "config.json").write_text(whole)
    (place / "model.safetensors").unlink()
    indexes = {
        "[]": "not a JSON object",
        '{"weight_map": {"a": 5}}': "'a' is in 5, not a file",
        "{": "cannot be read",
    }
    for text, message in indexes.items():
        (place / "model.safetensors.index.json").write_text(text)
        refused(f"index.json: {message}", base, str(place))
    refused("is the same folder", base, folders["a"], folders["a"] + "/")
    broken = tensors["a"] | {NORM: tensors["a"][NORM] * float("nan")}
    refused(f"tensor {NORM} holds NaN or Inf", base, str(write(tmp_path / "nan", broken)))
    (old / "model.safetensors.index.json").write_text("{}")
    refused("index.json: not an index", base, str(old))


def test_shapes_given_to_the_accumulator_are_checked():
    accumulator = Accumulator("base", ["a"])
    with pytest.raises(ModelError, match=r"a: tensor w has shape \[3\], base has \[2\]"):
        accumulator.add("w", torch.zeros(2), {"a": torch.zeros(3)})
