"""Every task and group loads by name: lm-eval hides a broken YAML, so only this shows one."""

import pytest
import yaml
from lm_eval.tasks import TaskManager

from mergekit_finance import registration
from mergekit_finance.files import bundled
from mergekit_finance.hosts.lm_eval import tasks_by_name
from mergekit_finance.plugins.manager import datasets

registration.register()

SKILLS = {
    "f": ("fpb", "fiqa_sa", "headline", "fin_ner"),
    "fm": ("convfinqa", "docmath_ss", "docmath_ss_cot", "docmath_cs", "docmath_cs_cot"),
    "fj": ("chabsa", "cma_basics", "cpa_audit", "fp2", "fp2_cot", "security_sales_1"),
    "fmj": ("jfinqa_numerical", "jfinqa_consistency", "jfinqa_temporal"),
}
NAMES = {"f": "finance", "m": "math", "j": "japanese"}
EIGHTEEN = [f"finance_bench_{task}" for tasks in SKILLS.values() for task in tasks]
EXTRA = [f"finance_bench_{t}" for t in ("tatqa", "tatqa_cot", "fomc", "financemath")]
EXTRA += [f"finance_bench_{t}_cot" for t in ("convfinqa", *SKILLS["fmj"])]
PROBE = [f"finance_bench_probe_{t}" for t in ("m", "j", "mj", "svamp")]
GENERAL = ("arc", "hellaswag", "arc_easy", "piqa", "boolq", "winogrande", "lambada", "openbookqa")
RETENTION = [f"finance_bench_retention_{t}" for t in GENERAL]
BASES = (*SKILLS["f"], "convfinqa", "docmath_ss_cot", "docmath_cs_cot", *SKILLS["fmj"])
PUBLISHED = [f"finance_bench_{t}_published" for t in BASES]
ALL = EIGHTEEN + EXTRA + PROBE + RETENTION + PUBLISHED
# Versions above 1.0: the prompt or the score of the task has changed since.
CHANGED = {
    2.2: (
        *SKILLS["fm"],
        *SKILLS["fmj"],
        "tatqa",
        "tatqa_cot",
        "financemath",
        "probe_m",
        "probe_mj",
        "fp2_cot",
    ),
    2.0: ("fin_ner",),
    1.2: (
        *(f"{task}_cot" for task in ("convfinqa", *SKILLS["fmj"])),
        "probe_svamp",
        "docmath_ss_cot_published",
        "docmath_cs_cot_published",
    ),
    1.1: tuple(task for task in SKILLS["f"] if task != "fin_ner"),
}
VERSIONS = {f"finance_bench_{task}": version for version, tasks in CHANGED.items() for task in tasks}
GROUPS = {
    "finance_bench": EIGHTEEN,
    "finance_bench_open": [t for t in EIGHTEEN if "docmath" not in t],
    "finance_bench_extra": EXTRA,
    "finance_bench_probe": PROBE,
    "finance_bench_retention": RETENTION,
    "finance_bench_published": PUBLISHED,
    **{f"finance_bench_{k}": [f"finance_bench_{t}" for t in v] for k, v in SKILLS.items()},
}


@pytest.fixture(scope="module")
def manager(tiny):
    # lm_eval adds `pretrained` of --model_args: rows then have the numbers of tokens of their options.
    return TaskManager(
        include_defaults=False, metadata={"source": "sample", "pretrained": str(tiny / "base")}
    )


def test_there_are_18_tasks_from_8_datasets(manager):
    assert len(EIGHTEEN) == len(set(EIGHTEEN)) == 18
    loaded = manager.load(EIGHTEEN)["tasks"]
    exams = {"chabsa", "cma_basics", "cpa_audit", "fp2", "security_sales_1"}  # one dataset: the pfnet harness
    assert len({t.config.dataset_kwargs["fb_dataset"] for t in loaded.values()} - exams) + 1 == 8


def test_no_yaml_is_left_out_of_the_index(manager):
    files = [p for p in bundled("lm_eval_tasks").rglob("*.yaml")]
    assert len(files) == len(ALL) + len(GROUPS)
    assert sorted(manager.all_subtasks) == sorted(ALL) and sorted(manager.all_groups) == sorted(GROUPS)


@pytest.mark.parametrize("name", ALL)
def test_a_task_builds_a_prompt_and_a_target_for_every_sample_row(manager, name):
    task = manager.load([name])["tasks"][name]
    docs = list(task.test_docs())
    assert docs and task.VERSION == VERSIONS.get(name, 1.0) and task.config.num_fewshot == 0
    for doc in docs:
        prompt = task.doc_to_text(doc)
        if isinstance(prompt, int):  # winogrande: the index of the prompt that is right
            prompt = task.doc_to_choice(doc)[prompt]
        assert prompt == prompt.rstrip() and "{{" not in prompt and "{%" not in prompt
        assert task.doc_to_target(doc) != ""
        assert {"item_id", "cluster_id"} <= doc.keys()


@pytest.mark.parametrize("name", ALL)
def test_every_sample_row_is_asked(manager, name):
    """lm-eval 0.5 leaves out rows of choices whose target is not one of the options."""
    task = manager.load([name])["tasks"][name]
    task.build_all_requests(rank=0, world_size=1)
    assert {request.doc_id for request in task.instances} == set(range(len(list(task.test_docs()))))


@pytest.mark.parametrize("name", ALL)
def test_every_metric_that_scoring_returns_is_declared(manager, name):
    """lm-eval takes the mean of a metric it does not know, which breaks on tuples."""
    task = manager.load([name])["tasks"][name]
    doc = next(iter(task.test_docs()))
    results = {
        "multiple_choice": lambda: [(-1.0, False)] * len(task.doc_to_choice(doc)),
        "loglikelihood": lambda: [(-1.0, False)],
        "generate_until": lambda: ["x"],
    }[task.OUTPUT_TYPE]()
    metrics = task.process_results(doc, results)
    assert {"score", "correct"} <= metrics.keys() and set(metrics) == set(task.aggregation())
    assert 0 <= task.aggregation()["score"]([metrics["score"]]) <= 1


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_has_its_tasks(manager, name):
    assert sorted(tasks_by_name(manager.load([name]))) == sorted(GROUPS[name])


@pytest.mark.parametrize("group", SKILLS)
def test_a_task_states_the_skills_of_its_group(manager, group):
    for name in GROUPS[f"finance_bench_{group}"]:
        task = manager.load([name])["tasks"][name]
        assert task.config.metadata["skills"] == [NAMES[letter] for letter in group]


def test_published_variants_have_the_prompts_and_items_of_their_tasks(manager):
    for name in PUBLISHED:
        pair = [name.removesuffix("_published"), name]
        loaded = manager.load(pair)["tasks"]
        prompts = [[(d["item_id"], loaded[n].doc_to_text(d)) for d in loaded[n].test_docs()] for n in pair]
        assert prompts[0] == prompts[1]
        skills = [loaded[n].config.metadata["skills"] for n in pair]
        assert skills[0] == skills[1]


def test_direct_and_cot_twins_share_their_items(manager):
    for direct in ("docmath_ss", "docmath_cs", "fp2", "convfinqa", "tatqa", *SKILLS["fmj"]):
        pair = [f"finance_bench_{direct}", f"finance_bench_{direct}_cot"]
        loaded = manager.load(pair)["tasks"]
        ids = [[d["item_id"] for d in loaded[name].test_docs()] for name in pair]
        assert ids[0] == ids[1]


def test_every_task_names_a_dataset_of_the_registry(manager):
    for task in manager.load(ALL)["tasks"].values():
        assert task.config.dataset_kwargs["fb_dataset"] in datasets()


def test_option_tokens_follow_the_models_tokenizer(manager, tiny):
    from mergekit_finance.models.loading import load_tokenizer

    tokenizer = load_tokenizer(str(tiny / "base"))
    doc = manager.load(["finance_bench_fpb"])["tasks"]["finance_bench_fpb"].test_docs()[0]
    expected = [
        len(tokenizer(f"Answer: {t}")["input_ids"]) - len(tokenizer("Answer:")["input_ids"])
        for t in doc["options"]
    ]
    assert doc["option_tokens"] == expected and min(expected) > 0


def test_yamls_name_only_functions_of_the_package():
    class Loader(yaml.SafeLoader): ...

    seen = []
    Loader.add_constructor("!function", lambda loader, node: seen.append(loader.construct_scalar(node)))
    for path in bundled("lm_eval_tasks").rglob("*yaml"):
        yaml.load(path.read_text(encoding="utf-8"), Loader)
    assert seen and all(name.startswith("mergekit_finance.") for name in seen)


def test_the_jfinqa_prompt_is_that_of_lm_evals_builtin_task(manager):
    doc_to_text = pytest.importorskip(
        "lm_eval.tasks.jfinqa.utils", reason="lm-eval 0.5 has no JFinQA"
    ).doc_to_text

    for name in SKILLS["fmj"]:
        task = manager.load([f"finance_bench_{name}"])["tasks"][f"finance_bench_{name}"]
        for doc in task.test_docs():
            assert task.doc_to_text(doc) == doc_to_text(doc)


def test_exam_comments_never_reach_a_row(manager):
    for name in ("cma_basics", "fp2", "security_sales_1"):
        task = manager.load([f"finance_bench_{name}"])["tasks"][f"finance_bench_{name}"]
        assert "comment" not in task.test_docs()[0]
