"""`lm_eval --model mergekit`: the same scores as a checkpoint on disk and `--model hf`."""

import json

import pytest
from helpers import commands

from mergekit_finance.recipe.overrides import load_changed

CHOICE, FREE = "finance_bench_fpb", "finance_bench_docmath_cs_cot"


@pytest.fixture(scope="module")
def tasks():
    from lm_eval.tasks import TaskManager

    from mergekit_finance.registration import register

    register()
    return TaskManager(include_defaults=False, metadata={"source": "sample"})


def evaluated(tasks, model, arguments):
    import lm_eval

    return lm_eval.simple_evaluate(
        model=model, model_args=arguments, tasks=[CHOICE, FREE], task_manager=tasks, limit=4, device="cpu",
        batch_size=4, gen_kwargs={"max_gen_toks": 8},
    )  # fmt: skip


def answers(result):
    return {task: [s["filtered_resps"] for s in samples] for task, samples in result["samples"].items()}


VARIANTS = {
    "ours": ((), {"set.lambda": 0.4}, {}),
    "mergekit's, with a tokenizer block": (
        (
            ("cpt_task_arithmetic", "task_arithmetic"),
            ("out_dtype: bfloat16", "out_dtype: bfloat16\ntokenizer: {source: base}"),
        ),
        {"set.weight": 0.7},
        {},
    ),
    "another dtype": ((), {"set.lambda": 0.4}, {"dtype": "float16", "add_bos_token": True}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_equal_those_of_the_merge_on_disk(variant, recipe, tmp_path, tasks):
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    changes, overrides, arguments = VARIANTS[variant]
    path = str(recipe(*changes))
    live = evaluated(tasks, "mergekit", {"recipe": path, "engine": "hf"} | overrides | arguments)
    config = load_changed(path, {k.removeprefix("set."): v for k, v in overrides.items()}).configuration()
    run_merge(config, str(tmp_path / "disk"), MergeOptions(quiet=True, write_model_card=False))
    disk = evaluated(tasks, "hf", {"pretrained": str(tmp_path / "disk")} | arguments)
    assert answers(live) == answers(disk)  # every log-likelihood and every generated text
    assert live["results"][CHOICE]["score,none"] == disk["results"][CHOICE]["score,none"]
    assert live["config"]["model_dtype"] == disk["config"]["model_dtype"]


@pytest.mark.slow
def test_the_plain_command_writes_no_checkpoint_and_names_results_after_the_recipe(recipe, tmp_path):
    """It also reports a mistake in one line."""
    path = recipe()
    options = ["--model", "mergekit", "--tasks", CHOICE, "--limit", "2", "--output_path", "out"]
    options += ["--device", "cpu", "--metadata", '{"source": "sample"}']

    def outside():
        return {p for p in tmp_path.rglob("*") if "out" not in p.relative_to(tmp_path).parts}

    def run(arguments):
        before = outside()
        done = commands.run("lm_eval", *options, "--model_args", arguments, cwd=tmp_path)
        assert outside() == before
        return done

    done = run(f"recipe={path.name},set.lambda=0.4,set.models[0].weight=0.5")
    assert done.returncode == 0, done.stderr
    (results_file,) = (tmp_path / "out").rglob("results_*.json")
    result = json.loads(results_file.read_text())
    assert result["model_name"] == "recipe.yml,lambda=0.4,models[0].weight=0.5"
    assert result["config"]["model"] == "mergekit"
    assert result["config"]["model_args"]["recipe"] == "recipe.yml"
    assert result["config"]["model_args"]["set.lambda"] == 0.4
    assert result["config"]["merge"]["models"][0]["parameters"] == {"weight": 0.5}
    options[options.index("out")] = "."  # the folder of results would have the name of the recipe's file
    done = run(f"recipe={path.name}")
    assert done.returncode == 1
    assert commands.error_line(done).endswith("[output.not-a-directory]")
    options[options.index(".")] = "out"
    done = run(f"recipe={path.name},set.lambada=0.4")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "Error: recipe.yml: set.lambada: unknown parameter 'lambada'"
    )
    assert "Traceback" not in done.stderr
