"""Facts of models on disk: config, tensor headers, fingerprints; what is broken is named."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mergekit_finance.errors import ModelError
from mergekit_finance.models import facts, presence
from mergekit_finance.models.fingerprint import fingerprint, folder_fingerprint, tokenizer_fingerprint
from mergekit_finance.models.loading import load_tokenizer


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> Path:
    """A copy of a model that a test may break."""
    return Path(shutil.copytree(tiny / "math", tmp_path / "math"))


def read(folder: Path) -> facts.ModelFacts:
    return facts.FactsReader().read(str(folder))


def test_sizes_come_from_the_config(model):
    config = json.loads((model / "config.json").read_text())
    facts_read = read(model)
    assert facts_read.reference == str(model) and facts_read.problems == facts_read.unseen == ()
    for name in ("hidden_size", "vocab_size", "architectures", "num_key_value_heads"):
        assert facts_read.sizes[name] == config[name]
    assert facts_read.rope == {"rope_theta": 10000.0, "rope_type": "default"}


def test_a_broken_config_is_named(model):
    (model / "config.json").write_text("{")
    with pytest.raises(ModelError, match="config.json: cannot be read") as caught:
        facts.load_config(str(model))
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
    with pytest.raises(ModelError, match="model-00001-of-00002.safetensors is missing, although the index"):
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
def test_an_index_that_is_not_valid_is_named(model, text, message):
    (model / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ModelError, match=f"model.safetensors.index.json: {message}"):
        facts.read_tensors(str(model))


def test_a_model_that_cannot_be_fetched_is_named():
    with pytest.raises(ModelError, match="model 'nobody/nothing': cannot be fetched"):
        facts.fetched_folder("nobody/nothing")


def test_models_with_random_weights_are_recognized(tiny, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    references = [str(tiny / "base"), str(tmp_path), "nobody/nothing"]
    assert presence.random_weights(references) == [str(tiny / "base")]


def test_the_size_is_that_of_the_weights(model):
    assert presence.weights_size(str(model)) == (model / "model.safetensors").stat().st_size


@pytest.mark.parametrize(("reference", "name"), [("./lab/base/", "base"), ("owner/name", "name"), ("x", "x")])
def test_the_short_name_is_the_last_component(reference, name):
    assert facts.short_name(reference) == name


# ---- facts without hosts


def test_tensors_and_values_are_those_of_the_files(model):
    stored, model_facts = load_file(model / "model.safetensors"), read(model)
    assert {name: t.shape for name, t in model_facts.tensors.items()} == {
        name: tuple(t.shape) for name, t in stored.items()
    }
    norm = model_facts.samples["model.norm.weight"]
    assert norm.tolist() == stored["model.norm.weight"].float().tolist()
    assert model_facts.weight_files == ("model.safetensors",)


def test_token_ids_are_those_of_transformers(model):
    from transformers import AutoTokenizer

    assert read(model).tokenizer.ids == AutoTokenizer.from_pretrained(model).get_vocab()


def test_equal_tokenizers_are_parsed_once(tiny):
    reader = facts.FactsReader()
    first, second = (reader.read(str(tiny / name)).tokenizer for name in ("base", "math"))
    assert first is second and reader.tokenizers_parsed == 1


@pytest.mark.parametrize(
    ("config", "rope"),
    [
        ({}, {"rope_theta": 10000.0, "rope_type": "default"}),
        ({"rope_theta": 5e5}, {"rope_theta": 5e5, "rope_type": "default"}),
        ({"rope_theta": 5e5, "rope_scaling": None}, {"rope_theta": 5e5, "rope_type": "default"}),
        (
            {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}},
            {"rope_theta": 5e5, "rope_type": "linear", "factor": 2.0},
        ),
        ({"rope_parameters": {"rope_theta": 5e5}}, {"rope_theta": 5e5, "rope_type": "default"}),
        ({"text_config": {"rope_theta": 5e5}}, {"rope_theta": 5e5, "rope_type": "default"}),
    ],
)
def test_old_and_new_keys_of_rotary_positions_mean_the_same(config, rope):
    assert facts.ModelFacts("x", config=config).rope == rope


def test_sizes_that_follow_from_others_are_derived():
    sizes = facts.ModelFacts("x", config={"hidden_size": 64, "num_attention_heads": 4}).sizes
    assert (sizes["head_dim"], sizes["num_key_value_heads"]) == (16, 4)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("config.json", "[]"),
        ("generation_config.json", "{"),
        ("tokenizer_config.json", "[]"),
        ("tokenizer.json", "[]"),
        ("chat_template.jinja", "\udcff"),
        ("model.safetensors", "short"),
        ("model.safetensors.index.json", '{"weight_map": {"a": "../model.safetensors"}}'),
    ],
)
def test_a_broken_file_is_a_problem_and_the_rest_is_read(model, file, text):
    (model / file).write_text(text, errors="surrogateescape")
    model_facts = read(model)
    assert [problem.id for problem in model_facts.problems] == ["model.broken"]
    assert file in model_facts.problems[0].message and "\n" not in model_facts.problems[0].message
    assert model_facts.config or file == "config.json"


@pytest.mark.parametrize(
    "text",
    [
        '{"model": {}}',
        '{"model": {"vocab": {"a": "b"}}}',
        '{"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 1}]}',
        '{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}}',
    ],
)
def test_json_that_is_no_tokenizer_has_the_id_that_loading_it_has(model, text):
    (model / "tokenizer.json").write_text(text)
    (problem,) = read(model).problems
    assert problem.id == "model.tokenizer"
    with pytest.raises(ModelError) as loaded:
        load_tokenizer(str(model))
    assert loaded.value.id == "model.tokenizer"


INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("file", "twice", "ids"),
    [
        ("config.json", '"x": 1, "x": 1', ["model.repeated-key"]),
        ("config.json", '"x": 1, "x": 2', ["model.broken"]),
        ("generation_config.json", '"x": {"y": 1, "y": 2}', ["model.broken"]),
        ("tokenizer_config.json", '"x": [1], "x": [1]', ["model.repeated-key"]),
        ("special_tokens_map.json", '"x": 1, "x": 1', ["model.repeated-key"]),
        ("tokenizer.json", '"zz": 1, "zz": 1', ["model.repeated-key"]),
        (INDEX, '"model.norm.weight": "model.safetensors"', ["model.repeated-key"]),
        (INDEX, '"model.norm.weight": "other.safetensors"', ["model.broken"]),
    ],
)
def test_keys_that_appear_twice_are_reported(model, file, twice, ids):
    if file == INDEX:
        _with_index(model, lambda files: None)
    path = model / file
    text = path.read_text() if path.exists() else "{}"
    blocks = {INDEX: '"weight_map": {', "tokenizer.json": '"vocab": {'}
    block = blocks.get(file, "{")
    path.write_text(text.replace(block, f"{block}{twice}" + ("," if text != "{}" else ""), 1))
    problems = read(model).problems
    assert [problem.id for problem in problems] == ids
    assert file in problems[0].message


def test_a_shard_that_is_not_there_is_missing(model):
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (model / "model.safetensors").unlink()
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert [problem.id for problem in read(model).problems] == ["model.missing"]


def test_a_single_file_beside_an_index_of_others_is_a_problem(model):
    shutil.copy(model / "model.safetensors", model / "model-00001-of-00001.safetensors")
    names = load_file(model / "model.safetensors")
    index = {"weight_map": dict.fromkeys(names, "model-00001-of-00001.safetensors")}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    model_facts = read(model)
    assert [problem.id for problem in model_facts.problems] == ["model.two-sets"]
    assert set(model_facts.weight_files) == {"model-00001-of-00001.safetensors"}
    (model / "model.safetensors").unlink()
    assert read(model).problems == ()


def test_missing_hub_models_and_weights_are_reported(model):
    assert read(Path("nobody/nothing")).unseen == (
        "nobody/nothing is not on this machine: nothing was checked",
    )
    (model / "model.safetensors").unlink()
    assert [sentence for sentence in read(model).unseen if "no weights on this machine" in sentence]


def test_a_model_in_the_hubs_cache_is_read(model, tmp_path, monkeypatch):
    import huggingface_hub.constants

    cache = tmp_path / "cache"
    snapshot = cache / "models--o--n" / "snapshots" / "c"
    shutil.copytree(model, snapshot)
    (cache / "models--o--n" / "refs").mkdir()
    (cache / "models--o--n" / "refs" / "main").write_text("c")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    assert facts.FactsReader().read("o/n").folder == snapshot


def test_after_the_byte_limit_the_remaining_files_are_reported_as_unread(model):
    reader = facts.FactsReader(max_bytes=3000)
    model_facts = reader.read(str(model))
    assert reader.bytes_read <= 3000
    assert any("a check reads at most" in sentence for sentence in model_facts.unseen)


@pytest.mark.parametrize(
    ("config", "template"),
    [
        ({"chat_template": "t"}, "t"),
        ({"chat_template": [{"name": "tool", "template": "x"}, {"name": "default", "template": "d"}]}, "d"),
        ({"chat_template": 3}, None),
        ({}, None),
    ],
)
def test_the_chat_template_is_the_default_one(model, config, template):
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    assert read(model).chat_template == template
    (model / "chat_template.jinja").write_text("file")
    assert read(model).chat_template == "file"


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


@pytest.mark.parametrize("name", [".x.safetensors", "LICENSE", "weights.md", "NOTICE.txt"])
def test_a_shard_of_any_name_changes_the_fingerprint(model, name):
    (model / "model.safetensors").rename(model / name)
    weights = {tensor.name: name for tensor in facts.read_header(model / name, facts.ByteReader())}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    before = fingerprint(str(model))
    data = bytearray((model / name).read_bytes())
    data[-1] ^= 1
    (model / name).write_bytes(data)
    assert fingerprint(str(model)) != before


@pytest.mark.parametrize(
    "name",
    [
        "additional_chat_templates/tool_use.jinja", "chat_template.json", "chat_template.jsonl",
        "chat_template.jinja", "generation_config.json", "tokenizer.4.0.json", "merges.txt", "bpe.codes",
    ],
)  # fmt: skip
def test_templates_and_small_files_change_the_fingerprint(model, name):
    path = model / name
    path.parent.mkdir(exist_ok=True)
    before = fingerprint(str(model))
    path.write_text("one")
    between = fingerprint(str(model))
    path.write_text("two")
    assert len({before, between, fingerprint(str(model))}) == 3


def _with_index(model, change):
    """Write an index of the single file, changed by `change`, and return the problems of the model."""
    tensors = {t.name: t.file for t in facts.read_header(model / "model.safetensors", facts.ByteReader())}
    change(tensors)
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": tensors}))
    return facts.FactsReader().read(str(model)).problems


def test_an_index_of_the_single_file_is_read(model):
    assert _with_index(model, lambda files: None) == ()


def test_an_index_that_its_files_contradict_is_broken(model):
    (more,) = _with_index(model, lambda files: files.update({"model.extra.weight": "model.safetensors"}))
    assert more.id == "model.broken" and "'model.extra.weight' is not in model.safetensors" in more.message
    (less,) = _with_index(model, lambda files: files.pop("model.norm.weight"))
    assert (
        less.id == "model.broken" and "'model.norm.weight' of model.safetensors is not listed" in less.message
    )


def test_a_single_file_among_the_files_of_an_index_is_two_sets(model):
    """mergekit reads both files, transformers the single one."""
    save_file({"model.extra.weight": torch.ones(2)}, model / "more.safetensors")
    (problem,) = _with_index(model, lambda files: files.update({"model.extra.weight": "more.safetensors"}))
    assert problem.id == "model.two-sets"


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
