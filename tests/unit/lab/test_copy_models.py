"""The shipped weights: complete, small, loadable, and copied to where recipes name them."""

import json

import pytest

from mergekit_finance.errors import ModelError
from mergekit_finance.lab import ROLES
from mergekit_finance.lab.copy_models import WEIGHTS, copy_models


def test_the_shipped_models_load_and_are_small_enough():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for role in ROLES:
        model = AutoModelForCausalLM.from_pretrained(WEIGHTS / role)
        assert model.num_parameters() <= 2_000_000 and str(model.dtype) == "torch.bfloat16"
        assert AutoTokenizer.from_pretrained(WEIGHTS / role)("売上高 rose")["input_ids"]
    assert sum(p.stat().st_size for p in WEIGHTS.rglob("*") if p.is_file()) <= 16_000_000


def test_every_model_has_a_card_and_a_falling_loss():
    for role in ROLES:
        card = (WEIGHTS / role / "README.md").read_text(encoding="utf-8")
        assert all(word in card for word in ("seed", "steps", "hardware", "training time", "final loss"))
        losses = [
            json.loads(line)["loss"] for line in (WEIGHTS / role / "loss.jsonl").read_text().splitlines()
        ]
        assert losses[-1] < losses[0]


def test_export_writes_four_models(tmp_path):
    places = copy_models(tmp_path / "lab")
    assert [p.name for p in places] == list(ROLES)
    assert all(
        (p / "model.safetensors").read_bytes() == (WEIGHTS / p.name / "model.safetensors").read_bytes()
        for p in places
    )
    assert copy_models(tmp_path / "lab") == places
    # The license must go with the models when they are shared.
    assert all("Apache License" in (p / "LICENSE").read_text() for p in places)


def test_export_refuses_a_folder_that_is_not_a_model(tmp_path):
    (tmp_path / "lab" / "base").mkdir(parents=True)
    with pytest.raises(ModelError, match="base exists and is not a model. Choose another output folder"):
        copy_models(tmp_path / "lab")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_export_does_not_overwrite_a_model_of_the_user(tmp_path, name):
    """Someone else's ./finance, or a copy of ours that was trained on."""
    (base, finance, *_), folder = copy_models(tmp_path / "lab"), tmp_path / "lab"
    (finance / name).write_bytes(b"mine")
    (base / "README.md").unlink()
    with pytest.raises(
        ModelError,
        match=f"finance/{name}: exists with other content, .*: mergekit-finance lab export .* --force",
    ):
        copy_models(folder)
    assert (finance / name).read_bytes() == b"mine" and not (base / "README.md").exists()
    copy_models(folder, force=True)
    assert (finance / name).read_bytes() == (WEIGHTS / "finance" / name).read_bytes()


def test_export_does_not_write_through_links(tmp_path):
    (finance, *_) = copy_models(tmp_path / "lab")
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(b"mine")
    (finance / "model.safetensors").unlink()
    (finance / "model.safetensors").symlink_to(mine)
    copy_models(tmp_path / "lab", force=True)
    assert mine.read_bytes() == b"mine"


def test_export_without_weights_names_the_remedy(tmp_path):
    with pytest.raises(
        ModelError, match="the lab's weights are missing. Reinstall mergekit-finance, or train them"
    ):
        copy_models(tmp_path / "lab", tmp_path)
