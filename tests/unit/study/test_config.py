"""study.yml: every mistake is one line that names place, value and choices; defaults; a dump is read back."""

import pytest
import yaml

from mergekit_finance.errors import RecipeError
from mergekit_finance.study import config

GOOD = {
    "base": "./base",
    "experts": {"finance": {"model": "./f"}, "math": {"model": "./m"}, "japanese": {"model": "./j"}},
    "operators": {"task_arithmetic": {"lambda": 0.5}},
}


def parse(**changes):
    return config.parse_study(GOOD | changes, "study.yml")


def one(operator, **values):
    return {"operators": {operator: values}}


TWO = {"experts": {"finance": {"model": "./f"}, "math": {"model": "./m"}}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        # unknown keys, at every level
        ({"opperators": {}}, "unknown key 'opperators'. Did you mean 'operators'? Known: base, "),
        ({"experts": {"f": {"modle": "x", "model": "y"}}}, "unknown key 'experts.f.modle'. Did you mean 'model'? Known: license, model, skills"),
        ({"operators": {"tise": {}, "ties": {}}}, "operators: unknown merge method 'tise'. Did you mean 'ties'? Known: arcee_fusion, "),
        (one("task_arithmetic", lambdas=[1], lamda=[1]), "unknown key 'operators.task_arithmetic.lamda'. Did you mean 'lambda'?"),
        # a misspelt key that is required is named as it was written, not as missing
        ({"select": {"subject_to": {"retention": {"point": 1}}}}, "unknown key 'select.subject_to.retention.point'. Did you mean 'points'? Known: against, points"),
        (one("task_arithmetic", **{"lambda": [[{"filter": "mlp", "vlue": 0.4}]]}), "unknown key 'operators.task_arithmetic.lambda.0.0.vlue'. Did you mean 'value'? Known: filter, value"),
        (one("ties", densty=1), "unknown key 'operators.ties.densty'. Did you mean 'density'? Known: density, lambda, start"),
        (one("dare_ties", seed=1), "unknown key 'operators.dare_ties.seed'. Did you mean 'seeds'?"),
        ({"selection": {"shar": 0.3}}, "unknown key 'selection.shar'. Did you mean 'share'? Known: same_items, seed, share"),
        ({"evaluation": {"paralelize": True}}, "unknown key 'evaluation.paralelize'. Did you mean 'parallelize'?"),
        ({"evaluation": {"parallelize": True}, "workers": 2}, "workers: with parallelize one process has all GPUs; write `workers: 1`"),
        ({"evaluation": {"parallelize": True}, "executor": "ray"}, "executor: ray gives a process one GPU; with parallelize write"),
        ({"evaluation": {"parallelize": True, "engine": "compiled"}}, "evaluation: engine: compiled answers on one GPU; with parallelize"),
        ({"evaluation": {"parallelize": True, "max_memory_per_gpu": "0GiB"}}, "evaluation: max_memory_per_gpu: 0GiB holds nothing"),
        ({"evaluation": {"device": "gpu"}}, "evaluation: device: gpu is no device of torch. Write cpu, cuda, cuda:0 or mps"),
        ({"evaluation": {"parallelize": True, "device": "cuda:1"}}, "evaluation: device: cuda:1 is one GPU; with parallelize write cuda"),
        ({"evaluation": {"max_memory_per_gpu": "4GiB"}}, "evaluation: max_memory_per_gpu: needs parallelize: true"),
        ({"evaluation": {"parallelize": True, "max_memory_per_gpu": "much"}}, "evaluation.max_memory_per_gpu: must be a number with KB, MB, GB, KiB, MiB or GiB, such as 40GiB (given: 'much')"),
        ({"evaluation": {"batchsize": 3}}, "unknown key 'evaluation.batchsize'. Did you mean 'batch_size'?"),
        (one("ties", start={"densty": 0.5}), "operators.ties.start: unknown 'densty'. Did you mean 'density'? Known: density, lambda"),
        (one("ties", density=[0.2, 0.4], start={"density": 0.3}), "operators.ties.start: {'density': 0.3} is not a point of the grid; choose one that is"),
        # a value that is listed twice
        (one("task_arithmetic", **{"lambda": [0.3, 0.5, 0.30]}), "operators.task_arithmetic.lambda: 0.3 appears twice"),
        (one("ties", density=[1, 1.0]), "operators.ties.density: 1.0 appears twice"),
        (one("dare_ties", seeds=[7, 8, 7]), "operators.dare_ties.seeds: 7 appears twice"),
        (one("task_arithmetic", **{"lambda": {"finance": [0.3], "math": [0.5, 0.5]}}), "operators.task_arithmetic.lambda.math: 0.5 appears twice"),
        (one("task_arithmetic", **{"lambda": [[0.1, 0.3], [0.1, 0.3]]}), "operators.task_arithmetic.lambda: [0.1, 0.3] appears twice"),
        (one("slerp", t=[0.5, 0.5]), "operators.slerp.t: 0.5 appears twice"),
        # stages and chains
        (TWO, "stages: stage 3 needs 3 experts, there are 2; add experts, or write `stages: [1, 2]`"),
        ({"stages": 4}, "stages.0: must be 1, 2 or 3 (given: 4)"),
        ({"stages": []}, "stages: list at least one of 1, 2, 3"),
        ({"stages": [1, 1]}, "stages: list each stage once (given: [1, 1])"),
        ({"chain": "best", "stages": [1, 3]}, "chain: best merges what the stage before selected; list all stages from 1"),
        ({"chain": "best", "stages": [2]}, "chain: best merges what the stage before selected; list all stages from 1"),
        ({"chain": "bst"}, "chain: must be 'experts' or 'best' (given: 'bst')"),
        # search
        ({"search": {"method": "succesive_rejects"}}, "search: method: there is no 'succesive_rejects'. Did you mean 'successive_rejects'? Known: grid, successive_rejects"),
        ({"search": {"method": "successive_rejects", "budget": 0}}, "search.budget: must be greater than 0 (given: 0)"),
        ({"search": {"method": "successive_rejects", "budget": 1.5}}, "search.budget: must be at most 1 (given: 1.5)"),
        ({"search": {"budget": 0.5}}, "search: budget: the grid evaluates every setting. Set method: successive_rejects, or leave it out"),
        ({"search": {"method": "successive_rejects", "bugdet": 0.5}}, "unknown key 'search.bugdet'. Did you mean 'budget'? Known: budget, method, seed"),
        ({"search": "successive_rejects"}, "search: must be a mapping of keys"),
        # models
        ({"experts": {}, "stages": 1}, "experts: list at least one"),
        ({"experts": {"a": {"model": "./base"}}, "stages": 1}, "experts: base and a are both ./base; use different models"),
        ({"experts": {"a": {"model": "x/y"}, "b": {"model": "x/y"}}, "stages": 1}, "experts: a and b are both x/y; use different models"),
        ({"experts": {"a-b": {"model": "x"}}, "stages": 1}, "experts: 'a-b' is used in file names, so it must consist of letters, digits and _"),
        ({"experts": {"base": {"model": "x"}}, "stages": 1}, "experts: 'base' is reserved for the base model; give the expert another name"),
        ({"experts": {"a": 5}}, "experts.a: must be a mapping of keys (given: 5)"),
        ({"experts": ["a"]}, "experts: must be a mapping of keys"),
        ({"experts": {"a": {"model": ""}}}, "experts.a.model: must not be empty (given: '')"),
        ({"base": ""}, "base: must not be empty (given: '')"),
        ({"experts": {"x" * 41: {"model": "./x"}}}, "experts: 'xxxxxxxxxxxxxxxxxxxx'... is too long: file names contain it, so at most 40 bytes are allowed"),
        # combinations that are named
        ({"named": {"math+finance": "t"}}, "named: 'math+finance': write it 'finance+math', in the order of `experts`"),
        ({"named": {"finance+math": "t"}, "stages": 1}, "named: 'finance+math' is not a combination"),
        ({"named": {"finance+math": []}}, "named.finance+math: list at least one task, or leave the key out to use the default"),
        # tasks
        ({"tasks": ["a", "a"]}, "tasks: 'a' appears twice"),
        ({"tasks": ["a"], "retention": ["r", "a"]}, "retention: 'a' is under tasks too; list it once"),
        # bounds
        ({"limit": 10**30}, "limit: must be at most 1000000000 (given: 1000000000000000000000000000000)"),
        ({"limit": 1e30}, "limit: must be at most 1000000000 (given: 1000000000000000019884624838656)"),
        ({"limit": 0}, "limit: must be at least 1 (given: 0)"),
        ({"resamples": 10**9}, "resamples: must be at most 100000 (given: 1000000000)"),
        ({"workers": 10**6}, "workers: must be at most 1024 (given: 1000000)"),
        ({"seed": 2**32}, "seed: must be less than 4294967296 (given: 4294967296)"),
        ({"selection": {"seed": 10**100}}, "selection.seed: "),
        ({"selection": {"share": float("nan")}}, "selection.share: "),
        (one("dare_ties", seeds=[-1]), "operators.dare_ties.seeds.0: must be at least 0 (given: -1)"),
        ({"evaluation": {"threads": 10**6}}, "evaluation.threads: must be at most 1024 (given: 1000000)"),
        ({"evaluation": {"batch_size": 10**6}}, "evaluation.batch_size: must be at most 65536 (given: 1000000)"),
        ({"evaluation": {"max_gen_toks": 10**9}}, "evaluation.max_gen_toks: must be at most 1000000 (given: 1000000000)"),
        (one("task_arithmetic", **{"lambda": float("nan")}), "operators.task_arithmetic.lambda.0: must be a finite number (given: nan)"),
        (one("task_arithmetic", **{"lambda": 1e300}), "operators.task_arithmetic.lambda.0: must be at most 10 (given: 1e+300)"),
        (one("ties", density=[1e-3 * i for i in range(1, 1001)], **{"lambda": [1e-3 * i for i in range(1000)]}), "operators: the grids have 7000000 points over 7 combinations, at most 10000 are allowed; list fewer values, experts or stages"),
        (one("task_arithmetic", **{"lambda": [0.5] * 10_001}), "operators.task_arithmetic.lambda: must have at most 10000 entries"),
        ({"stages": [1] * 100}, "stages: must have at most 3 entries"),
        ({"experts": {f"e{i}": {"model": f"x/{i}"} for i in range(51)}}, "experts: must have at most 50 entries"),
        ({"name": "x" * 256}, "name: must have at most 255 characters"),
        ({"tasks": ["x" * 256]}, "tasks.0: must have at most 255 characters"),
        ({"tasks": ["a\x1b[31m"]}, "tasks.0: must be one line of printable characters without < > ` (given: 'a\\x1b[31m')"),
        ({"base": "./a\nb"}, "base: must be one line of printable characters without < > `"),
        ({"experts": {"a": {"model": "./<b>"}}}, "experts.a.model: must be one line of printable characters without < > `"),
        ({"base": "x" * 5000}, "base: must have at most 4096 characters"),
        ({"x" * 100_000: 1}, "unknown key 'xxx"),
        # numbers
        ({"limit": True}, "limit: must be a number, not yes or no (given: True)"),
        (one("ties", density=[True]), "operators.ties.density.0: must be a number, not yes or no (given: True)"),
        (one("task_arithmetic", **{"lambda": [True]}), "operators.task_arithmetic.lambda.0: must be a number"),
        (one("dare_ties", seeds=[False]), "operators.dare_ties.seeds.0: must be a number"),
        ({"evaluation": {"batch_size": True}}, "evaluation.batch_size: must be a number"),
        ({"evaluation": {"threads": 100000}}, "evaluation.threads: must be at most 1024"),
        # operators and grids
        ({"operators": {}}, "operators: list at least one of task_arithmetic, ties, dare_ties"),
        ({"operators": ["ties"]}, "operators: must be a mapping of keys"),
        (one("task_arithmetic", **{"lambda": [float("inf")]}), "operators.task_arithmetic.lambda.0: must be a finite number (given: inf)"),
        (one("task_arithmetic", **{"lambda": [0.1, "x"]}), "operators.task_arithmetic.lambda.1: must be a number (given: 'x')"),
        (one("task_arithmetic", **{"lambda": 11}), "operators.task_arithmetic.lambda.0: must be at most 10 (given: 11)"),
        (one("task_arithmetic", **{"lambda": []}), "operators.task_arithmetic.lambda: must not be empty"),
        (one("ties", density=0), "operators.ties.density.0: must be greater than 0 (given: 0)"),
        (one("dare_ties", density=[0.5, 1.5]), "operators.dare_ties.density.1: must be at most 1 (given: 1.5)"),
        (one("dare_ties", seeds=-1), "operators.dare_ties.seeds.0: must be at least 0 (given: -1)"),
        # the rest
        ({"tasks": []}, "tasks: list at least one"),
        ({"limit": 0}, "limit: must be at least 1 (given: 0)"),
        ({"selection": {"share": 1}}, "selection.share: must be less than 1 (given: 1)"),
        ({"semantics": "papr"}, "semantics: must be 'paper' or 'mergekit' (given: 'papr')"),
        ({"executor": "slurm"}, "executor: must be 'local' or 'ray' (given: 'slurm')"),
        ({"evaluation": {"dtype": "int8"}}, "evaluation.dtype: must be 'auto', 'float32', 'bfloat16' or 'float16' (given: 'int8')"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_in_one_line(changes, message):
    with pytest.raises(RecipeError) as caught:
        parse(**changes)
    assert str(caught.value).startswith(f"study.yml: {message}") and "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["base", "experts", "operators"])
def test_a_missing_required_key_is_named(missing):
    with pytest.raises(RecipeError, match=f"^study.yml: {missing}: is missing. Add it"):
        config.parse_study({k: v for k, v in GOOD.items() if k != missing}, "study.yml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "a study is a mapping of keys, this is list"),
        ("", "a study is a mapping of keys, this is NoneType"),
        ("base: x\nexperts: {a\n", ", line 3: not valid YAML ("),
        ("base: x\n\tb: 1\n", "indent with spaces, not tabs"),
        ("base: \x00", "not valid YAML ("),
        (
            "base: x\nlimit: 8\nexperts: {a: {model: y}}\nlimit: 4\n",
            ", line 4: not valid YAML (key 'limit' appears twice)",
        ),
        ("experts: {a: {model: y}, a: {model: z}}\n", "key 'a' appears twice"),
    ],
)
def test_a_file_that_is_not_a_study_is_reported_in_one_line(tmp_path, text, message):
    path = tmp_path / "study.yml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        config.load_study(path)
    assert str(caught.value).startswith(str(path)) and message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_reported_in_one_line(tmp_path):
    (tmp_path / "bytes.yml").write_bytes(b"\xff\xfe\xfa")
    for name, message in (
        ("none.yml", "no such study file. `mergekit-finance study init` writes one"),
        ("bytes.yml", "cannot be read as text"),
        (".", "cannot be read"),
    ):
        with pytest.raises(RecipeError, match=message):
            config.load_study(tmp_path / name)


def test_defaults():
    study = config.parse_study(GOOD, "study.yml")
    assert study.stages == (1, 2, 3) and study.chain == "experts" and study.tasks == ("finance_bench",)
    assert study.semantics == "paper" and study.selection.share == 0.3 and not study.selection.same_items
    assert study.workers is None and study.executor == "local" and study.evaluation.threads == 1
    assert study.skills == {name: frozenset({name}) for name in GOOD["experts"]}


def test_an_operator_without_a_value_has_its_defaults():
    """`ties:` alone is null in YAML: it must not be taken for one that was left out."""
    study = config.parse_study(
        GOOD | yaml.safe_load("operators:\n  task_arithmetic:\n  ties:\n"), "study.yml"
    )
    assert list(study.operators.present()) == ["task_arithmetic", "ties"]
    assert len(study.operators.ties.grid()) == 10


def test_grids_are_sorted_without_repeats_and_one_value_is_a_grid():
    """Repeated values are those of older studies, whose folders are read; a study file may not have them."""
    operators = {
        "task_arithmetic": {"lambda": [1, 0.5, 1.0]},
        "dare_ties": {"density": 0.2, "seeds": [3, 1]},
    }
    study = config.Study.model_validate(GOOD | {"operators": operators})
    assert study.operators.task_arithmetic.grid() == [{"lambda": 0.5}, {"lambda": 1.0}]
    assert study.operators.dare_ties.grid() == [
        {"density": 0.2, "lambda": 1.0, "seed": seed} for seed in (1, 3)
    ]


def test_a_dump_is_read_back():
    study = parse(
        operators={"task_arithmetic": None, "ties": {"density": [0.2, 0.4], "start": {"density": 0.2}}},
        named={"finance+math": "a task"}, limit=7, workers=3, selection={"same_items": True},
    )  # fmt: skip
    text = yaml.safe_dump(config.dump(study))
    assert config.parse_study(yaml.safe_load(text), "again") == study
    assert config.dump(config.parse_study(config.dump(study), "again")) == config.dump(study)


def test_the_identity_of_a_study_leaves_out_executor_and_workers():
    identity = config.identity(parse())
    assert identity == config.identity(parse(workers=7, executor="ray"))
    assert identity != config.identity(parse(seed=1))


@pytest.mark.parametrize(("key", "base_key"), [("license", "base_license"), ("licence", "base_licence")])
def test_a_license_may_be_spelled_either_way_and_is_written_as_license(key, base_key):
    study = parse(**{base_key: "llama3", "experts": {"finance": {"model": "./f", key: "mit"}}, "stages": 1})
    assert study.base_license == "llama3" and study.experts["finance"].license == "mit"
    written = config.dump(study)
    assert written["base_license"] == "llama3" and written["experts"]["finance"]["license"] == "mit"
    assert "licence" not in str(written)
