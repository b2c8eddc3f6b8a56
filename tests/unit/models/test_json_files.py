"""JSON files of a model's folder: content that hosts cannot handle is refused in one line before they read it."""

import json
import os
from pathlib import Path

import pytest
from helpers.fuzz_guard import cpu_limit

from mergekit_finance.errors import ModelError
from mergekit_finance.models.json_files import read_config, read_model_json, shard_names

DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000
NOT_OBJECTS = {
    "a list": "[]",
    "a number": "5",
    "null": "null",
    "nothing": "",
    "half a file": '{"a": ',
    "100,000 levels": DEEP,
    "NaN": '{"a": NaN}',
    "5,000 digits": '{"a": ' + "9" * 5000 + "}",
    "half of a surrogate pair": '{"a": "\\ud800"}',
    "not UTF-8": b"\xff",
}


def one_line(error: ModelError, path: Path) -> str:
    message = str(error)
    assert message.startswith(f"{path}: ") and message.isprintable() and len(message) < 500
    return message


@pytest.mark.parametrize("name", NOT_OBJECTS)
def test_content_that_is_not_a_json_object_is_reported_in_one_line(tmp_path: Path, name: str) -> None:
    path, content = tmp_path / "tokenizer_config.json", NOT_OBJECTS[name]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ModelError) as caught, cpu_limit(15):  # it takes less than 1 s
        read_model_json(path)
    one_line(caught.value, path)


def test_a_path_that_is_not_a_regular_file_is_reported_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(ModelError, match="no such file"):
        read_model_json(path)
    os.mkfifo(path)
    with pytest.raises(ModelError, match="not a regular file"):
        read_model_json(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(ModelError, match="not a regular file"):
        read_model_json(path)


def test_a_link_is_followed_as_in_the_hubs_cache(tmp_path: Path) -> None:
    (tmp_path / "blob").write_text('{"vocab_size": 8}')
    (tmp_path / "config.json").symlink_to(tmp_path / "blob")
    assert read_config(tmp_path) == {"vocab_size": 8}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 10**7}, "num_hidden_layers is 10000000, not a number from 1 to 10000"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0, not a number"),
        ({"n_layer": -1}, "n_layer is -1, not a number"),
        ({"hidden_size": 10**30}, "hidden_size is 1000000000000000000000000000000, not a number"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0, not a number"),
        ({"vocab_size": "x" * 1000}, "vocab_size is 'xxx"),
        ({"vocab_size": True}, "vocab_size is True, not a number"),
        ({"num_labels": 10**9}, "num_labels is 1000000000, not a number from 1 to 100000"),
        ({"intermediate_size": [4, -4]}, "intermediate_size is -4, not a number"),
        ({"intermediate_size": {"a": 1}}, "intermediate_size is {'a': 1}, not a number"),
        ({"text_config": {"num_hidden_layers": 10**7}}, "text_config.num_hidden_layers is 10000000"),
    ],
)
def test_a_size_out_of_bounds_is_reported_in_one_line(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(changes))
    with pytest.raises(ModelError) as caught:
        read_config(tmp_path)
    assert message in one_line(caught.value, tmp_path / "config.json")


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"num_hidden_layers": 126, "hidden_size": 16384, "vocab_size": 128256, "num_key_value_heads": None},
        {"intermediate_size": [8192, 16384], "text_config": {"vocab_size": 262144}},
    ],
)
def test_sizes_of_existing_models_pass(tmp_path: Path, config: dict[str, object]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_config(tmp_path) == config


def test_shards_are_the_files_that_the_index_names(tmp_path: Path) -> None:
    assert shard_names(tmp_path) == []
    index = {"weight_map": {"a": "2.safetensors", "b": "1.safetensors", "c": "1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert shard_names(tmp_path) == ["1.safetensors", "2.safetensors"]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({}, "it has no weight_map"),
        ({"weight_map": []}, "it has no weight_map"),
        ({"weight_map": {}}, "it has no weight_map"),
        ({"weight_map": {"a": "x"}, "metadata": "x"}, "its metadata is not a mapping"),
        ({"weight_map": {"a": 5}}, "'a' is in 5, not a file of this folder"),
        ({"weight_map": {"a": ["x"]}}, "'a' is in ['x'], not a file of this folder"),
        ({"weight_map": {"a": "../other/model.safetensors"}}, "not a file of this folder"),
        ({"weight_map": {"a": "/etc/passwd"}}, "not a file of this folder"),
        ({"weight_map": {"a": ""}}, "not a file of this folder"),
        ({"weight_map": {"a": ".."}}, "not a file of this folder"),
        ({"weight_map": {"a": "x\0y"}}, "not a file of this folder"),
        ({"weight_map": {"\x1b[31m": 5}}, "'\\x1b[31m' is in 5"),
    ],
)
def test_an_index_that_names_no_files_of_its_folder_is_reported_in_one_line(
    tmp_path: Path, index: dict[str, object], message: str
) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    with pytest.raises(ModelError) as caught:
        shard_names(tmp_path)
    assert message in one_line(caught.value, path)
