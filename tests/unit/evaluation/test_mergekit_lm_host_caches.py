"""lm-eval's caches on disk: `--use_cache` for answers, `--cache_requests` for prompts."""

import contextlib
import inspect
import json
import shutil
import sqlite3
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers.datasets import write_jsonl
from helpers.study import wait_for
from lm_eval import evaluator as lm_eval_evaluator
from lm_eval.api import task as lm_eval_task
from lm_eval.caching import cache as request_files
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from safetensors.torch import load_file, save_file

from mergekit_finance.evaluation.inference.compiled_lm import CompiledLM
from mergekit_finance.evaluation.mergekit_lm import MergekitLM
from mergekit_finance.registration import register

CHOICE, FREE = "finance_bench_fpb", "finance_bench_docmath_cs_cot"
GENERATION = {"max_gen_toks": 4}


@pytest.fixture(scope="module")
def managers():
    """lm-eval's index of our tasks, by source of rows."""
    register()
    return {
        source: TaskManager(include_defaults=False, metadata={"source": source})
        for source in ("sample", "lab")
    }


@pytest.fixture
def models(tiny, tmp_path):
    """Models that a test may change."""
    shutil.copytree(tiny, tmp_path / "models")
    return tmp_path / "models"


def count_requests(monkeypatch):
    """Return a list that collects the requests that reach the model, so those not answered from a cache."""
    requests = []
    for owner, name in ((HFLM, "loglikelihood"), (HFLM, "generate_until"), (CompiledLM, "generate_until")):
        original = getattr(owner, name)

        def counted(self, batch, *args, _original=original, **options):
            requests.extend(batch)
            return _original(self, batch, *args, **options)

        monkeypatch.setattr(owner, name, counted)
    return requests


@pytest.fixture
def requests_to_model(monkeypatch):
    return count_requests(monkeypatch)


def evaluate(manager, model, arguments, tasks=(CHOICE, FREE), **options):
    """Return every answer by task."""
    options = {"limit": 2, "device": "cpu", "batch_size": 4, "gen_kwargs": dict(GENERATION)} | options
    results = lm_eval_evaluator.simple_evaluate(
        model=model, model_args=dict(arguments), tasks=list(tasks), task_manager=manager,
        bootstrap_iters=0, **options,
    )  # fmt: skip
    return {task: [sample["resps"] for sample in samples] for task, samples in results["samples"].items()}


# --- --use_cache


class Cached(NamedTuple):
    """A merge that was evaluated with `--use_cache`, and a folder with everything that belongs to it."""

    folder: Path
    answers: dict[str, list]
    requests: int

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.yml"

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def cache(self) -> str:
        return str(self.folder / "answers")


def stored_answers(path: Path) -> int:
    """Return the number of rows in all tables of a database."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return sum(database.execute(f'SELECT COUNT(*) FROM "{table}"').fetchone()[0] for table in tables)


@pytest.fixture(scope="module")
def first_evaluation(recipe_text, tiny, tmp_path_factory, managers):
    """The evaluation, once, and a copy of its folder as it was then."""
    base = tmp_path_factory.mktemp("cached")
    folder = base / "folder"
    shutil.copytree(tiny, folder / "models")
    (folder / "recipe.yml").write_text(recipe_text.replace(str(tiny), str(folder / "models")), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        requests = count_requests(patch)
        arguments = {"recipe": str(folder / "recipe.yml")}
        answers = evaluate(managers["sample"], "mergekit", arguments, use_cache=str(folder / "answers"))
    wait_for(lambda: stored_answers(folder / "answers_rank0.db") == len(requests))  # a thread writes them
    shutil.copytree(folder, base / "as it was")
    return Cached(folder, answers, len(requests))


@pytest.fixture
def cached(first_evaluation):
    """The first evaluation's folder at its own path, restored: a test may change it."""
    folder = first_evaluation.folder
    shutil.rmtree(folder)
    shutil.copytree(folder.with_name("as it was"), folder)
    return first_evaluation


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def other_weights(models: Path) -> None:
    path = models / "math" / "model.safetensors"
    tensors = load_file(path)
    save_file({name: tensor.flip(0) for name, tensor in tensors.items()}, path, metadata={"format": "pt"})


def other_end_token(models: Path) -> None:
    path = models / "base" / "generation_config.json"
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | {"eos_token_id": 7}))


def swap_two_tokens(models: Path) -> None:
    path = models / "base" / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    ids = content["model"]["vocab"]
    first, second = list(ids)[-2:]
    ids[first], ids[second] = ids[second], ids[first]
    path.write_text(json.dumps(content), encoding="utf-8")


# What changes between two runs with one cache file -> new arguments, or what is done to recipe and models.
CHANGES = {
    "a value that is set": {"set.lambda": 0.0001},
    "a value set for one model": {"set.models[0].weight": 0.1},
    "the recipe under the same name": lambda recipe, models: rewrite(recipe, "lambda: 0.5", "lambda: 1.0"),
    "the method in the recipe": lambda recipe, models: rewrite(recipe, "task_arithmetic", "ties"),
    "weights at the same path": lambda recipe, models: other_weights(models),
    "the base's end token": lambda recipe, models: other_end_token(models),
    "the base's tokenizer": lambda recipe, models: swap_two_tokens(models),
    "dtype": {"dtype": "float32"},
    "add_bos_token": {"add_bos_token": True},
    "max_length": {"max_length": 64},
    "prefix_token_id": {"prefix_token_id": 7},
    "softmax_dtype": {"softmax_dtype": "float32"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_cached_answer_is_reused_by_no_other_merge(change, cached, managers, requests_to_model):
    arguments, changed = {"recipe": str(cached.recipe)}, CHANGES[change]
    if isinstance(changed, dict):
        arguments |= changed
    else:
        changed(cached.recipe, cached.models)
    evaluate(managers["sample"], "mergekit", arguments, use_cache=cached.cache)
    assert len(requests_to_model) == cached.requests > 0  # no answer was taken from the cache


def other_name(recipe: Path, models: Path) -> None:
    models.rename(models.with_name("elsewhere"))
    rewrite(recipe, str(models), str(models.with_name("elsewhere")))
    rewrite(recipe, "merge_method", "# a comment\nmerge_method")


SAME = {
    "nothing": {},
    "the value that the recipe has": {"set.lambda": 0.5},
    "batch sizes": {"batch_size": 1, "max_batch_size": 3},
    "logits_cache": {"logits_cache": False},
    "names of models, and a comment": other_name,
}


@pytest.mark.parametrize("change", SAME)
def test_a_merge_with_equal_weights_finds_its_answers(change, cached, managers, requests_to_model):
    arguments, options, changed = {"recipe": str(cached.recipe)}, {}, SAME[change]
    if callable(changed):
        changed(cached.recipe, cached.models)
    else:
        options = {name: value for name, value in changed.items() if "batch" in name}
        arguments |= {name: value for name, value in changed.items() if name not in options}
    second = evaluate(managers["sample"], "mergekit", arguments, use_cache=cached.cache, **options)
    assert second == cached.answers and cached.requests > 0 and not requests_to_model


def test_an_interrupted_evaluation_continues_from_its_cached_answers(
    recipe, tmp_path, managers, requests_to_model, monkeypatch
):
    arguments, cache = {"recipe": str(recipe())}, str(tmp_path / "answers")
    with monkeypatch.context() as patch:
        patch.setattr(CompiledLM, "generate_until", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            evaluate(managers["sample"], "mergekit", arguments, use_cache=cache)
    before = len(requests_to_model)
    evaluate(managers["sample"], "mergekit", arguments, use_cache=cache)
    assert before > 0 and {request.request_type for request in requests_to_model[before:]} == {
        "generate_until"
    }


def test_answers_of_hf_in_the_same_cache_file_are_not_used_for_merges(
    recipe, tiny, tmp_path, managers, requests_to_model
):
    """lm-eval reuses answers of `hf` for any model with the same name; docs/caches.md warns of it."""
    cache, manager = str(tmp_path / "answers"), managers["sample"]
    theirs = {"pretrained": f"{tiny}/math", "dtype": "auto"}
    of_hf = evaluate(manager, "hf", theirs, use_cache=cache)
    requests = len(requests_to_model)
    ours = evaluate(manager, "mergekit", {"recipe": str(recipe())}, use_cache=cache)
    assert ours != of_hf and len(requests_to_model) == 2 * requests
    assert (
        evaluate(manager, "hf", theirs, use_cache=cache) == of_hf and len(requests_to_model) == 2 * requests
    )


def test_other_rows_have_answers_of_their_own(recipe, tmp_path, managers):
    arguments, cache = {"recipe": str(recipe())}, str(tmp_path / "answers")
    evaluate(managers["sample"], "mergekit", arguments, use_cache=cache)
    expected = evaluate(managers["lab"], "mergekit", arguments)
    assert evaluate(managers["lab"], "mergekit", arguments, use_cache=cache) == expected


def test_without_a_cache_the_weights_are_not_hashed(recipe, managers, monkeypatch):
    monkeypatch.setattr(MergekitLM, "_fingerprint", lambda self: pytest.fail("hashed"))
    evaluate(managers["sample"], "mergekit", {"recipe": str(recipe())}, tasks=[CHOICE])


# --- --cache_requests


@pytest.fixture
def request_folder(tmp_path, monkeypatch):
    """The folder of lm-eval's stored prompts, as LM_HARNESS_CACHE_PATH names it."""
    folder = tmp_path / "requests"
    monkeypatch.setattr(request_files, "PATH", str(folder))
    return folder


class Prompts(HFLM):
    """A model that keeps its prompts and answers nothing."""

    def __init__(self):
        self._rank, self._world_size, self.prompts = 0, 1, []

    def loglikelihood(self, requests):
        self.prompts += [request.args for request in requests]
        return [(-1.0, False) for _ in requests]

    def generate_until(self, requests):
        self.prompts += [request.args for request in requests]
        return ["" for _ in requests]

    @property
    def tokenizer_name(self):
        return "one name"

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        return f"{self.prefix}{chat_history[-1]['content']}"

    def chat_template(self, chat_template=False):
        return "t"

    prefix, batch_sizes = "", {}

    def get_model_info(self):
        return {}


def prompts_of(manager, prefix="", **options):
    model = Prompts()
    model.prefix = prefix
    settings = {"limit": 3, "bootstrap_iters": 0, "log_samples": False, **options}
    lm_eval_evaluator.simple_evaluate(model=model, tasks=[CHOICE, FREE], task_manager=manager, **settings)
    return model.prompts


def mirror_manager(folder: Path, word: str) -> TaskManager:
    """Write a mirror whose rows hold a word, always at the same place, and return its tasks."""
    from mergekit_finance.data.adopt import adopt
    from mergekit_finance.data.mirror import Mirror
    from mergekit_finance.plugins.manager import datasets

    raw = folder.with_name("raw")
    phrases = [{"id": i, "sentence": f"{word} rose by {i} % .", "label": "positive"} for i in range(12)]
    write_jsonl(raw / "fpb" / "test.jsonl", phrases[:6])
    write_jsonl(raw / "fpb" / "train.jsonl", phrases[6:])
    question = {"question_id": "q1", "question": word, "paragraphs": ["Rent was 5."], "ground_truth": 5}
    write_jsonl(raw / "docmath_schema" / "compshort.jsonl", [question])
    adopt(raw, Mirror(folder), datasets().values(), lambda text: None)
    return TaskManager(include_defaults=False, metadata={"data_dir": str(folder)})


PROMPT_CHANGES = {
    "another source": lambda managers, folder: (managers["lab"], {}),
    "a mirror that changed": lambda managers, folder: (mirror_manager(folder, "Costs"), {}),
    "other generation settings": lambda managers, folder: (None, {"gen_kwargs": {"max_gen_toks": 9}}),
    "another chat template": lambda managers, folder: (
        None,
        {"apply_chat_template": True, "prefix": "<user>"},
    ),
    "samples by number": lambda managers, folder: (
        None,
        {"samples": {CHOICE: [1], FREE: [0]}, "limit": None},
    ),
}


@pytest.mark.parametrize("mode", [{}, {"rewrite_requests_cache": True}])
@pytest.mark.parametrize("change", PROMPT_CHANGES)
def test_stored_prompts_are_not_used_after_a_change(change, mode, managers, tmp_path, request_folder):
    manager, chat = mirror_manager(tmp_path / "mirror", "Sales"), change == "another chat template"
    options = {"apply_chat_template": True} if chat else {}
    before = prompts_of(manager, cache_requests=True, **options)
    other, changed = PROMPT_CHANGES[change](managers, tmp_path / "mirror")
    after = prompts_of(other or manager, cache_requests=True, **mode, **changed)
    assert before != after == prompts_of(other or manager, **changed)
    assert not request_folder.exists()  # nothing stored that another version of this package would read


def test_prompts_that_another_version_stored_are_not_read(managers, request_folder, monkeypatch):
    wrapped = lm_eval_task.Task.build_all_requests
    with monkeypatch.context() as patch:
        patch.setattr(lm_eval_task.Task, "build_all_requests", wrapped.__wrapped__)
        prompts_of(managers["sample"], cache_requests=True)
    assert list(request_folder.iterdir())
    assert prompts_of(managers["lab"], cache_requests=True) == prompts_of(managers["lab"])
    prompts_of(managers["lab"], delete_requests_cache=True)
    assert not list(request_folder.iterdir())


def test_the_warning_is_printed_once(managers, request_folder, caplog, monkeypatch):
    from mergekit_finance.hosts.lm_eval_caches import build_requests_anew

    wrapped = lm_eval_task.Task.build_all_requests
    monkeypatch.setattr(lm_eval_task.Task, "build_all_requests", wrapped.__wrapped__)
    build_requests_anew(lm_eval_task, lambda task: True)
    build_requests_anew(lm_eval_task, lambda task: pytest.fail("installed twice"))
    for _ in range(2):
        prompts_of(managers["sample"], cache_requests=True)
    lines = [record.getMessage() for record in caplog.records if "--cache_requests" in record.getMessage()]
    assert len(lines) == 1 and "are built anew" in lines[0] and CHOICE in lines[0]


def test_tasks_of_others_keep_their_stored_prompts(tmp_path, request_folder):
    register()
    rows = tmp_path / "rows.jsonl"
    write_jsonl(rows, [{"q": "one", "a": "two"}])
    (tmp_path / "theirs.yaml").write_text(
        f"task: theirs\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {rows}}}}}\n"
        "test_split: test\noutput_type: generate_until\ndoc_to_text: '{{q}}'\ndoc_to_target: '{{a}}'\n"
    )
    manager = TaskManager(include_defaults=False, include_path=str(tmp_path))
    lm_eval_evaluator.simple_evaluate(
        model=Prompts(), tasks=["theirs"], task_manager=manager, cache_requests=True, bootstrap_iters=0
    )
    assert list(request_folder.iterdir())


def test_merges_with_other_chat_templates_have_other_tokenizer_names(recipe, models, tiny):
    path = recipe((str(tiny), str(models)))
    names = []
    for template in ("{{ messages }}", "{{ messages }}!", "{{ messages }}"):
        (models / "base" / "chat_template.jinja").write_text(template)
        lm = MergekitLM(recipe=str(path), device="cpu")
        assert lm.tokenizer.chat_template == template
        names.append(lm.tokenizer_name)
    assert names[0] == names[2] != names[1]


# --- studies and runs


def test_a_study_uses_neither_cache(tiny, tmp_path, monkeypatch):
    """Also if the environment enables them: results of a study have their own keys."""
    from mergekit_finance.evaluation.answering import AnsweringModel
    from mergekit_finance.evaluation.evaluator import Evaluator

    read = []
    monkeypatch.setenv("LM_HARNESS_CACHE_PATH", str(tmp_path / "requests"))
    monkeypatch.setattr(request_files, "PATH", str(tmp_path / "requests"))
    builder = inspect.getmodule(inspect.unwrap(lm_eval_task.Task.build_all_requests))
    monkeypatch.setattr(builder, "load_from_cache", lambda file_name, cache=False: read.append(cache) or None)
    monkeypatch.setattr("lm_eval.api.model.CachingLM", lambda *_: pytest.fail("cached answers"))
    evaluator = Evaluator([CHOICE], metadata={"source": "sample"}, quiet=True)
    for name in ("math", "finance"):
        lm = evaluator.live_models.load(f"{tiny}/{name}")
        evaluator.measure(AnsweringModel(partial(lambda lm: lm, lm)), name, 2)
        assert lm.cache_hook.dbdict is None
    assert read == [False] and not (tmp_path / "requests").exists()
