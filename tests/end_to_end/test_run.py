"""`mergekit-finance run`, whole: tiny real models, real merges, real lm-eval."""

import json

import pytest

from mergekit_finance.errors import DataError, ModelError
from mergekit_finance.evaluation.harness import Harness
from mergekit_finance.merging import in_memory as merging
from mergekit_finance.models import checks as models
from mergekit_finance.recipe.load import load
from mergekit_finance.study.single import Run

TASK = "finance_bench_fpb"


def go(recipe, out, **options):
    settings = {"limit": 3, "metadata": {"source": "sample"}} | options
    said = []
    result = Run(load(recipe), Harness((TASK,), **settings), out, say=said.append)()
    return result, said


def test_a_run_writes_results_samples_and_gain(recipe, tmp_path):
    result, said = go(recipe(), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "gain.json").read_text()) == result
    row = result["tasks"][TASK]
    scores = list(row["constituents"].values())
    assert row["gain"] == pytest.approx(row["merged"] - sum(scores) / 2)
    assert row["og"] == pytest.approx(row["merged"] - max(scores))
    assert row["n"] == 3 and len(result["random_weights"]) == 3
    for folder in result["results"].values():
        place = tmp_path / "out" / "models" / folder
        assert sorted(p.name for p in place.iterdir()) == [
            "key.json",
            "results.json",
            f"samples_{TASK}.jsonl",
        ]
        samples = [json.loads(line) for line in (place / f"samples_{TASK}.jsonl").read_text().splitlines()]
        assert len({s["doc"]["item_id"] for s in samples}) == 3
    assert len(said) == 4


def test_stored_results_are_reused_and_a_changed_recipe_or_model_is_not(recipe, tiny, tmp_path):
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny, tmp_path / "own")
    own = (str(tiny), str(tmp_path / "own"))
    first, _ = go(recipe(own), tmp_path / "out")
    again, said = go(recipe(own), tmp_path / "out")
    assert again == first and said == []
    changed, said = go(recipe(own, ("lambda: 0.5", "lambda: 0.25")), tmp_path / "out")
    assert [s.split()[0] for s in said] == ["merge", "evaluate"]
    assert changed["results"]["merged"] != first["results"]["merged"]
    weights = tmp_path / "own" / "math" / "model.safetensors"
    tensors = {k: v + torch.ones_like(v) for k, v in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    _, said = go(recipe(own), tmp_path / "out")
    assert [s.split()[0] for s in said] == ["merge", "evaluate", "evaluate"]


def test_the_merge_in_memory_equals_mergekits_on_disk(recipe, tmp_path):
    """Any method, tokenizer blocks included: same names, same bytes."""
    import torch
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions
    from transformers import AutoModelForCausalLM

    variants = [(), (("cpt_task_arithmetic", "task_arithmetic"), ("lambda: 0.5", "weight: 0.5")),
                (("out_dtype: bfloat16", "out_dtype: bfloat16\ntokenizer: {source: base}"),)]  # fmt: skip
    for i, changes in enumerate(variants):
        found = load(recipe(*changes, name=f"r{i}.yml"))
        options = MergeOptions(quiet=True, write_model_card=False)
        live, tokenizer = merging.merge(found.configuration(), options)
        run_merge(found.configuration(), str(tmp_path / f"disk{i}"), options)
        disk = AutoModelForCausalLM.from_pretrained(tmp_path / f"disk{i}", dtype="auto")
        ours, theirs = live.state_dict(), disk.state_dict()
        assert ours.keys() == theirs.keys() and live.dtype == disk.dtype == torch.bfloat16
        assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
        assert len(tokenizer) == live.config.vocab_size


def test_a_second_merge_in_the_process_sees_changed_files(recipe, tiny, tmp_path):
    import shutil

    import torch
    from mergekit.options import MergeOptions
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny, tmp_path / "own")
    config = load(recipe((str(tiny), str(tmp_path / "own"))))
    before, _ = merging.merge(config.configuration(), MergeOptions(quiet=True))
    weights = tmp_path / "own" / "math" / "model.safetensors"
    save_file({k: v * 0 for k, v in load_file(weights).items()}, weights, metadata={"format": "pt"})
    after, _ = merging.merge(config.configuration(), MergeOptions(quiet=True))
    assert not torch.equal(before.lm_head.weight, after.lm_head.weight)


def test_results_equal_those_of_plain_lm_eval_on_the_saved_merge(recipe, tmp_path):
    """Two ways to one number: our live model, and the host's own loading of the merge on disk."""
    import lm_eval
    from lm_eval.tasks import TaskManager
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    result, _ = go(recipe(), tmp_path / "out", limit=None)
    run_merge(
        load(recipe()).configuration(),
        str(tmp_path / "disk"),
        MergeOptions(quiet=True, write_model_card=False),
    )
    plain = lm_eval.simple_evaluate(
        model="hf", model_args={"pretrained": str(tmp_path / "disk"), "dtype": "auto"}, tasks=[TASK], device="cpu",
        batch_size=8, task_manager=TaskManager(include_defaults=False, metadata={"source": "sample"}),
    )  # fmt: skip
    assert plain["results"][TASK]["score,none"] == result["tasks"][TASK]["merged"]


def test_real_rows_run_through(recipe, mirror, tmp_path):
    tasks = (TASK, "finance_bench_docmath_cs_cot", "finance_bench_jfinqa_numerical")
    harness = Harness(tasks, limit=2, metadata={"data_dir": str(mirror)})
    result = Run(load(recipe()), harness, tmp_path / "out", say=lambda text: None)()
    assert sorted(result["tasks"]) == sorted(tasks) and {r["n"] for r in result["tasks"].values()} == {2}


# --- what is refused, before anything is read or written


def test_models_that_do_not_fit_are_named(recipe, tiny, tmp_path):
    from helpers.tiny_models import make_family

    make_family(tmp_path / "wide", roles=("base",), hidden=64)
    path = recipe(
        (f"model: {tiny}/math", f"model: {tmp_path}/wide/base"), (f'"{tiny}/math"', f'"{tmp_path}/wide/base"')
    )
    with pytest.raises(ModelError, match=f"'{tmp_path}/wide/base' has hidden_size 64, '{tiny}/base' has 32"):
        go(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_vocabulary_is_named_unless_a_tokenizer_block_aligns_it(tiny, tmp_path):
    import shutil

    shutil.copytree(tiny / "math", tmp_path / "math")
    path = tmp_path / "math" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_size": 7}))
    pair = [str(tiny / "base"), str(tmp_path / "math")]
    with pytest.raises(ModelError, match="has vocab_size 7, .*tokenizer block"):
        models.check_fit(pair, "r.yml", vocabulary=True)
    models.check_fit(pair, "r.yml", vocabulary=False)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("./nowhere", "no such folder; paths are relative"),
        ("nowhere", "not a Hub id"),
        ("tiny/empty", r"is a local folder: write \./tiny/empty"),
        ("./tiny/empty", "no config.json"),
        ("./tiny/config", "no weights there"),
    ],
)
def test_a_model_that_is_not_there_is_named(tmp_path, monkeypatch, reference, message):
    (tmp_path / "tiny" / "empty").mkdir(parents=True)
    (tmp_path / "tiny" / "config").mkdir()
    (tmp_path / "tiny" / "config" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=message):
        models.check_reference(reference, "r.yml")


def test_an_unknown_task_lists_ours():
    with pytest.raises(DataError, match="unknown task 'finance_bench_fbp'. did you mean 'finance_bench_fpb'"):
        _ = Harness(("finance_bench_fbp",)).loaded


def test_a_recipe_that_asks_for_similarity_runs_and_says_that_there_is_no_folder_for_it(
    recipe, tmp_path, caplog
):
    result, _ = go(recipe(("lambda: 0.5", "lambda: 0.5\n  similarity: true")), tmp_path / "out")
    assert "gain" in result["tasks"][TASK]
    assert sum("similarity: true is left out" in r.message for r in caplog.records) == 1
    assert not list((tmp_path / "out").rglob("similarity.json"))
