"""The keys of stored results: which changes of the sources change them, in a copy of the sources."""

import ast
import re
import shutil

import pytest
import yaml
from helpers.fuzz_guard import cpu_limit

from mergekit_finance.evaluation import keys, source_hash
from mergekit_finance.evaluation.digest import NOT_HASHED, digest
from mergekit_finance.files import bundled

TASKS = sorted(bundled("lm_eval_tasks").rglob("*.yaml"))
UNRELATED = {"report", "share", "cli", "statistics", "study", "similarity"}  # packages that decide no score


def SourceTree(root, parsed=None):
    """The sources below a folder, hashed as keys hash them."""
    return source_hash.SourceTree(root, keys.LEFT_OUT, {} if parsed is None else parsed)


CODE = (*keys.ANSWERS, *keys.REQUESTS, *keys.SCORES, *keys.MERGES)


def functions_of_tasks():
    """The modules of ours whose functions our task files name."""
    texts = [
        path.read_text()
        for path in bundled("lm_eval_tasks").rglob("*")
        if path.suffix != ".md" and path.is_file()
    ]
    names = {name for text in texts for name in re.findall(r"!function (mergekit_finance[\w.]+)", text)}
    return sorted({name.rpartition(".")[0] for name in names})


CLOSURE = sorted(keys.source().closure([*CODE, *functions_of_tasks()]))
OUTSIDE = [p for p in sorted(keys.PACKAGE.rglob("*.py")) if p not in set(map(keys.source().path, CLOSURE))]


@pytest.fixture
def package(tmp_path):
    """A copy of the package's Python files."""
    ignore = shutil.ignore_patterns("__pycache__", "weights", "samples", "templates")
    return shutil.copytree(keys.PACKAGE, tmp_path / keys.PACKAGE.name, ignore=ignore)


def code(tree):
    """The code's parts of a key: what all tasks share, and the functions that task files name."""
    functions = {module: tree.hash([module]) for module in functions_of_tasks()}
    of_answers = {"answer_code": keys.answer_code(tree), "merge_code": keys.merge_code(tree)}
    return {**keys.code_key(tree), **of_answers, **functions}


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory):
    """A copy of the package, its key, and its parsed files: a test changes one file and puts it back."""
    folder = tmp_path_factory.mktemp("sources") / keys.PACKAGE.name
    ignore = shutil.ignore_patterns("__pycache__", "weights", "samples", "templates")
    shutil.copytree(keys.PACKAGE, folder, ignore=ignore)
    tree = SourceTree(folder)
    return folder, code(tree), tree._parsed


def changed_key(unchanged, module, text):
    """The key with another text in one module."""
    folder, _, parsed = unchanged
    path = SourceTree(folder).path(module)
    before = path.read_bytes()
    path.write_text(text, encoding="utf-8")
    try:
        return code(
            SourceTree(folder, {other: content for other, content in parsed.items() if other != path})
        )
    finally:
        path.write_bytes(before)


def with_another_function(text):
    """The source with its first function returning something else; a module without one gets a constant."""
    tree = ast.parse(text)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    if functions:
        functions[0].body = [ast.Return(ast.Constant("another"))]
    else:
        tree.body.append(ast.parse("ANOTHER = 1").body[0])
    return ast.unparse(ast.fix_missing_locations(tree))


def with_other_words(text):
    """The source with every docstring rewritten, reformatted, and with comments."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body[0].value.value = "Another docstring."
    return f"# a comment\n{ast.unparse(tree)}\n\n\n# another comment\n"


# ---- changes that must change a key


@pytest.mark.parametrize("module", CLOSURE)
def test_another_function_in_a_module_changes_the_key(unchanged, module):
    text = SourceTree(unchanged[0]).path(module).read_text(encoding="utf-8")
    assert changed_key(unchanged, module, with_another_function(text)) != unchanged[1]


LOADER, METRICS, TOTALS = (f"mergekit_finance.{name}" for name in ("data.loader", "scoring.metrics", "scoring.aggregate"))  # fmt: skip

# The path from a model and a task's rows to a stored score, written down here and not taken from the closure.
FAULTS = [
    # module, function, its code, a fault in it, the part of the key that must change
    ("evaluation.live_models", "load", "load_model(reference, self.dtype,", 'load_model(reference, "float32",', "answer_code"),
    ("evaluation.live_models", "load", "load_tokenizer(reference,", 'load_tokenizer("gpt2",', "answer_code"),
    ("evaluation.live_models", "wrap", "self.batch_size", "1", "answer_code"),
    ("evaluation.live_models", "ask_with_fixed_seed", "host.ask(lm, kind,", 'host.ask(lm, "loglikelihood",', "answer_code"),
    ("evaluation.live_models", "seed_sampling", "torch.manual_seed(SAMPLING_SEED)", "torch.manual_seed(1)", "answer_code"),
    ("models.loading", "torch_dtype", "getattr(torch, name)", "torch.float32", "answer_code"),
    ("evaluation.truncation", "tokens_needed", '["input_ids"]) - 1', '["input_ids"])', "answer_code"),
    ("evaluation.inference.choices", "cut_continuation", "(max_length + 1)", "max_length", "answer_code"),
    ("evaluation.inference.packing", "add", "len(sequence) - tail", "len(sequence) - tail - 1", "answer_code"),
    ("evaluation.inference.generation", "_decode", "positions.add_(1)", "positions.add_(2)", "answer_code"),
    ("evaluation.inference.kv_cache", "move", "self.positions[sources]", "0", "answer_code"),
    ("evaluation.inference.attention", "grouped_attention", "scale=scaling", "scale=1.0", "answer_code"),
    ("evaluation.inference.stops", "_found", "string in text", "string not in text", "answer_code"),
    ("evaluation.inference.compiled_lm", "_prompt", "left_truncate_len=room", "left_truncate_len=1", "answer_code"),
    ("evaluation.inference.kept_model", "reuse", "target.data.copy_(source.data)", "pass", "answer_code"),
    ("hosts.lm_eval_generation", "cut_at_stop", "stop=list(until)", "stop=[]", "answer_code"),
    ("hosts.lm_eval_models", "ask", "LM_EVAL.get(lm, kind)", 'LM_EVAL.get(lm, "loglikelihood")', "answer_code"),
    ("models.loading", "load_model", "dtype=dtype", 'dtype="float32"', "answer_code"),
    ("models.loading", "load_model", "revision=revision or None", "revision=None", "answer_code"),
    ("models.loading", "cast", "tensor.data = tensor.data.to(dtype)", "tensor.data = 2 * tensor.data.to(dtype)", "answer_code"),
    ("models.loading", "cast", "tensor.data = tensor.data.to(dtype)", "tensor.data = 2 * tensor.data.to(dtype)", "merge_code"),
    ("evaluation.evaluator", "measure", "host.run_tasks(model, tasks, limit, items, *settings)", "host.run_tasks(model, tasks, 1, items, *settings)", "request_code"),
    ("evaluation.evaluator", "_loaded", "self.max_gen_toks", "1", "request_code"),
    ("evaluation.evaluator", "_truncated_prompts", "request.doc_id", "0", "request_code"),
    ("evaluation.answering", "is_cut", "answer.tokens > answer.context", "answer.tokens >= answer.context", "request_code"),
    ("evaluation.answering", "_respond", "[key].response for key in keys", "[keys[0]].response for key in keys", "request_code"),
    ("evaluation.answer_store", "request_key", "[kind, *arguments, occurrence]", "[kind, occurrence]", "request_code"),
    ("hosts.lm_eval", "build_once", "seed(seed=fewshot_seed)", "seed(seed=0)", "request_code"),
    ("hosts.lm_eval", "prepare_task", "min(kwargs", "max(kwargs", "request_code"),
    ("hosts.lm_eval", "reuse_requests", "built_for != options", "built_for is None", "request_code"),
    ("hosts.lm_eval", "run_tasks", "limit=limit", "limit=None", "request_code"),
    ("hosts.lm_eval", "iterate_items", "k in items", "k not in items", "request_code"),
    ("evaluation.measurement", "measure", 'item_scores(results["samples"], values)', "{}", "score_code"),
    ("evaluation.measurement", "measure", "name, limit, items)", "name, 1, items)", "score_code"),
    ("evaluation.item_scores", "_plain_score", 'row["score"]', '1.0', "score_code"),
    ("evaluation.item_scores", "document_ids", 'fields.get("cluster_id", item)', 'fields.get("item_id", item)', "score_code"),
    ("evaluation.item_scores", "_is_right", "score >= 1", "score > 0", "score_code"),
    ("evaluation.live_merges", "at", "swept_values(recipe).items()", '{**swept_values(recipe), "lambda": 0.1}.items()', "merge_code"),
    ("evaluation.live_merges", "swept_values", "name: value for name in OF_RECIPE", "name: 1.0 for name in OF_RECIPE", "merge_code"),
    ("evaluation.live_merges", "merge_once", "model_validate(dict(recipe))", 'model_validate({**recipe, "dtype": "float16"})', "merge_code"),
    ("evaluation.live_merges", "merge_once", "cast(model, torch_dtype(live_models.dtype))", "model", "merge_code"),
    ("merging.in_memory", "_merged_tensors", "value.to(dtype)", "2 * value.to(dtype)", "merge_code"),
    ("merging.session", "apply", "self._merge_all, point", "self._merge_all, None", "merge_code"),
    ("merging.point_values", "applied_to", 'changed["lambda"] = self.scale', 'changed["lambda"] = 1.0', "merge_code"),
    ("merge_methods.ties", "kept_by_mergekit", "int(density * n)", "round(density * n)", "merge_code"),
    ("engine.masks", "threshold", "2**32", "2**31", "merge_code"),
    ("engine.blocks", "_sum", "total.add_(0.0)", "total.add_(1.0)", "merge_code"),
    ("data.loader", "load_rows", "row['item_id']", "row['text']", LOADER),
    ("data.loader", "_with_option_tokens", " - start", "", LOADER),
    ("data.adapters.english", "_adaptllm_choice_row", '"gold_index": raw.gold_index', '"gold_index": 0', LOADER),
    ("scoring.answers", "direct_text", "maxsplit=1)[0]", "maxsplit=1)[-1]", METRICS),
    ("scoring.metrics", "choice_acc", '{"score": metrics["acc"],', '{"score": 1.0,', METRICS),
    ("scoring.aggregate", "f1", "2 * right", "right", TOTALS),
]  # fmt: skip


def with_fault(text, function, old, new):
    """The source with other code in one function, which must hold the old code once."""
    nodes = [n for n in ast.walk(ast.parse(text)) if getattr(n, "name", "") == function]
    segments = [ast.get_source_segment(text, node) for node in nodes]
    (segment,) = [segment for segment in segments if segment.count(old) == 1]
    return text.replace(segment, segment.replace(old, new))


@pytest.mark.parametrize(("module", "function", "old", "new", "part"), FAULTS)
def test_a_fault_on_the_way_to_a_stored_score_changes_the_key(unchanged, module, function, old, new, part):
    name = f"mergekit_finance.{module}"
    text = SourceTree(unchanged[0]).path(name).read_text(encoding="utf-8")
    after = changed_key(unchanged, name, with_fault(text, function, old, new))
    assert after[part] != unchanged[1][part]


# Code of prompts and scores: a change of it must not make stored answers useless.
OF_SCORES = sorted(
    set(keys.source().closure([*keys.REQUESTS, *keys.SCORES, *functions_of_tasks()]))
    - set(keys.source().closure([*keys.ANSWERS, *keys.MERGES]))
)


def test_no_stored_answer_depends_on_code_that_builds_requests_or_computes_scores():
    required = {"evaluation.evaluator", "evaluation.task_measures", "evaluation.item_scores", "hosts.lm_eval"}
    required |= {"evaluation.answering", "scoring.metrics", "scoring.answers", "data.loader"}
    assert {f"mergekit_finance.{name}" for name in required} <= set(OF_SCORES)


@pytest.mark.parametrize("module", OF_SCORES)
def test_a_change_of_prompts_or_scores_keeps_the_keys_of_answers(unchanged, module):
    text = SourceTree(unchanged[0]).path(module).read_text(encoding="utf-8")
    after = changed_key(unchanged, module, with_another_function(text))
    assert after != unchanged[1]
    assert all(after[part] == unchanged[1][part] for part in ("answer_code", "merge_code"))


def test_the_worker_of_a_study_neither_loads_nor_scores_nor_changes_a_recipe():
    """The worker is in no key, so it may only call the code that is, with values from the key."""
    tree = ast.parse((keys.PACKAGE / "study" / "worker.py").read_text(encoding="utf-8"))
    imported = {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert not imported & {"load_model", "load_tokenizer", "item_scores", "cast", "MergeSession"}
    assert {"measure", "AnsweringModel", "merge_once", "Sweep"} <= imported
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not attributes & {"configuration", "wrap", "scores", "results"}
    of_points = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr == "values"]
    assert [ast.unparse(node) for node in of_points] == ["points.values"]  # of the mapping of groups


def test_a_merge_method_changes_the_keys_of_merges_alone(unchanged):
    """Models as they are need no evaluation after a fault in an operator is corrected."""
    module = "mergekit_finance.engine.reference"
    text = SourceTree(unchanged[0]).path(module).read_text(encoding="utf-8")
    after = changed_key(unchanged, module, with_another_function(text))
    assert {part for part, value in after.items() if value != unchanged[1][part]} == {"merge_code"}


def test_a_scoring_function_changes_the_tasks_that_name_it_alone(unchanged):
    module = "mergekit_finance.scoring.aggregate"
    text = SourceTree(unchanged[0]).path(module).read_text(encoding="utf-8")
    after = changed_key(unchanged, module, with_another_function(text))
    assert {part for part, value in after.items() if value != unchanged[1][part]} == {module}


# ---- changes that must not change a key

MESSAGES = [
    ("errors", "MAX_MESSAGE = 2000", "MAX_MESSAGE = 1000"),
    ("errors", "Did you mean {near", "do you mean {near"),
    ("checks.model_checks", "they cannot be merged element by element", "they do not fit"),
    ("checks.recipe_checks", "is not a dtype of weights", "is no dtype of weights"),
    ("files", "is a symbolic link, which is not followed", "is a symlink, which is not followed"),
    ("files", "not a regular file", "no regular file"),
    ("hosts.programs", 'f"Error: {error}"', 'f"error: {error}"'),
    ("hosts.names", "mergekit-finance was written for", "this package was made for"),
    ("hosts.lm_eval_output", "disable_tqdm=True", "disable_tqdm=False"),
    ("hosts.lm_eval_output", '"leave": False', '"leave": True'),
    ("hosts.lm_eval_output", "did not write all results", "lost results"),
    ("data.pull_errors", "no space left for", "the disk is full:"),
    ("models.loading", "cannot be loaded", "could not be loaded"),
    ("models.loading", "the merged tensors are not those of", "the merge leaves a part out of"),
    ("evaluation.evaluator", "List a task or its group", "Name a task or its group"),
    ("strict_yaml", "is not a finite number", "is infinite"),
    ("merging.session", "Use another device", "Take another device"),
    ("study.worker", "POLL_SECONDS = 0.5", "POLL_SECONDS = 0.7"),
    ("study.progress", "class Progress", "class AnotherBar"),
    ("statistics.scores", "def aligned", "def another"),
    ("report.figures.sheets", "def ", "def another_"),
    ("cli.demo", "def ", "def another_"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "old", "new"), MESSAGES)
def test_messages_bars_the_report_and_the_statistics_change_no_key(unchanged, module, old, new):
    name = f"mergekit_finance.{module}"
    text = SourceTree(unchanged[0]).path(name).read_text(encoding="utf-8")
    assert old in text
    assert changed_key(unchanged, name, text.replace(old, new)) == unchanged[1]


def test_every_module_that_is_left_out_exists_and_has_a_reason():
    tree = source_hash.SourceTree(keys.PACKAGE)
    assert all(tree.path(module) and len(reason) > 20 for module, reason in keys.LEFT_OUT.items())
    scores = {name.removeprefix("mergekit_finance.") for name in keys.source().closure(keys.SCORES)}
    written = {"evaluation.columns", "file_models", "files", "strict_yaml"}  # the types of scores.json
    assert scores == {"evaluation.measurement", "evaluation.item_scores", *written}  # none for types alone


@pytest.mark.parametrize("module", CLOSURE)
def test_comments_docstrings_and_layout_change_nothing(unchanged, module):
    text = SourceTree(unchanged[0]).path(module).read_text(encoding="utf-8")
    assert changed_key(unchanged, module, with_other_words(text)) == unchanged[1]


def test_the_report_the_statistics_and_the_commands_change_nothing(package):
    before = code(SourceTree(package))
    outside = [path.relative_to(keys.PACKAGE) for path in OUTSIDE]
    folders = {path.parts[0] for path in outside}
    assert UNRELATED <= folders
    assert not folders & {module.split(".")[1] for module in CLOSURE} & UNRELATED
    for path in outside:
        changed = with_another_function((package / path).read_text(encoding="utf-8"))
        (package / path).write_text(changed, encoding="utf-8")
    assert code(SourceTree(package)) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("mergekit_finance.data.records", "mergekit_finance.data.parsed_records"),
        ("mergekit_finance.engine.masks", "mergekit_finance.merging.dropout_masks"),
        ("mergekit_finance.models.loading", "mergekit_finance.models.aaa_open"),
        ("mergekit_finance.scoring.metrics", "mergekit_finance.scoring.task_metrics"),
        ("mergekit_finance.evaluation.truncation", "mergekit_finance.models.zzz_cut"),
    ],
)
def test_a_module_that_moves_or_is_renamed_changes_nothing(package, tmp_path, old, new):
    """Its importers are rewritten as a developer would: imports, the order of imports, aliases, task files."""
    tasks = shutil.copytree(bundled("lm_eval_tasks"), tmp_path / "tasks")
    before = moved_key(package, tasks, {})
    tree = SourceTree(package)
    target = package.joinpath(*new.split(".")[1:]).with_suffix(".py")
    tree.path(old).rename(target)
    for path in [*package.rglob("*.py"), *(p for p in tasks.rglob("*") if p.is_file())]:
        text = path.read_text(encoding="utf-8")
        path.write_text(renamed(text, old, new), encoding="utf-8")
    assert moved_key(package, tasks, {old: new}) == before


def moved_key(package, tasks, moved):
    tree = SourceTree(package)
    definitions = {path.name: keys.definition_hash(path, tree) for path in sorted(tasks.rglob("*.yaml"))}
    return tree.hash([moved.get(name, name) for name in CODE]), definitions


def renamed(text, old, new):
    """Text in which a module has another name, also where it is imported as a module."""
    (old_package, _, old_name), (new_package, _, new_name) = old.rpartition("."), new.rpartition(".")
    text = re.sub(rf"\b{re.escape(old)}\b", new, text)

    def split(match):
        names = [name.strip() for name in match[1].split(",")]
        moved = [name for name in names if name.split(" as ")[0] == old_name]
        if not moved:
            return match[0]
        lines = [f"{match['indent']}from {new_package} import {moved[0].replace(old_name, new_name, 1)}"]
        stay = [name for name in names if name not in moved]
        lines += [f"{match['indent']}from {old_package} import {', '.join(stay)}"] if stay else []
        if " as " not in moved[0]:
            uses.append(old_name)
        return "\n".join(lines)

    uses = []
    pattern = rf"(?m)^(?P<indent> *)from {re.escape(old_package)} import (?P<names>[\w, ]+)$"
    text = re.sub(pattern.replace("(?P<names>", "("), split, text)
    return re.sub(rf"\b{old_name}\.", f"{new_name}.", text) if uses else text


# ---- task files


@pytest.fixture
def task(tmp_path):
    """A task file with an include, a function beside it, and a function that writes it again."""
    (tmp_path / "_shared").write_text("output_type: multiple_choice\nmetadata: {version: 1.0}\n")
    (tmp_path / "utils.py").write_text("def own(x):\n    return x\n")
    path = tmp_path / "task.yaml"

    def write(text="task: t\ninclude: _shared\ndoc_to_text: question\ndoc_to_target: !function utils.own\n"):
        path.write_text(text)
        return keys.definition_hash(path, SourceTree(keys.PACKAGE, dict(keys.source()._parsed)))

    return write


def test_comments_and_the_order_of_keys_in_a_task_file_change_nothing(task):
    again = "# why\ninclude: _shared\ndoc_to_target: !function utils.own\n\ndoc_to_text: 'question'  # so\ntask: t\n"
    assert task(again) == task()


@pytest.mark.parametrize(
    ("old", "new"), [("question", "context"), ("utils.own", "mergekit_finance.scoring.metrics.docmath")]
)
def test_the_content_of_a_task_file_changes_the_key(task, tmp_path, old, new):
    before = task()
    assert task((tmp_path / "task.yaml").read_text().replace(old, new)) != before


@pytest.mark.parametrize(
    ("name", "old", "new"), [("_shared", "1.0", "2.0"), ("utils.py", "return x", "return -x")]
)
def test_what_a_task_file_includes_changes_the_key(task, tmp_path, name, old, new):
    before = task()
    path = tmp_path / name
    path.write_text(path.read_text().replace(old, new))
    assert task() != before


def test_an_old_name_of_a_scoring_function_has_the_key_of_the_new_one(tmp_path, package):
    path = tmp_path / "task.yaml"
    path.write_text("task: t\nprocess_results: !function mergekit_finance.tasks.scoring.docmath\n")
    before = keys.definition_hash(path, SourceTree(package))
    metrics = package / "scoring" / "metrics.py"
    metrics.write_text(with_another_function(metrics.read_text()))
    assert keys.definition_hash(path, SourceTree(package)) != before


def test_every_task_of_ours_is_hashed_with_the_functions_that_it_names():
    assert len(TASKS) > 18 and {"mergekit_finance.data.loader", "mergekit_finance.scoring.metrics"} <= set(
        functions_of_tasks()
    )
    hashes = {keys.definition_hash(path, keys.source()) for path in TASKS}
    assert len(hashes) > 18


# ---- keys


def test_a_new_version_number_of_this_package_changes_no_hash_of_a_key():
    key = {"model": "a", NOT_HASHED: "0.1.0", "versions": {"torch": "2"}}
    assert digest(key) == digest({**key, NOT_HASHED: "0.2.0"}) != digest({**key, "model": "b"})
    assert "mergekit_finance._version" not in CLOSURE


def test_a_merges_key_has_bytes_in_place_of_models_names():
    recipe = {
        "merge_method": "linear",
        "base_model": "./a",
        "models": [{"model": "./b", "parameters": {"weight": 1.0}}],
        "slices": [{"sources": [{"model": "./a", "layer_range": [0, 1]}]}],
        "tokenizer": {"source": "./b", "tokens": {"<x>": {"source": "./a"}}},
    }
    moved = yaml.safe_load(yaml.safe_dump(recipe).replace("./a", "/models/a").replace("./b", "/models/b"))
    one = keys.merge_key(recipe, {"./a": "1", "./b": "2"})
    assert one == keys.merge_key(moved, {"/models/a": "1", "/models/b": "2"})
    assert one != keys.merge_key(recipe, {"./a": "1", "./b": "3"})
    assert "./" not in str(one)


def test_hashing_takes_little_processor_time():
    with cpu_limit(15):
        tree = SourceTree(keys.PACKAGE)
        code(tree)
        for path in TASKS:
            keys.definition_hash(path, tree)
