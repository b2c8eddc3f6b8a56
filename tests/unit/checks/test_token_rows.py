"""Token ids: those without an embedding, and those that transformers does not load as the files say."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_models import make_llama, make_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from mergekit_finance.checks.findings import Finding
from mergekit_finance.checks.merge_facts import MergeFacts
from mergekit_finance.checks.model_checks import examine
from mergekit_finance.models.facts import FactsReader

FAR = 10**12
DECODER = {"added_tokens_decoder": {"1": {"content": "</s>", "special": True}}}


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = make_tokenizer(300)
    make_llama(len(tokenizer), 0, layers=1, hidden=16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def model(intact: Path, tmp_path: Path) -> Path:
    for path in intact.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def edit(path: Path, **values: Any) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **values}))


def findings(model: Path, *ids: str, evaluated: bool = True) -> list[Finding]:
    facts = FactsReader().read("m", model)
    merge = MergeFacts("r.yml", (facts,), evaluated=frozenset({"m"} if evaluated else ()))
    return [one for one in examine(merge) if one.id in ids]


def generates(model: Path) -> bool:
    tokenizer = AutoTokenizer.from_pretrained(model)
    inputs = tokenizer("a b", return_tensors="pt")
    try:
        AutoModelForCausalLM.from_pretrained(model).generate(**inputs, max_length=9, do_sample=False)
    except (ValueError, IndexError):
        return False
    return True


@pytest.mark.parametrize("id", [FAR, -1, 300])
@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("config.json", "eos_token_id"),
        ("config.json", "bos_token_id"),
        ("generation_config.json", "eos_token_id"),
        ("generation_config.json", "pad_token_id"),
        ("generation_config.json", "suppress_tokens"),
    ],
)
def test_an_id_outside_the_vocabulary_is_a_warning(file: str, key: str, id: int, model: Path) -> None:
    edit(model / file, **{key: [id] if key == "suppress_tokens" else id})
    (one,) = findings(model, "model.token-outside")
    assert one.level == "warning"
    assert f"{key} {id} of {file} is not among the ids of the vocabulary, 0 to 299" in one.message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("forced_eos_token_id", 300),
        ("forced_eos_token_id", FAR),
        ("bad_words_ids", [[5], [300]]),
        ("sequence_bias", [[[300], 1.5]]),
    ],
)
@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
def test_an_id_with_which_transformers_does_not_generate_is_an_error(
    key: str, value: Any, file: str, model: Path
) -> None:
    if file == "config.json":
        (model / "generation_config.json").unlink()
    edit(model / file, **{key: value})
    assert [one.level for one in findings(model, "model.token-outside")] == ["error"]
    assert [one.level for one in findings(model, "model.token-outside", evaluated=False)] == ["warning"]
    assert not generates(model)


@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
def test_an_id_above_64_bits_is_an_error(file: str, model: Path) -> None:
    edit(model / file, eos_token_id=10**25)
    ids = [one.id for one in findings(model, "model.generation-config", "model.broken")]
    assert ids == ["model.generation-config" if file.startswith("gen") else "model.broken"]


def test_a_token_that_is_put_around_every_text_needs_an_embedding(model: Path) -> None:
    token = {"id": "<s>", "type_id": 0}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    processor = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": token}, text],
        "pair": [text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [9999], "tokens": ["<s>"]}},
    }
    edit(model / "tokenizer.json", post_processor=processor)
    (one,) = findings(model, "model.token-outside")
    assert one.level == "error" and "adds the id 9999 to every text" in one.message
    assert not generates(model)
    edit(model / "tokenizer.json", post_processor={"type": "Sequence", "processors": [processor]})
    assert len(findings(model, "model.token-outside")) == 1


@pytest.mark.parametrize(
    ("file", "values"),
    [
        (
            "tokenizer_config.json",
            {"added_tokens_decoder": {str(FAR): {"content": "<x>", "special": True}}},
        ),
        ("tokenizer_config.json", {"added_tokens_decoder": {"1": {"content": "<x>"}}}),
        ("added_tokens.json", {"<x>": FAR}),
        ("added_tokens.json", {"<x>": 5}),
    ],
)
def test_a_token_that_gets_another_id_than_its_file_says(
    file: str, values: dict[str, Any], model: Path
) -> None:
    edit(model / file, **values)
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert tokenizer.convert_tokens_to_ids("<x>") == 300
    (one,) = findings(model, "model.token-ignored")
    assert one.level == "warning" and f"in {file}, and transformers gives it 300" in one.message
    assert "'<x>'" in findings(model, "model.token-outside")[0].message  # it has no embedding, either


def test_an_added_token_with_the_next_id_is_accepted(model: Path) -> None:
    edit(model / "added_tokens.json", **{"<x>": 300, "<y>": 301})
    assert findings(model, "model.token-ignored") == []
    edit(model / "config.json", vocab_size=302)
    assert findings(model, "model.token-outside") == []


def test_a_special_token_in_a_file_that_is_not_read(model: Path) -> None:
    path = model / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["eos_token"]
    path.write_text(json.dumps({**config, **DECODER}))
    edit(model / "special_tokens_map.json", eos_token="</s>")
    assert AutoTokenizer.from_pretrained(model).eos_token is None
    (one,) = findings(model, "model.token-ignored")
    assert "eos_token is in special_tokens_map.json alone" in one.message
    path.write_text(json.dumps(config))
    assert AutoTokenizer.from_pretrained(model).eos_token == "</s>"
    assert findings(model, "model.token-ignored") == []


TOKEN = {"content": "</s>", "lstrip": False}
TYPED = {**TOKEN, "__type": "AddedToken"}
FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "text": ({"eos_token": "</s>"}, {}),
    "a mapping": ({"eos_token": TOKEN}, {}),
    "a mapping with a type": ({"eos_token": TYPED}, {}),
    "a mapping in a list": ({"additional_special_tokens": [TOKEN]}, {}),
    "a mapping with a type in a list": ({"additional_special_tokens": [TYPED]}, {}),
    "a mapping by name": ({"extra_special_tokens": {"x_token": TOKEN}}, {}),
    "a mapping in the map": ({}, {"eos_token": TOKEN}),
    "a mapping in both": ({"eos_token": TOKEN}, {"eos_token": TOKEN}),
    "a mapping beside the decoder": ({"eos_token": TOKEN, **DECODER}, {"eos_token": TOKEN}),
    "a list in the map": ({}, {"additional_special_tokens": [TOKEN]}),
    "a list in a map that is not read": (DECODER, {"additional_special_tokens": [TOKEN]}),
    "a flag that is text": ({"added_tokens_decoder": {"1": {"content": "</s>", "lstrip": "x"}}}, {}),
    "no padding token": ({"pad_token": None}, {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_special_token_is_refused_exactly_where_transformers_does_not_load_it(
    form: str, model: Path
) -> None:
    config, mapped = FORMS[form]
    edit(model / "tokenizer_config.json", **config)
    if mapped:
        edit(model / "special_tokens_map.json", **mapped)
    try:
        AutoTokenizer.from_pretrained(model)
        loads = True
    except TypeError:
        loads = False
    assert [one.level for one in findings(model, "model.tokenizer")] == ([] if loads else ["error"])
