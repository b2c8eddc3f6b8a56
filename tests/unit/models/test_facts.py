"""Facts of models on disk: config, tensor headers, fingerprints; what is broken is named."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from mergekit_finance.errors import ModelError
from mergekit_finance.models import facts
from mergekit_finance.models.fingerprint import fingerprint, folder_fingerprint, tokenizer_fingerprint


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> Path:
    """A copy of a model that a test may break."""
    return Path(shutil.copytree(tiny / "math", tmp_path / "math"))


def test_sizes_come_from_the_config(model):
    config = json.loads((model / "config.json").read_text())
    found = facts.read_facts(str(model))
    assert found.reference == str(model)
    for name in ("hidden_size", "vocab_size", "architectures", "num_key_value_heads"):
        assert found.sizes[name] == config[name]
    assert found.rope == {"rope_theta": 10000.0, "rope_type": "default"}


def test_a_broken_config_is_named(model):
    (model / "config.json").write_text("{")
    with pytest.raises(ModelError, match=f"{model}/config.json: cannot be read") as caught:
        facts.read_facts(str(model))
    assert "\n" not in str(caught.value)


def test_tensor_headers_are_those_of_the_file(model):
    stored = load_file(model / "model.safetensors")
    tensors = facts.read_tensors(str(model))
    assert {t.name: t.shape for t in tensors} == {name: tuple(t.shape) for name, t in stored.items()}
    assert {t.dtype for t in tensors} == {"BF16"}


def test_a_truncated_file_is_named(model):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="model.safetensors is truncated or broken"):
        facts.read_tensors(str(model))


def test_a_shard_that_only_the_index_has_is_named(model):
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="model-00001-of-00002.safetensors is missing, though the index"):
        facts.read_tensors(str(model))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "not a JSON object"),
        ("{}", "not an index of shards"),
        ('{"weight_map": 1}', "not an index of shards"),
        ("{", "cannot be read"),
    ],
)
def test_an_index_that_is_none_is_named(model, text, message):
    (model / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ModelError, match=f"model.safetensors.index.json: {message}"):
        facts.read_tensors(str(model))


def test_a_model_that_cannot_be_fetched_is_named():
    with pytest.raises(ModelError, match="model 'nobody/nothing': cannot be fetched"):
        facts.local_folder("nobody/nothing")


def test_models_that_say_they_were_never_trained(tiny, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    references = [str(tiny / "base"), str(tmp_path), "nobody/nothing"]
    assert facts.random_weights(references) == [str(tiny / "base")]


def test_the_size_is_that_of_the_weights(model):
    assert facts.weights_size(str(model)) == (model / "model.safetensors").stat().st_size


@pytest.mark.parametrize(("reference", "name"), [("./lab/base/", "base"), ("owner/name", "name"), ("x", "x")])
def test_the_short_name_is_the_last_component(reference, name):
    assert facts.short_name(reference) == name


# ---- fingerprints


@pytest.mark.parametrize(
    "name", ["merges.txt", "chat_template.jinja", "modeling_own.py", "config.json", "license.json"]
)
def test_any_file_that_can_change_a_model_changes_its_fingerprint(model, name):
    before = fingerprint(str(model))
    path = model / name
    path.write_text(path.read_text() + " " if path.exists() else "new")
    assert fingerprint(str(model)) != before


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "NOTICE.txt", ".gitattributes", "loss.png"])
def test_texts_and_pictures_do_not_change_a_models_fingerprint(model, name):
    before = fingerprint(str(model))
    (model / name).write_text("new")
    assert fingerprint(str(model)) == before == folder_fingerprint(model)


def test_a_renamed_file_changes_the_fingerprint(model):
    before = fingerprint(str(model))
    (model / "model.safetensors").rename(model / "other.safetensors")
    assert fingerprint(str(model)) != before


def test_the_fingerprint_is_a_hash_of_names_and_bytes(tmp_path):
    """As earlier versions computed it: stored results are named after it."""
    (tmp_path / "b.json").write_bytes(b"2")
    (tmp_path / "a.json").write_bytes(b"1")
    assert folder_fingerprint(tmp_path) == hashlib.sha256(b"a.json1b.json2").hexdigest()[:16]


def test_the_tokenizers_fingerprint_covers_its_files_only(model):
    before = tokenizer_fingerprint(str(model))
    (model / "config.json").write_text("{}")
    assert tokenizer_fingerprint(str(model)) == before
    path = model / "tokenizer.json"
    path.write_text(path.read_text() + " ")
    assert tokenizer_fingerprint(str(model)) != before
