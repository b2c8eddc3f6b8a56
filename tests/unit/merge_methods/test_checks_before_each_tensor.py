"""Before mergekit reads a tensor, the model's files are checked: again only after they have changed."""

import json
import os

import pytest
import torch
from helpers.merging import EXPERTS, random_models, split
from mergekit.common import ModelReference

from mergekit_finance.errors import ModelError
from mergekit_finance.merge_methods import planned_inputs
from mergekit_finance.merge_methods.planned_inputs import name_broken_files

INDEX = "model.safetensors.index.json"


@pytest.fixture
def model(tmp_path):
    return random_models(tmp_path) / EXPERTS[0]


@pytest.fixture
def checked(monkeypatch):
    """The folders whose files are checked, as it happens."""
    folders, check = [], planned_inputs._require_regular_files

    def counted(folder):
        folders.append(folder)
        check(folder)

    monkeypatch.setattr(planned_inputs, "_require_regular_files", counted)
    return folders


def read(model):
    with name_broken_files(ModelReference.parse(str(model))):
        pass


def test_unchanged_files_are_checked_once(model, checked):
    for _ in range(3):
        read(model)
        read(model.parent / "base")
    assert checked == [model, model.parent / "base"]


def test_a_pipe_that_takes_the_place_of_weights_is_refused(model, checked):
    read(model)
    (model / "model.safetensors").unlink()
    os.mkfifo(model / "model.safetensors")
    for _ in range(2):  # what was refused is refused again
        with pytest.raises(ModelError, match="model.safetensors: not a regular file"):
            read(model)
    assert len(checked) == 3


def test_weights_that_are_deleted_are_reported(model):
    read(model)
    (model / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights there"):
        read(model)


def test_an_index_that_is_changed_in_place_is_read_again(model, checked):
    split(model, 2)
    os.mkfifo(model / "pipe.safetensors")
    read(model)
    index = json.loads((model / INDEX).read_text())
    name = next(iter(index["weight_map"]))
    index["weight_map"][name] = "pipe.safetensors"
    (model / INDEX).write_text(json.dumps(index))
    with pytest.raises(ModelError, match="pipe.safetensors: not a regular file"):
        read(model)


def test_files_that_could_hold_code_are_checked_before_every_tensor(model, checked):
    (model / "model.safetensors").unlink()
    torch.save({"model.norm.weight": torch.ones(4)}, model / "pytorch_model.bin")
    read(model)
    (model / "pytorch_model.bin").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="pytorch_model.bin"):
        read(model)
    assert len(checked) == 2


def test_a_checkpoint_that_is_opened_while_a_tensor_is_read_is_not_checked_again(model, checked):
    (model / "model.safetensors").unlink()
    torch.save({"model.norm.weight": torch.ones(4)}, model / "pytorch_model.bin")
    reference = ModelReference.parse(str(model))
    for _ in range(2):
        with name_broken_files(reference), name_broken_files(reference):
            pass
    assert len(checked) == 2
