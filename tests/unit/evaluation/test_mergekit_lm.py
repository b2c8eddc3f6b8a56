"""`--model mergekit`: values set in a recipe, refused arguments, and other registered models."""

import pytest
import torch
from helpers import commands

from mergekit_finance.errors import MergekitFinanceError
from mergekit_finance.evaluation import mergekit_lm as lm_eval_model
from mergekit_finance.registration import register


@pytest.fixture(scope="module", autouse=True)
def registered():
    register()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give a recipe: --model_args recipe=FILE.yml"),
        ({"recipe": "nowhere.yml"}, "nowhere.yml: no such recipe"),
        ({"recipe": "r", "pretrained": "gpt2"}, "pretrained= does not apply to a merge; the recipe names"),
        ({"recipe": "r", "revision": "v2"}, "revision= .*; pin a model in the recipe: owner/name@revision"),
        ({"recipe": "r", "peft": "x"}, "merge the adapter into its model first, and name the result in the recipe"),
        ({"recipe": "r", "delta": "x"}, "delta= does not apply"),
        ({"recipe": "r", "max_memory_per_gpu": "9GB"}, "max_memory_per_gpu= needs parallelize=True"),
        ({"recipe": "r", "parallelize": True, "engine": "compiled"}, "leave it out"),
        ({"recipe": "r", "parallelize": True, "device": "cpu", "max_memory_per_gpu": "x"}, "Write 40GiB"),
        ({"recipe": "r", "device_map": "auto"}, "unknown argument .device_map|device_map= .*; write the merge with"),
        ({"recipe": "r", "tp_plan": "auto"}, "tp_plan= .*mergekit-yaml"),
        ({"recipe": "r", "gptqmodel": True}, "gptqmodel= .*mergekit-yaml"),
        ({"recipe": "r", "batchsize": 3}, "unknown argument 'batchsize'. Did you mean 'batch_size'"),
        ({"recipe": "r", "dtype": "float31"}, "dtype 'float31' is not known. Did you mean 'float32'"),
        ({"recipe": "r", "dtype": "int8"}, "dtype 'int8' is not known"),
        ({"recipe": "r", "device": "cpuu"}, "device 'cpuu' cannot be used"),
        ({"recipe": "r", "batch_size": "many"}, "batch_size 'many': use a number above 0, auto or auto:N"),
        ({"recipe": "r", "batch_size": 0}, "batch_size 0: use a number"),
        ({"recipe": "r", "batch_size": "auto:0"}, "batch_size 'auto:0': use a number"),
        ({"recipe": "r", "max_length": -5}, "max_length -5: use a whole number above 0"),
        ({"recipe": "r", "max_length": "long"}, "max_length 'long': use a whole number"),
        ({"recipe": "r", "enable_thinking": True}, "enable_thinking needs think_end_token="),
    ],
)  # fmt: skip
def test_arguments_that_do_not_apply_to_merges_are_refused_with_a_remedy(arguments, message):
    with pytest.raises(MergekitFinanceError, match=message) as caught:
        lm_eval_model.MergekitLM(**arguments)
    assert "\n" not in str(caught.value)


def test_hfs_own_defaults_may_be_written_out(recipe):
    with pytest.raises(MergekitFinanceError, match="no such recipe"):
        lm_eval_model.MergekitLM(recipe="nowhere.yml", parallelize=False, revision="main", peft=None)


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(MergekitFinanceError, match="runs in one process"):
        lm_eval_model.MergekitLM(recipe="r.yml")


def test_a_wrong_tokenizer_and_a_missing_model_are_reported_before_the_merge(recipe, monkeypatch, tiny):
    monkeypatch.setattr(lm_eval_model, "_merge", lambda *_: pytest.fail("merged"))
    with pytest.raises(MergekitFinanceError, match="no usable tokenizer"):
        lm_eval_model.MergekitLM(recipe=str(recipe()), device="cpu", tokenizer=f"{tiny}/nowhere")
    path = str(recipe((f"model: {tiny}/math", f"model: {tiny}/nowhere"), (f', "{tiny}/math"', "")))
    with pytest.raises(MergekitFinanceError, match="nowhere': no such folder"):
        lm_eval_model.MergekitLM(recipe=path, device="cpu")


NAME = "finance_bench_docmath_cs_cot"  # generates
LENGTHS = {  # tasks and options with which an answer of 4096 tokens is asked of a context of 4096
    "a task": ([NAME], {"gen_kwargs": {"max_gen_toks": 4096}}),
    "another key": ([{"task": NAME, "generation_kwargs": {"max_new_tokens": "4096"}}], {}),
    "a group": (["finance_bench_fm"], {"gen_kwargs": {"max_gen_toks": 4096}}),
    "a group of groups": (["finance_bench"], {"gen_kwargs": {"max_gen_toks": 4096}}),
    "a config": ([{"task": NAME, "generation_kwargs": {"max_gen_toks": 4096}}], {}),
    "a config of a group": (
        [{"group": "mine", "task": ["finance_bench_fpb", {"task": NAME, "generation_kwargs": {"max_gen_toks": 4096}}]}],
        {},
    ),
    "a smaller context": ([NAME], {"max_length": 16}),
}  # fmt: skip


@pytest.mark.parametrize("lengths", LENGTHS)
def test_answers_that_fill_the_context_are_refused_before_the_merge(lengths, recipe, monkeypatch):
    from helpers import inputs

    monkeypatch.setattr(lm_eval_model, "_merge", lambda *_: pytest.fail("merged"))
    tasks, options = LENGTHS[lengths]
    line = inputs.refusal(inputs.lm_eval(recipe(), tasks, **options))
    assert line.startswith(f"{recipe()}: finance_bench_") and "generates up to" in line
    assert line.endswith(
        "Set --gen_kwargs max_gen_toks=N with a smaller number, or leave the task out. [task.context]"
    )


def test_a_length_that_is_not_a_number_is_reported_in_one_line(recipe):
    from helpers import inputs

    line = inputs.refusal(inputs.lm_eval(recipe(), [NAME], gen_kwargs={"max_gen_toks": "many"}))
    assert line == f"{NAME}: max_gen_toks: 'many' is not a whole number."


def test_answers_that_fill_the_context_are_refused_also_if_only_the_requests_show_it(recipe):
    """A task that is a Python class, or a program that calls the model itself."""
    from types import SimpleNamespace

    lm = lm_eval_model.MergekitLM(recipe=str(recipe()), device="cpu", max_length=16)
    requests = [SimpleNamespace(task_name="mine", args=("Why?", {"until": [], "max_gen_toks": 16}))]
    with pytest.raises(
        MergekitFinanceError, match="mine generates up to 16 tokens, and the context of .* has 16"
    ):
        lm.generate_until(requests)


def test_arguments_of_hf_are_passed_on_to_the_model(recipe, tiny):
    lm = lm_eval_model.MergekitLM(
        recipe=str(recipe()), device="cpu", dtype="float32", batch_size=3, max_batch_size=5, max_length=99,
        truncation=True, add_bos_token=True, prefix_token_id=7, softmax_dtype="float32",
        mixed_precision_dtype="bfloat16", trust_remote_code=False, tokenizer=f"{tiny}/math",
        think_end_token="</think>", enable_thinking=True, chat_template_args={"a": 1}, logits_cache=False,
    )  # fmt: skip
    assert {p.dtype for p in lm.model.parameters()} == {torch.float32}
    assert (lm.batch_size, lm.max_batch_size, lm.max_length) == (3, 5, 99)
    assert lm.truncation and lm.add_bos_token and not lm.logits_cache
    assert (lm.prefix_token_id, lm.think_end_token) == (7, "</think>")
    assert (lm.softmax_dtype, lm.mixed_precision_dtype) == (torch.float32, torch.bfloat16)
    assert lm.chat_template_args == {"a": 1, "enable_thinking": True}
    assert lm.tokenizer.name_or_path == f"{tiny}/math" and str(lm.device) == "cpu"


def test_dtype_changes_what_a_checkpoint_holds_and_nothing_else(recipe):
    lm = lm_eval_model.MergekitLM(recipe=str(recipe()), device="cpu", dtype="float16")
    assert lm.model.dtype == lm.model.config.dtype == torch.float16
    assert lm.model.model.rotary_emb.inv_freq.dtype == torch.float32


def test_no_warning_about_a_live_model(recipe, caplog):
    lm_eval_model.MergekitLM(recipe=str(recipe()), device="cpu")
    assert "already-initialized" not in caplog.text and "`pretrained` model kwarg" not in caplog.text


def test_results_are_named_after_the_recipe_and_the_changes(recipe):
    path = str(recipe())
    arguments = {"recipe": path, "set.lambda": 0.25}
    for _ in range(2):  # the second time with what the first has added
        lm = lm_eval_model.MergekitLM.create_from_arg_obj(arguments, {"device": "cpu", "batch_size": None})
        assert arguments == {"recipe": path, "set.lambda": 0.25, "model": f"{path},lambda=0.25"}
    assert lm.get_model_info()["merge"]["parameters"] == {"lambda": 0.25}
    with pytest.raises(MergekitFinanceError, match="unknown argument 'model'"):
        lm_eval_model.MergekitLM.create_from_arg_obj(arguments | {"model": "other"})


# --- the registry


@pytest.mark.slow
@pytest.mark.parametrize(
    ("switch", "before"), [("strict", ""), ("0", "import mergekit_finance; mergekit_finance.register()")]
)
def test_other_models_stay_registered_and_ours_is_loaded_lazily(switch, before):
    code = f"""
{before}
import sys
from lm_eval.api.registry import model_registry, get_model
try:
    get_model("nothing")
except ValueError:
    pass
from lm_eval.models import MODEL_MAPPING
print(sorted(set(model_registry) - set(MODEL_MAPPING)), sorted(set(MODEL_MAPPING) - set(model_registry)))
print("mergekit_finance.evaluation.mergekit_lm" in sys.modules)
print(get_model("hf").__name__, get_model("mergekit").__name__, get_model("dummy").__name__)
import mergekit_finance
mergekit_finance.register()
"""
    done = commands.run_warm("-c", code, env={"MERGEKIT_FINANCE_AUTOLOAD": switch})
    assert done.stdout.splitlines() == ["['mergekit'] []", "False", "HFLM MergekitLM DummyLM"], done.stderr


def test_options_are_counted_with_the_tokenizer_of_the_live_merge(tiny):
    """For any recipe: one without a base, with `set.`, a revision or a tokenizer block."""
    from mergekit_finance.data.loader import load as rows
    from mergekit_finance.models import live_tokenizers
    from mergekit_finance.models.loading import load_tokenizer

    arguments = {"fb_dataset": "fpb", "fb_option_tokens": True, "source": "sample", "recipe": "no base.yml"}
    try:
        live_tokenizers.store_tokenizer("no base.yml,lambda=0.4", load_tokenizer(f"{tiny}/base"))
        assert all(
            len(row["option_tokens"]) == len(row["options"])
            for row in rows(**arguments, **{"set.lambda": 0.4})["test"]
        )
        assert "option_tokens" not in rows(**arguments, **{"set.lambda": 0.5})["test"][0]
    finally:
        live_tokenizers.clear()
