"""`mergekit-finance run` from the recipe to gain.json: tiny models, real merges, real lm-eval."""

import json

import pytest
from click.testing import CliRunner
from helpers import study as helpers

from mergekit_finance.cli import main
from mergekit_finance.data.adopt import adopt
from mergekit_finance.data.mirror import Mirror
from mergekit_finance.errors import DataError, ModelError
from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.merging import in_memory as merging
from mergekit_finance.plugins.manager import datasets
from mergekit_finance.recipe.load import load_recipe
from mergekit_finance.study.single import SingleRun

TASK = "finance_bench_fpb"


def go(recipe, out, **options):
    settings = {"limit": 3, "metadata": {"source": "sample"}} | options
    limit, printed = settings.pop("limit"), []
    run = SingleRun(
        load_recipe(recipe), Evaluator((TASK,), **settings), out, limit, quiet=True, say=printed.append
    )
    return run.run().as_json(), printed


def answers(place):
    """Return for every item whether the model's answer is right, as the samples say."""
    lines = (place / f"samples_{TASK}.jsonl").read_text().splitlines()
    samples = sorted(map(json.loads, lines), key=lambda sample: sample["doc_id"])
    return [sample["correct"] == 1.0 for sample in samples]


def test_a_run_writes_results_samples_and_gain(recipe, tmp_path):
    result, printed = go(recipe(), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "gain.json").read_text()) == result
    row = result["tasks"][TASK]
    scores = list(row["constituents"].values())
    assert row["gain"] == pytest.approx(row["merged"] - sum(scores) / 2)
    assert row["og"] == pytest.approx(row["merged"] - max(scores))
    assert row["n"] == 3 and len(result["random_weights"]) == 3
    for folder in result["results"].values():
        place = tmp_path / "out" / "points" / folder
        expected = {"key.json", "results.json", "scores.json", "files.json", "timings.json"}
        expected |= {f"samples_{TASK}.jsonl"} | ({"recipe.yml"} if folder.startswith("merged-") else set())
        assert {p.name for p in place.iterdir()} == expected
        samples = [json.loads(line) for line in (place / f"samples_{TASK}.jsonl").read_text().splitlines()]
        assert len({s["doc"]["item_id"] for s in samples}) == 3
    assert printed == ["0 of 3 models are stored, 3 to do"]


def test_stored_results_are_reused_and_a_changed_recipe_or_model_is_not(recipe, tiny, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny, tmp_path / "own")
    copied_models = (str(tiny), str(tmp_path / "own"))
    first, _ = go(recipe(copied_models), tmp_path / "out")
    again, printed = go(recipe(copied_models), tmp_path / "out")
    assert again == first and printed == ["3 of 3 models are stored, 0 to do"]
    changed, printed = go(recipe(copied_models, ("lambda: 0.5", "lambda: 0.25")), tmp_path / "out")
    assert printed == ["2 of 3 models are stored, 1 to do"]
    assert changed["results"]["merged"] != first["results"]["merged"]
    weights = tmp_path / "own" / "math" / "model.safetensors"
    tensors = {k: v * 1.1 for k, v in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    _, printed = go(recipe(copied_models), tmp_path / "out")
    assert printed == ["1 of 3 models are stored, 2 to do"]


def test_the_merge_in_memory_equals_mergekits_on_disk(recipe, tmp_path):
    """Any method, tokenizer blocks included: same names, same bytes."""
    import torch
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions
    from transformers import AutoModelForCausalLM

    variants = [(), (("cpt_task_arithmetic", "task_arithmetic"), ("lambda: 0.5", "weight: 0.5")),
                (("out_dtype: bfloat16", "out_dtype: bfloat16\ntokenizer: {source: base}"),)]  # fmt: skip
    for i, changes in enumerate(variants):
        loaded = load_recipe(recipe(*changes, name=f"r{i}.yml"))
        options = MergeOptions(quiet=True, write_model_card=False)
        live, tokenizer = merging.merge(loaded.configuration(), options)
        run_merge(loaded.configuration(), str(tmp_path / f"disk{i}"), options)
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
    config = load_recipe(recipe((str(tiny), str(tmp_path / "own"))))
    before, _ = merging.merge(config.configuration(), MergeOptions(quiet=True))
    weights = tmp_path / "own" / "math" / "model.safetensors"
    save_file({k: v * 0 for k, v in load_file(weights).items()}, weights, metadata={"format": "pt"})
    after, _ = merging.merge(config.configuration(), MergeOptions(quiet=True))
    assert not torch.equal(before.lm_head.weight, after.lm_head.weight)


def test_results_equal_those_of_plain_lm_eval_on_the_saved_merge(recipe, tmp_path):
    """Our live model scores what lm-eval's `hf` scores for the same merge on disk."""
    import lm_eval
    from lm_eval.tasks import TaskManager
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    result, _ = go(recipe(), tmp_path / "out", limit=None)
    run_merge(
        load_recipe(recipe()).configuration(),
        str(tmp_path / "disk"),
        MergeOptions(quiet=True, write_model_card=False),
    )
    plain = lm_eval.simple_evaluate(
        model="hf", model_args={"pretrained": str(tmp_path / "disk"), "dtype": "auto"}, tasks=[TASK], device="cpu",
        batch_size=8, task_manager=TaskManager(include_defaults=False, metadata={"source": "sample"}),
    )  # fmt: skip
    assert plain["results"][TASK]["score,none"] == result["tasks"][TASK]["merged"]


def test_a_run_evaluates_real_rows(recipe, mirror, tmp_path):
    tasks = (TASK, "finance_bench_docmath_cs_cot", "finance_bench_jfinqa_numerical")
    evaluator = Evaluator(tasks, metadata={"data_dir": str(mirror)})
    result = (
        SingleRun(load_recipe(recipe()), evaluator, tmp_path / "out", 2, quiet=True, say=lambda text: None)
        .run()
        .as_json()
    )
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


def test_an_unknown_task_suggests_the_nearest_name():
    with pytest.raises(DataError, match="unknown task 'finance_bench_fbp'. Did you mean 'finance_bench_fpb'"):
        _ = Evaluator(("finance_bench_fbp",)).tasks


def test_similarity_true_is_ignored_with_a_warning_if_there_is_no_output_folder(recipe, tmp_path, caplog):
    result, _ = go(recipe(("lambda: 0.5", "lambda: 0.5\n  similarity: true")), tmp_path / "out")
    assert "gain" in result["tasks"][TASK]
    assert sum("similarity: true is ignored" in r.message for r in caplog.records) == 1
    assert not list((tmp_path / "out").rglob("similarity.json"))


# --- one store for `run` and `study`


def test_a_study_reuses_the_constituents_that_a_run_stored_in_the_same_folder(
    recipe, tiny, tmp_path, monkeypatch
):
    """Also in the other order: both write points/<name>-<hash>, and their keys are equal."""
    import torch

    torch.set_num_threads(1)  # as a study's default: threads are in the key of results on the CPU
    measured, measure = [], Evaluator.measure
    monkeypatch.setattr(Evaluator, "measure", lambda self, lm, name, *items: (
        measured.append(name.rsplit("/", 1)[-1]), measure(self, lm, name, *items))[1])  # fmt: skip
    out = tmp_path / "out"
    settings = {"limit": 4, "batch_size": 32, "max_gen_toks": 4}
    metadata = {"source": "lab", "tokenizer": f"{tiny}/base"}
    first, _ = go(recipe(), out, metadata=metadata, **settings)
    assert measured == ["merged-recipe", "finance", "math"]
    del measured[:]
    helpers.go(tiny, out, tasks=[TASK])
    assert sorted(m for m in measured if not m.startswith("stage")) == ["base"]
    del measured[:]
    again, printed = go(recipe(), out, metadata=metadata, **settings)
    assert again == first and measured == [] and printed == ["3 of 3 models are stored, 0 to do"]


def test_results_of_an_older_version_are_named_and_not_used(recipe, tmp_path):
    old = tmp_path / "out" / "models" / "math-0123456789ab"
    old.mkdir(parents=True)
    (old / "results.json").write_text("{}")
    _, printed = go(recipe(), tmp_path / "out")
    assert printed[0].endswith(
        "results of an older version are not used (1 model, such as models/math-0123456789ab). "
        "Their folders can be deleted."
    )
    assert printed[1] == "0 of 3 models are stored, 3 to do"


def test_gain_json_has_intervals_beside_the_values(recipe, tmp_path):
    """Equal to what the statistics of a study give for the same items."""
    result, _ = go(recipe(), tmp_path / "out", limit=None)
    assert result["format"] == 2
    for row in (result["tasks"][TASK], result["macro"]):
        for name in ("merged", "gain", "og"):
            low, high = row["intervals"][name]
            assert low <= row[name] <= high
    assert result["tasks"][TASK]["clusters"] >= 2
    right = {
        model: answers(tmp_path / "out" / "points" / folder) for model, folder in result["results"].items()
    }
    merged = right.pop("merged")
    expected = {
        "gained": sum(m and not c for other in right.values() for m, c in zip(merged, other, strict=True)),
        "lost": sum(c and not m for other in right.values() for m, c in zip(merged, other, strict=True)),
    }
    assert result["tasks"][TASK]["flips_gain"] == result["macro"]["flips_gain"] == expected


def test_a_task_with_one_cluster_has_no_interval(recipe, tmp_path):
    result, _ = go(recipe(), tmp_path / "out", limit=1)
    assert "intervals" not in result["tasks"][TASK] and "intervals" not in result["macro"]
    json.loads((tmp_path / "out" / "gain.json").read_text(), parse_constant=pytest.fail)


def test_gain_json_names_tasks_without_demonstrations(recipe, tmp_path):
    """A mirror with test rows only; the rows of the sample source are not meant to be few-shot."""
    (tmp_path / "raw" / "fpb").mkdir(parents=True)
    phrases = [{"id": f"{n}", "sentence": f"It rose {n} .", "label": "positive"} for n in range(3)]
    text = "".join(json.dumps(phrase) + "\n" for phrase in phrases)
    (tmp_path / "raw" / "fpb" / "test.jsonl").write_text(text)
    mirror = Mirror(tmp_path / "mirror")
    adopt(tmp_path / "raw", mirror, datasets().values(), lambda text: None)
    result, _ = go(recipe(), tmp_path / "out", limit=1, metadata={"data_dir": str(mirror.folder)})
    assert result["tasks"][TASK]["is_zero_shot"]
    sample, _ = go(recipe(), tmp_path / "sample", limit=1)
    assert not sample["tasks"][TASK]["is_zero_shot"]


def test_a_task_that_is_named_twice_ends_in_one_line(recipe, tmp_path):
    done = CliRunner().invoke(main, ["run", str(recipe()), "-o", str(tmp_path / "out"), "--tasks", "a,b,a"])
    assert (done.exit_code, done.output) == (1, "Error: --tasks: 'a' appears twice. Name it once.\n")
    assert not (tmp_path / "out").exists()


def test_a_local_file_of_rows_that_is_gone_is_not_said_to_be_on_the_hub(tmp_path):
    text = (
        "task: mine\ndataset_path: json\ndataset_kwargs: {data_files: {test: gone.jsonl}}\ntest_split: test\n"
    )
    (tmp_path / "mine.yaml").write_text(f"{text}doc_to_text: x\ndoc_to_target: x\n")
    with pytest.raises(DataError, match=r"gone.jsonl'\). Correct the path, or leave the task out."):
        Evaluator(("mine",), include_paths=[tmp_path]).tasks  # noqa: B018
