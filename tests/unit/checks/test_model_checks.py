"""Checks of models, on facts that the tests write down: no model is loaded."""

from pathlib import Path

import pytest

from mergekit_finance.checks import model_checks as checks
from mergekit_finance.checks.findings import Finding
from mergekit_finance.checks.model_checks import CHECKS, MergeFacts, examine
from mergekit_finance.errors import ModelError, RecipeError
from mergekit_finance.models.facts import SHAPE, ModelFacts, Problem
from mergekit_finance.models.tokenizer_files import TokenizerFacts
from mergekit_finance.models.weight_files import TensorFacts


def facts(reference: str, rope: float = 1e4, **sizes: object) -> ModelFacts:
    config = {**dict.fromkeys((*SHAPE, "vocab_size"), 1), "architectures": ["A"], **sizes, "rope_theta": rope}
    return ModelFacts(reference, config=config)


def with_tensors(reference: str, *tensors: TensorFacts) -> ModelFacts:
    return ModelFacts(reference, tensors={tensor.name: tensor for tensor in tensors})


def with_ids(reference: str, **ids: int) -> ModelFacts:
    return ModelFacts(reference, tokenizer=TokenizerFacts("tokenizer.json", str(ids), ids))


def findings(*models: ModelFacts, **options: object) -> list[Finding]:
    return examine(MergeFacts("r.yml", models, **options))


def only_finding(*models: ModelFacts, **options: object) -> Finding:
    """Return the finding of these models, which must be one."""
    (one,) = findings(*models, **options)
    return one


# ---- references


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("./nowhere", r"no such folder\. Paths are relative"),
        ("nowhere", "not a Hub id"),
        ("a/b/c", "not a Hub id"),
        ("tiny/empty", r"is a local folder, .*Write \./tiny/empty"),
        ("./tiny/empty", "no config.json"),
        ("./tiny/config", "no weights in that folder"),
        ("./tiny/empty+./lora", "names a LoRA adapter"),
    ],
)
def test_a_reference_that_is_not_a_model_is_named(tmp_path, monkeypatch, reference, message):
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
    references = [str(checkpoint(tmp_path / "a")), "owner/name", "owner/name@main"]
    checks.check_references(references, "r.yml")
    assert [list(checks.reference_findings(reference)) for reference in references] == [[], [], []]


@pytest.mark.parametrize("spelling", ["{}/a/../a", "{}/link"])
def test_a_folder_under_two_spellings_is_refused(tmp_path, spelling):
    checkpoint(tmp_path / "a")
    (tmp_path / "link").symlink_to("a")
    pair = [f"{tmp_path}/a", spelling.format(tmp_path)]
    with pytest.raises(RecipeError, match="are the same model"):
        checks.check_references(pair, "r.yml")


def test_a_hub_id_that_is_listed_twice_is_refused():
    with pytest.raises(RecipeError, match="'o/n' and 'o/n' are the same model"):
        checks.check_references(["o/n", "o/n"], "r.yml")


# ---- config


@pytest.mark.parametrize("name", SHAPE)
def test_another_size_is_named_with_both_models(name):
    first, other = (["A"], ["B"]) if name == "architectures" else (1, 2)
    one = only_finding(facts("./base"), facts("./a"), facts("./b", **{name: other}))
    assert (one.id, one.level) == ("model.architecture", "error")
    assert one.message.startswith(f"'./b' has {name} {other}, './base' has {first}: they cannot be merged")


def test_another_vocabulary_is_named_unless_a_tokenizer_block_aligns_it():
    models = [facts("./base"), facts("./a", vocab_size=7)]
    one = only_finding(*models)
    assert one.id == "model.vocabulary" and one.message.startswith("'./a' has vocab_size 7")
    assert "tokenizer block" in one.remedy
    assert findings(*models, aligned=True) == []


def test_a_size_that_one_config_leaves_out_is_not_compared():
    assert findings(facts("./base"), facts("./a", intermediate_size=None)) == []


# ---- tensors


def tensor(name: str, *shape: int, dtype: str = "BF16") -> TensorFacts:
    return TensorFacts(name, shape, dtype)


def test_another_shape_is_named_with_tensor_and_both_models():
    models = [
        with_tensors("./base", tensor("w", 2, 3)),
        with_tensors("./a", tensor("w", 2, 3)),
        with_tensors("./b", tensor("w", 2, 4)),
    ]
    one = only_finding(*models)
    assert one.id == "model.shape"
    assert one.message.startswith("'./b' has w of shape [2, 4], './base' of [2, 3]")
    assert findings(*models, aligned=True) == []


@pytest.mark.parametrize("dtype", ["I8", "U8", "F8_E4M3"])
def test_quantized_weights_are_named(dtype):
    one = only_finding(with_tensors("./a", tensor("w", 2, dtype=dtype)))
    assert one.id == "model.not-floats" and one.message.startswith(f"'./a' holds w as {dtype}, not as floats")


def test_tensors_of_different_float_dtypes_pass():
    models = [
        with_tensors("./base", tensor("w", 2, dtype="F32")),
        with_tensors("./a", tensor("w", 2, dtype="F16")),
    ]
    assert findings(*models) == []


# ---- warnings


def test_other_rotary_positions_are_warned_of():
    one = only_finding(facts("./base"), facts("./a"), facts("./b", rope=5e5))
    assert (one.id, one.level) == ("model.rope", "warning")
    assert one.message == "./b has rope_theta 500000.0, ./base has rope_theta 10000.0"


def test_other_token_ids_are_warned_of_with_their_share():
    one = only_finding(
        with_ids("./base", x=0, y=1), with_ids("./a", x=0, new=2), with_ids("./c", x=1, y=0, z=3, w=4)
    )
    assert (one.id, one.level) == ("model.token-ids", "warning")
    assert one.message == (
        "2 tokens of ./c have other ids in ./base ('x', 'y'), 50.0% of all: "
        "their embeddings are merged with those of other tokens"
    )
    assert findings(with_ids("./base", x=0), with_ids("./a", x=1), aligned=True) == []


def test_models_without_token_ids_are_not_compared():
    assert findings(ModelFacts("./base"), with_ids("./a", x=1)) == []
    assert findings(with_ids("./base", x=1), ModelFacts("./a")) == []


# ---- files


def test_broken_files_are_an_error_and_unread_ones_a_note():
    model = ModelFacts(
        "./a", problems=(Problem("model.broken", "./a/config.json: broken"),), unseen=("no weights",)
    )
    assert [(one.level, one.message) for one in findings(model)] == [
        ("error", "./a/config.json: broken"),
        ("note", "no weights"),
    ]


def test_every_check_skips_models_without_facts():
    merge = MergeFacts("r.yml", (ModelFacts("./base"), ModelFacts("./a")))
    assert [list(check(merge)) for check in CHECKS] == [[] for _ in CHECKS]
