"""Checks of models work on plain facts: no model is needed to test them."""

from pathlib import Path

import pytest

from mergekit_finance.checks import model_checks as checks
from mergekit_finance.errors import ModelError, RecipeError
from mergekit_finance.models.facts import SHAPE, ModelFacts, TensorFacts


def facts(reference: str, rope: object = 1e4, **sizes: object) -> ModelFacts:
    return ModelFacts(reference, {**dict.fromkeys((*SHAPE, "vocab_size"), 1), **sizes}, rope)


# ---- references


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("./nowhere", "no such folder; paths are relative"),
        ("nowhere", "not a Hub id"),
        ("a/b/c", "not a Hub id"),
        ("tiny/empty", r"is a local folder: write \./tiny/empty"),
        ("./tiny/empty", "no config.json"),
        ("./tiny/config", "no weights there"),
        ("./tiny/empty+./lora", "names a LoRA adapter"),
    ],
)
def test_a_reference_that_is_no_model_is_named(tmp_path, monkeypatch, reference, message):
    (tmp_path / "tiny" / "empty").mkdir(parents=True)
    (tmp_path / "tiny" / "config").mkdir()
    (tmp_path / "tiny" / "config" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=rf"^r.yml: model '.*{message}") as caught:
        checks.check_reference(reference, "r.yml")
    assert "\n" not in str(caught.value)


def checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text("")
    return folder


def test_local_checkpoints_and_hub_ids_pass(tmp_path):
    checks.check_references([str(checkpoint(tmp_path / "a")), "owner/name", "owner/name@main"], "r.yml")


@pytest.mark.parametrize("spelling", ["{}/a/../a", "{}/link"])
def test_a_folder_under_two_spellings_is_refused(tmp_path, spelling):
    checkpoint(tmp_path / "a")
    (tmp_path / "link").symlink_to("a")
    pair = [f"{tmp_path}/a", spelling.format(tmp_path)]
    with pytest.raises(RecipeError, match="are the same model; list it once"):
        checks.check_references(pair, "r.yml")


def test_a_hub_id_that_is_listed_twice_is_refused():
    with pytest.raises(RecipeError, match="'o/n' and 'o/n' are the same model"):
        checks.check_references(["o/n", "o/n"], "r.yml")


def test_two_models_with_the_same_bytes_are_refused():
    with pytest.raises(RecipeError, match="^s.yml: ./a and ./c are the same model, byte by byte"):
        checks.check_distinct({"./a": "1", "./b": "2", "./c": "1"}, "s.yml")
    checks.check_distinct({"./a": "1", "./b": "2"}, "s.yml")


# ---- config


@pytest.mark.parametrize("name", SHAPE)
def test_another_size_is_named_with_both_models(name):
    models = [facts("./base"), facts("./a"), facts("./b", **{name: 2})]
    with pytest.raises(
        ModelError, match=f"^r.yml: './b' has {name} 2, './base' has 1: they cannot be merged"
    ):
        checks.check_fit(models, "r.yml", vocabulary=False)


def test_another_vocabulary_is_named_unless_a_tokenizer_block_aligns_it():
    models = [facts("./base"), facts("./a", vocab_size=7)]
    with pytest.raises(ModelError, match="has vocab_size 7, .*tokenizer block"):
        checks.check_fit(models, "r.yml", vocabulary=True)
    checks.check_fit(models, "r.yml", vocabulary=False)


# ---- tensors


def tensor(name: str, *shape: int, dtype: str = "BF16") -> TensorFacts:
    return TensorFacts(name, shape, dtype)


def test_another_shape_is_named_with_tensor_and_both_models():
    tensors = {"./base": [tensor("w", 2, 3)], "./a": [tensor("w", 2, 3)], "./b": [tensor("w", 2, 4)]}
    with pytest.raises(ModelError, match=r"^r.yml: './b' has w of shape \[2, 4\], './base' of \[2, 3\]"):
        checks.check_tensors(tensors, "r.yml")


@pytest.mark.parametrize("dtype", ["I8", "U8", "F8_E4M3"])
def test_quantized_weights_are_named(dtype):
    with pytest.raises(ModelError, match=f"'./a' holds w as {dtype}, not as floats"):
        checks.check_tensors({"./a": [tensor("w", 2, dtype=dtype)]}, "r.yml")


def test_tensors_of_different_float_dtypes_pass():
    tensors = {"./base": [tensor("w", 2, dtype="F32")], "./a": [tensor("w", 2, dtype="F16")]}
    checks.check_tensors(tensors, "r.yml")


# ---- warnings


def test_other_rotary_positions_and_other_token_ids_are_warned_of():
    models = [facts("./base"), facts("./a"), facts("./b", rope=5e5), facts("./c")]
    ids = {"./base": {"x": 0, "y": 1}, "./a": {"x": 0, "new": 2}, "./b": {"x": 0}, "./c": {"x": 1, "y": 0}}
    assert checks.compatibility_warnings(models, ids) == [
        "./b has rope 500000.0, ./base 10000.0: the merge keeps the base's",
        "./c gives 2 tokens other ids than ./base ('x', 'y'): their rows are merged with those of other tokens",
    ]


def test_models_without_token_ids_are_not_compared():
    assert checks.compatibility_warnings([facts("./base"), facts("./a")], {"./a": {"x": 1}}) == []
    assert checks.compatibility_warnings([facts("./base"), facts("./a")], {"./base": {"x": 1}}) == []
