"""Mistakes that `run` reports before evaluation, and results that must not be reused or scored."""

import json

import pytest

from mergekit_finance.errors import DataError, ModelError, RecipeError
from mergekit_finance.evaluation import keys
from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.merging import in_memory as merging
from mergekit_finance.models.fingerprint import tokenizer_fingerprint
from mergekit_finance.recipe.load import load_recipe
from mergekit_finance.study.single import SingleRun

TASK = "finance_bench_fpb"


def run(path, out, *tasks):
    printed = []
    evaluator = Evaluator(tasks or (TASK,), metadata={"source": "sample"})
    return SingleRun(load_recipe(path), evaluator, out, 2, quiet=True, say=printed.append).run(), printed


def refused(path, out, kind, message, *tasks):
    """Assert that a run ends with one line before anything is evaluated, and leaves no folder."""
    with pytest.raises(kind, match=message) as caught:
        run(path, out, *tasks)
    assert "\n" not in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lambda: 0.5", "lambda: 1.0e300", "recipe.yml: .*lambda.*does not fit float32"),
        (
            "dtype: float32\n",
            "dtype: float23\n",
            "recipe.yml: dtype: 'float23' is not a dtype of weights. Did you mean",
        ),
        ("cpt_task_arithmetic", "cpt_ties\n#", None),
    ],
)
def test_a_value_out_of_range_is_found_before_weights_are_read(recipe, tmp_path, old, new, message):
    if message:
        refused(recipe((old, new)), tmp_path / "out", RecipeError, message)
    else:
        assert load_recipe(recipe((old, new))).method == "cpt_ties"


@pytest.mark.parametrize("text", ["models: 5", "slices: 3", "models: {}", "modules: []"])
def test_a_value_that_should_be_a_list_is_refused(tmp_path, text):
    path = tmp_path / "r.yml"
    path.write_text(f"merge_method: linear\n{text}\n")
    with pytest.raises(RecipeError):
        load_recipe(path)


def test_a_model_under_two_spellings_is_refused(recipe, tiny, tmp_path):
    other = f"{tiny}/../{tiny.name}/finance"
    path = recipe((f"model: {tiny}/math", f"model: {other}"), (f', "{tiny}/math"', f', "{other}"'))
    refused(path, tmp_path / "out", RecipeError, "are the same model. List the model once.")


def test_a_lora_reference_is_refused_in_one_line(recipe, tiny, tmp_path):
    path = recipe((f"model: {tiny}/math", f"model: {tiny}/math+./lora"), (f', "{tiny}/math"', ""))
    refused(path, tmp_path / "out", ModelError, "names a LoRA adapter")


def test_a_truncated_shard_is_named(recipe, tiny, models_copy, tmp_path):
    weights = models_copy / "math" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    refused(
        recipe((str(tiny), str(models_copy))),
        tmp_path / "out",
        ModelError,
        "model.safetensors: truncated or broken",
    )


def test_an_output_directory_below_a_file_is_refused(recipe, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecipeError, match="file is not a directory. Choose another output directory"):
        run(recipe(), tmp_path / "file" / "out")


def test_a_constituent_without_tokenizer_is_refused_before_anything_is_evaluated(
    recipe, tiny, models_copy, tmp_path
):
    for path in (models_copy / "math").glob("tokenizer*"):
        path.unlink()
    refused(recipe((str(tiny), str(models_copy))), tmp_path / "out", ModelError, "math has no tokenizer")


def test_a_task_without_score_is_found_before_anything_is_evaluated(recipe, tmp_path):
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "plain.yaml").write_text(
        "task: plain_task\ncustom_dataset: !function mergekit_finance.data.loader.load\n"
        "dataset_kwargs: {fb_dataset: fpb}\ntest_split: test\noutput_type: multiple_choice\n"
        "doc_to_text: text\ndoc_to_choice: options\ndoc_to_target: gold_index\nmetric_list: [{metric: bypass}]\n"
    )
    evaluator = Evaluator(("plain_task",), metadata={"source": "sample"}, task_folders=[folder])
    with pytest.raises(DataError, match="task 'plain_task' computes no metric"):
        SingleRun(load_recipe(recipe()), evaluator, tmp_path / "out", 2, say=lambda text: None).run()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "element"),
    [("model.norm.weight", 0), ("model.embed_tokens.weight", 5000)],
    ids=["among the values that are checked before", "found while merging"],
)
def test_a_merge_with_nan_is_refused_also_with_mergekits_own_methods(
    recipe, tiny, models_copy, tmp_path, name, element
):
    import torch
    from safetensors.torch import load_file, save_file

    weights = models_copy / "math" / "model.safetensors"
    tensors = load_file(weights)
    tensors[name].view(-1)[element] = torch.nan
    save_file(tensors, weights, metadata={"format": "pt"})
    changes = (
        (str(tiny), str(models_copy)),
        ("cpt_task_arithmetic", "task_arithmetic"),
        ("lambda: 0.5", "weight: 0.5"),
    )
    out = tmp_path / "out"
    with pytest.raises(ModelError, match=f"tensor {name} holds NaN or Inf"):
        run(recipe(*changes), out)
    assert not list(out.rglob("*"))


def test_a_merge_keeps_the_generation_config_of_its_base(recipe, tiny, models_copy, tmp_path):
    """generation_config.json holds end tokens and limits: without them, merge and constituents would decode differently."""
    from mergekit.options import MergeOptions

    (models_copy / "base" / "generation_config.json").write_text(
        json.dumps({"max_new_tokens": 5, "eos_token_id": [1, 2]})
    )
    config = load_recipe(recipe((str(tiny), str(models_copy)))).configuration()
    model, _ = merging.merge(config, MergeOptions(quiet=True))
    assert (model.generation_config.max_new_tokens, model.generation_config.eos_token_id) == (5, [1, 2])


def test_the_key_covers_versions_code_and_tokenizer(tiny):
    evaluator = Evaluator((TASK,), metadata={"source": "sample", "tokenizer": str(tiny / "base")})
    key = keys.scores_key(evaluator)
    assert {"mergekit", "lm-eval", "tokenizers", "datasets"} <= key["versions"].keys()
    assert key["tokenizer"] == tokenizer_fingerprint(str(tiny / "base"))
    assert key["request_code"] and key["score_code"] and key["tasks"][TASK]["definition"]
    answers = keys.answers_key(evaluator.live_models)
    assert (
        answers["answer_code"]
        and answers["engine"] == "compiled"
        and {"torch", "lm-eval"} <= answers["versions"].keys()
    )
    assert not answers.keys() & {"tasks", "limit", "batch_size", "threads", "request_code", "score_code"}


def test_tasks_of_a_recipe_may_be_comma_separated(recipe, tmp_path):
    path = recipe(("  stage: 2", f"  stage: 2\n  tasks: {TASK}, finance_bench_fiqa_sa"))
    assert load_recipe(path).finance.tasks == (TASK, "finance_bench_fiqa_sa")


def test_a_context_without_room_for_a_prompt_is_refused(recipe, tiny, models_copy, tmp_path):
    """The merge has the base's context."""
    path = models_copy / "base" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_position_embeddings": 100}))
    message = "finance_bench_fin_ner generates up to 100 tokens, and the context of .*base has 100. Set a"
    refused(
        recipe((str(tiny), str(models_copy))), tmp_path / "out", DataError, message, "finance_bench_fin_ner"
    )
