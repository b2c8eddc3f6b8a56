"""A model's small files are checked by their content alone, and each fault is one line."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from mergekit._data import chat_templates

from mergekit_finance.checks.model_checks import MergeFacts, examine
from mergekit_finance.checks.small_files import check_chat_template, template_error
from mergekit_finance.errors import RecipeError
from mergekit_finance.hosts.mergekit_recipes import chat_template_names
from mergekit_finance.models.facts import FactsReader

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
GOOD = "{% for m in messages %}{% if m.role == 'x' %}{% break %}{% endif %}{{ m | tojson }}{% endfor %}"


def errors(folder: Path) -> list[str]:
    facts = FactsReader().read("m", folder)
    return [f"{one.id}: {one.line}" for one in examine(MergeFacts("r.yml", (facts,))).errors]


def write(folder: Path, name: str, content: Any) -> None:
    folder.joinpath(name).write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("generation_config.json", {"eos_token_id": [1, 2], "bos_token_id": 0, "pad_token_id": None}),
        ("tokenizer_config.json", {"chat_template": GOOD}),
        ("tokenizer_config.json", {"chat_template": [{"name": "default", "template": GOOD}]}),
        ("chat_template.jinja", "{% generation %}{{ strftime_now('%Y') }}{% endgeneration %}"),
    ],
)
def test_valid_small_files_give_no_error(name, content, tmp_path):
    write(tmp_path, "config.json", {})
    write(tmp_path, name, content)
    assert errors(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("generation_config.json", "{broken", "generation_config.json"),
        ("generation_config.json", [], "not a JSON object"),
        (
            "generation_config.json",
            {"eos_token_id": "</s>"},
            "eos_token_id '</s>' in generation_config.json is not a token id",
        ),
        ("generation_config.json", {"eos_token_id": [1, None]}, "eos_token_id"),
        ("generation_config.json", {"bos_token_id": True}, "bos_token_id"),
        ("generation_config.json", {"temperature": "hot"}, "temperature 'hot' in .* is not a number above 0"),
        ("generation_config.json", {"temperature": -1.0, "do_sample": True}, "temperature -1.0"),
        ("generation_config.json", {"temperature": 2, "do_sample": True}, "with a decimal point"),
        ("generation_config.json", {"top_p": 7, "do_sample": True}, "top_p 7 in .* a number from 0 to 1"),
        ("generation_config.json", {"repetition_penalty": -1.0}, "repetition_penalty"),
        ("generation_config.json", {"max_new_tokens": 0}, "max_new_tokens 0"),
        ("generation_config.json", {"early_stopping": "maybe"}, "early_stopping"),
        ("generation_config.json", {"cache_implementation": ["static"]}, "one of dynamic"),
        ("generation_config.json", {"num_return_sequences": 3}, "at most num_beams"),
        ("generation_config.json", {"suppress_tokens": "x"}, "a list of token ids"),
        ("generation_config.json", {"bad_words_ids": ["x"]}, "a list of lists of token ids"),
        ("generation_config.json", {"forced_eos_token_id": "x"}, "a token id"),
        ("generation_config.json", {"prefill_chunk_size": -1}, "a whole number of at least 1"),
        ("generation_config.json", {"use_cache": 1}, "true or false"),
        ("generation_config.json", {"use_mtp": "x"}, "use_mtp 'x'"),
        ("generation_config.json", {"min_length": 1.0}, "min_length 1.0 .* a whole number of at least 0"),
        ("generation_config.json", {"num_beams": 10**12}, "a whole number from 1 to 10000"),
        ("config.json", {**LLAMA, "early_stopping": "x"}, "early_stopping 'x' in config.json"),
        ("tokenizer_config.json", "[" * 100_000, "tokenizer_config.json"),
        ("tokenizer_config.json", {"chat_template": "{% for m in messages %}"}, "not valid Jinja"),
        ("tokenizer_config.json", {"chat_template": [{"name": "a", "template": "{{ x"}]}, "not valid Jinja"),
        ("chat_template.jinja", "{% if %}", "chat_template.jinja is not valid Jinja .*line 1"),
        ("chat_template.jinja", "{{ x | nonsense }}", "no filter 'nonsense'"),
        ("chat_template.jinja", "{{ x is nonsense }}", "no test 'nonsense'"),
        ("chat_template.jinja", "{{ " + "(" * 5000 + ")" * 5000 + " }}", "nested too deep"),
    ],
)
def test_a_broken_file_is_reported_in_one_line(name, content, message, tmp_path):
    write(tmp_path, "config.json", {})
    write(tmp_path, name, content)
    (line,) = errors(tmp_path)
    assert re.search(message, line) and "\n" not in line


def test_settings_of_sampling_that_is_off_are_noted(tmp_path):
    write(tmp_path, "config.json", {})
    write(tmp_path, "generation_config.json", {"temperature": 0.0, "top_p": 0.9, "top_k": 50})
    facts = FactsReader().read("m", tmp_path)
    (note,) = [one for one in examine(MergeFacts("r.yml", (facts,))) if one.id == "model.generation-unused"]
    assert "has temperature, top_p without do_sample" in note.message
    assert note.level == "note"


@pytest.mark.parametrize(
    ("config", "level", "message"),
    [
        (
            {"eos_token_id": 3},
            "warning",
            "eos_token_id 3 of config.json is not among the ids of the vocabulary, 0 to 2",
        ),
        ({"pad_token_id": 5, "model_type": "llama"}, "error", "pad_token_id 5"),
        ({"pad_token_id": 5, "model_type": "gpt2"}, "warning", "pad_token_id 5"),
        ({"vocab_size": 2}, "warning", "1 token has no embedding ('c'), vocab_size is 2"),
        ({}, "", ""),
    ],
)
def test_tokens_need_a_row_in_the_embeddings(config, level, message, tmp_path):
    write(tmp_path, "config.json", {"model_type": "llama", "vocab_size": 3, **config})
    write(tmp_path, "vocab.json", {"a": 0, "b": 1, "c": 2})
    facts = FactsReader().read("m", tmp_path)
    findings = [one for one in examine(MergeFacts("r.yml", (facts,))) if one.id == "model.token-outside"]
    assert [one.level for one in findings] == ([level] if level else [])
    assert message in "".join(one.message for one in findings)


def test_a_token_that_transformers_adds_needs_a_row(tmp_path):
    write(tmp_path, "config.json", {"model_type": "llama", "vocab_size": 3})
    write(tmp_path, "vocab.json", {"a": 0, "b": 1, "c": 2})
    write(tmp_path, "tokenizer_config.json", {"pad_token": "<pad>", "eos_token": "c"})
    facts = FactsReader().read("m", tmp_path)
    (one,) = [one for one in examine(MergeFacts("r.yml", (facts,))) if one.id == "model.token-outside"]
    assert "'<pad>'" in one.message


def test_a_template_is_not_run_while_it_is_checked():
    assert template_error("{{ 9 ** 9 ** 9 ** 9 }}{% for i in range(10 ** 18) %}{% endfor %}") == ""


@pytest.mark.parametrize("template", ["{{ %s }}" % ("9" * 5000), "{{ 10 ** %s }}" % ("9" * 5000), "{{ x[::%s] }}" % ("9" * 5000)])  # fmt: skip
def test_a_number_that_python_does_not_parse_is_reported_in_one_line(template):
    assert re.search(r"limit \(4300( digits)?\)", template_error(template))


def test_the_names_are_those_of_mergekits_templates():
    files = Path(chat_templates.__file__).parent.glob("*.jinja")
    assert chat_template_names() == sorted(path.stem for path in files)
    for path in Path(chat_templates.__file__).parent.glob("*.jinja"):
        assert template_error(path.read_text()) == ""
        check_chat_template(path.stem, chat_template_names(), "r.yml: chat_template")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("chatm", "'chatm' is neither auto, nor a template of mergekit's.*Did you mean 'chatml'"),
        ("{{ x }}", "neither auto"),  # mergekit refuses what is shorter than 20 characters
        ("a template without any braces at all", "neither auto"),
        ("{% for m in messages %}{{ m.content }}", "not valid Jinja"),
    ],
)
def test_a_wrong_chat_template_of_a_recipe_is_refused(value, message):
    with pytest.raises(RecipeError, match=message) as caught:
        check_chat_template(value, chat_template_names(), "r.yml: chat_template")
    assert str(caught.value).startswith("r.yml: chat_template: ") and "\n" not in str(caught.value)


TEMPLATE = "{{ messages }}"
FORMS = {
    "a number": 3, "a list of numbers": [3], "no template": [{"name": "a"}], "no name": [{"template": TEMPLATE}],
    "a number in a list": [{"name": "default", "template": 3}], "a list of texts": [TEMPLATE],
    "a number by name": {"default": 3}, "empty": "", "spaces": " \n",
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_chat_template_that_is_no_text(form, tmp_path):
    write(tmp_path, "config.json", {})
    write(tmp_path, "tokenizer_config.json", {"chat_template": FORMS[form]})
    (line,) = errors(tmp_path)
    assert "chat_template is " in line or "chat_template of tokenizer_config.json is empty" in line


@pytest.mark.parametrize(
    "templates", [TEMPLATE, [{"name": "default", "template": TEMPLATE}], {"rag": TEMPLATE}]
)
def test_forms_of_chat_templates_that_transformers_reads(templates, tmp_path):
    write(tmp_path, "config.json", {})
    write(tmp_path, "tokenizer_config.json", {"chat_template": templates})
    assert errors(tmp_path) == []


def test_a_tokenizer_config_without_the_vocabulary_that_its_class_reads(tmp_path):
    write(tmp_path, "config.json", {})
    write(tmp_path, "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
    (line,) = errors(tmp_path)
    assert "tokenizer.json is missing" in line
    write(tmp_path, "tokenizer_config.json", {"tokenizer_class": "ByT5Tokenizer"})
    assert errors(tmp_path) == []


NEEDS = {
    "stop_strings": ["x"], "token_healing": True, "is_assistant": True, "assistant_early_exit": 1,
    "assistant_ensemble_weight": 0.5, "compile_config": {}, "dola_layers": "high", "constraints": [1],
    "force_words_ids": [[1]], "penalty_alpha": 0.6, "use_mtp": True, "return_dict_in_generate": True,
}  # fmt: skip
WRONG = {
    "max_time": "x", "guidance_scale": [1], "prompt_lookup_num_tokens": 0, "penalty_alpha": "x", "eos_token_id": [],
    "decoder_start_token_id": "x", "output_hidden_states": "x", "sequence_bias": {"a": 1},
    "exponential_decay_length_penalty": [1],
}  # fmt: skip


@pytest.mark.parametrize("key", NEEDS)
def test_what_a_model_alone_does_not_generate_with(key, tmp_path):
    write(tmp_path, "config.json", {})
    write(tmp_path, "generation_config.json", {key: NEEDS[key]})
    facts = FactsReader().read("m", tmp_path)
    for evaluated, level in ((frozenset(), "warning"), (frozenset({"m"}), "error")):
        findings = examine(MergeFacts("r.yml", (facts,), evaluated=evaluated))
        assert [one.level for one in findings if one.id == "model.generation-unsupported"] == [level]


@pytest.mark.parametrize("key", NEEDS)
def test_without_generation_config_the_settings_are_those_of_config_json(key, tmp_path):
    write(tmp_path, "config.json", {**LLAMA, key: NEEDS[key]})
    facts = FactsReader().read("m", tmp_path)
    lines = [one.line for one in examine(MergeFacts("r.yml", (facts,))) if one.id.endswith("-unsupported")]
    assert len(lines) == (0 if key == "is_assistant" else 1)
    assert all(line.endswith("Remove the key from config.json.") for line in lines)
    write(tmp_path, "generation_config.json", {})
    facts = FactsReader().read("m", tmp_path)
    assert [one for one in examine(MergeFacts("r.yml", (facts,))) if one.id.endswith("-unsupported")] == []


@pytest.mark.parametrize("key", ["max_new_tokens", "max_time"])
def test_a_length_that_replaces_that_of_tasks_is_a_warning(key, tmp_path):
    write(tmp_path, "config.json", {})
    write(tmp_path, "generation_config.json", {key: 3})
    facts = FactsReader().read("m", tmp_path)
    (one,) = [one for one in examine(MergeFacts("r.yml", (facts,))) if one.id == "model.generation-length"]
    assert one.level == "warning" and f"{key} 3, which ends every answer" in one.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{% for %}", "not valid Jinja"),
        (b"\xff\xfe", "cannot be read"),
        (b" ", "is empty"),
        (None, "not a regular file"),
    ],
)
def test_a_broken_file_among_the_additional_chat_templates(content, message, tmp_path):
    write(tmp_path, "config.json", {})
    (tmp_path / "additional_chat_templates").mkdir()
    path = tmp_path / "additional_chat_templates" / "rag.jinja"
    os.mkfifo(path) if content is None else path.write_bytes(content)
    (line,) = errors(tmp_path)
    assert message in line
    path.unlink()
    path.write_text(GOOD)
    (path.parent / "README.md").write_text("{% for %}")
    assert errors(tmp_path) == []


@pytest.mark.parametrize("key", WRONG)
def test_a_value_with_which_transformers_does_not_generate(key, tmp_path):
    write(tmp_path, "config.json", {})
    write(tmp_path, "generation_config.json", {key: WRONG[key]})
    assert any(f"{key} {WRONG[key]!r}" in line for line in errors(tmp_path))


@pytest.mark.parametrize("bias", [[[[5], 1.5]]])
def test_values_with_which_transformers_generates(bias, tmp_path):
    write(tmp_path, "config.json", {})
    values = {"sequence_bias": bias, "exponential_decay_length_penalty": [5, 1.1], "eos_token_id": [1]}
    write(tmp_path, "generation_config.json", values)
    assert errors(tmp_path) == []


TYPES = {
    "hidden_act": None, "rms_norm_eps": None, "num_hidden_layers": None, "intermediate_size": [1],
    "attention_bias": None, "bos_token_id": [1], "pretraining_tp": "x", "initializer_range": 1,
    "attn_implementation": "flash_attention_9", "_attn_implementation": 3, "id2label": {"a": 1},
}  # fmt: skip


@pytest.mark.parametrize("key", TYPES)
def test_a_value_of_a_type_that_transformers_refuses(key, tmp_path):
    write(tmp_path, "config.json", {"model_type": "llama", key: TYPES[key]})
    assert any(key.lstrip("_") in line for line in errors(tmp_path))


def test_null_where_transformers_reads_it(tmp_path):
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "vocab_size": 8}
    write(tmp_path, "config.json", {**config, "pad_token_id": None, "head_dim": None})
    assert errors(tmp_path) == []


@pytest.mark.parametrize(("part", "count"), [("normalizer", 1), ("decoder", 1), ("truncation", 0)])
def test_tokenizers_of_equal_tokens_and_other_rules(part, count, tmp_path):
    values = {"normalizer": {"type": "Lowercase"}, "decoder": {"type": "Fuse"}, "truncation": None}
    model = {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}
    for name, more in (("base", {}), ("expert", {part: values[part]})):
        (tmp_path / name).mkdir()
        write(tmp_path / name, "config.json", {})
        write(
            tmp_path / name, "tokenizer.json", {"version": "1.0", "added_tokens": [], "model": model, **more}
        )
    reader = FactsReader()
    facts = tuple(reader.read(name, tmp_path / name) for name in ("base", "expert"))
    findings = [one for one in examine(MergeFacts("r.yml", facts)) if one.id == "model.tokenizer-rules"]
    assert len(findings) == count and all(part in one.message for one in findings)


KEYS = {
    "sep_token": 1, "mask_token": [], "split_special_tokens": "x", "model_input_names": 3, "padding_side": None,
    "added_tokens_decoder": None, "auto_map": "x", "init_inputs": 1, "model_specific_special_tokens": {"a": 1},
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"),
    [*KEYS.items(), ("auto_map", {"AutoTokenizer": 5}), ("auto_map", {"AutoTokenizer": ["a.B"]})],
)
def test_a_value_with_which_transformers_does_not_make_a_tokenizer(key, value, tmp_path):
    write(tmp_path, "config.json", {})
    write(tmp_path, "tokenizer_config.json", {key: value})
    (line,) = errors(tmp_path)
    assert f"{key} is " in line
