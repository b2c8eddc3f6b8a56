"""Keys of stored answers and of stored scores: everything that can change them, and nothing that cannot.

A stored result is reused only if its key is equal. There are two kinds of keys:

- of a model's answers: the model, its device, dtype and engine, and the code that loads, merges and asks it
  (`answers_key`). Each request has a key of its own beside it (`answers.request_key`). Neither contains
  tasks, rows, limits, scoring or the batch size: these change without a stored answer becoming useless.
- of a model's scores: the key of its answers, the tasks with their rows, the code that builds requests, and
  the code that computes scores (`scores_key`). Scores are computed from stored answers in seconds.

Models and rows enter a key by a hash of their bytes, hosts and plugins by their versions, and our own code
by a hash of its syntax trees (`source_hash`): renaming or moving a file, a comment, a docstring, or a
change to the report or the statistics keeps every stored result.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import yaml

from mergekit_finance.data.loader import rows_fingerprint
from mergekit_finance.evaluation.digest import NOT_HASHED
from mergekit_finance.evaluation.source_hash import SourceTree, combined
from mergekit_finance.files import Json
from mergekit_finance.hosts.lm_eval import task_index
from mergekit_finance.hosts.names import installed_version
from mergekit_finance.models.fingerprint import tokenizer_fingerprint
from mergekit_finance.plugins.manager import manager

if TYPE_CHECKING:
    from mergekit_finance.evaluation.evaluator import Evaluator
    from mergekit_finance.evaluation.live_models import LiveModels

FORMAT = 3  # of scores
ANSWERS_FORMAT = 1
# libyaml's loader, where it is installed, is ten times as fast.
FastLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
PACKAGE = Path(__file__).resolve().parents[1]

# Modules from which the code behind answers, scores and merges is collected, with all their imports. The
# functions that a task's YAML file names (the loader of its rows, the scoring) are hashed with that task.
ANSWERS = ("mergekit_finance.evaluation.live_models", "mergekit_finance.evaluation.truncation")
REQUESTS = ("mergekit_finance.evaluation.evaluator",)
SCORES = ("mergekit_finance.evaluation.measurement", "mergekit_finance.evaluation.item_scores")
MERGES = (
    "mergekit_finance.evaluation.live_merges",  # in memory: one recipe, or a sweep of one
    "mergekit_finance.merge_methods.all_methods",  # which mergekit finds in its registry
)

# Imported modules that cannot change an answer, a score or a merge, each with the reason.
LEFT_OUT = {
    "mergekit_finance.errors": "exceptions and the text of their messages",
    "mergekit_finance.checks": "refuses models and recipes, or reports what is unusual about them",
    "mergekit_finance.merge_methods.check_models": "calls these checks when mergekit has planned a merge",
    "mergekit_finance.models.card_licenses": "which licenses a model card names",
    "mergekit_finance.models.licenses": "what a license requires of a shared merge",
    "mergekit_finance.data.pull_errors": "says why a file could not be fetched",
    "mergekit_finance.hosts.lm_eval_output": "progress bars, log messages, files of results",
    "mergekit_finance.hosts.names": "looks up names in the hosts, whose versions are in the key",
    "mergekit_finance.hosts.task_files": "finds the files of tasks, whose content is in the key",
    "mergekit_finance.hosts.programs": "prints errors in the hosts' own programs",
}

# Packages whose version can change an answer or a score; our own code is hashed instead.
ANSWERING_HOSTS = ("lm-eval", "torch", "transformers", "tokenizers")
HOSTS = (*ANSWERING_HOSTS, "mergekit", "datasets")
PACKAGES = ("mergekit-finance", *HOSTS)

Definition: TypeAlias = "str | int | float | bool | None | list[Definition] | dict[str, Definition]"


@cache
def source() -> SourceTree:
    """Return the source of this package, parsed once per process."""
    return SourceTree(PACKAGE, LEFT_OUT)


def code_key(tree: SourceTree) -> dict[str, str]:
    """Return the hashes of the code that scores depend on besides that of `answer_code`."""
    return {"request_code": tree.hash(REQUESTS), "score_code": tree.hash(SCORES)}


def answer_code(tree: SourceTree) -> str:
    """Return the hash of the code that loads models and asks them."""
    return tree.hash(ANSWERS)


def merge_code(tree: SourceTree) -> str:
    """Return the hash of the code that merges. Only keys of merges hold it."""
    return tree.hash(MERGES)


def answers_key(live_models: "LiveModels") -> dict[str, Json]:
    """Return the part of the keys of answers that all models share.

    Args:
        live_models: their device, dtype and engine are in the key. The batch size is not: it changes the
            last bits of a log-likelihood, as do the threads of the CPU.
    """
    return {
        "answers_format": ANSWERS_FORMAT,
        "answer_code": answer_code(source()),
        "device": live_models.device.split(":")[0],
        "dtype": live_models.dtype,
        "engine": live_models.engine,
        "versions": {name: installed_version(name) for name in ANSWERING_HOSTS},
    }


def merges_key() -> dict[str, Json]:
    """Return the part of the keys of answers that all merges share."""
    return {
        "merge_code": merge_code(source()),
        "mergekit": installed_version("mergekit"),
        "plugins": _plugins(),
    }


def scores_key(evaluator: "Evaluator") -> dict[str, Json]:
    """Return the part of the keys of scores, besides the key of the answers, that all models share.

    Args:
        evaluator: its tasks are loaded if necessary.
    """
    tokenizer = evaluator.metadata.get("tokenizer")
    return {
        "format": FORMAT,
        "tasks": {name: _task_key(evaluator, name) for name in evaluator.task_names},
        **code_key(source()),
        "max_gen_toks": evaluator.max_gen_toks,
        **({} if evaluator.chat.is_default else {"chat": evaluator.chat.as_json()}),
        "tokenizer": tokenizer_fingerprint(tokenizer) if tokenizer else "",  # acc_token counts by it
        "versions": {name: installed_version(name) for name in HOSTS},
        NOT_HASHED: installed_version("mergekit-finance"),
        "plugins": _plugins(),
    }


def _plugins() -> list[str]:
    return [p.distribution for p in manager().loaded if p.name != "builtin"]


def _task_key(evaluator: "Evaluator", name: str) -> dict[str, Json]:
    """Return the part of a key for one task: the content of its YAML file and the hash of its rows."""
    task = evaluator.tasks[name]
    kwargs = task.config.dataset_kwargs or {}
    entry = task_index(evaluator.task_manager).get(name)
    path = entry.yaml_path if entry else None
    if "fb_dataset" in kwargs:
        where = {key: evaluator.metadata.get(key) for key in ("source", "data_dir")}
        data = rows_fingerprint(kwargs["fb_dataset"], kwargs.get("fb_subset", "default"), **where)
    else:
        data = str(getattr(task.eval_docs, "_fingerprint", ""))
    # A group may override values of the file. Functions are in the file's hash, the user's metadata in the
    # data.
    left_out = ("metadata", "dataset_kwargs", "tag", "group")
    settings = {k: v for k, v in task.config.to_dict().items() if k not in left_out and not callable(v)}
    parts = [
        definition_hash(path, source()) if path else "",
        json.dumps(settings, sort_keys=True, default=_type_name),
    ]
    measure = evaluator.measures[name]
    parts.append(f"{measure.key} {measure.higher_is_better}")
    return {"version": str(task.VERSION), "definition": combined(parts), "data": data}


def _type_name(value: object) -> str:
    return type(value).__name__


def merge_key(recipe: Mapping[str, Json], fingerprints: Mapping[str, str]) -> dict[str, Json]:
    """Return the part of a key for one merge: the recipe with hashes in place of the models' names.

    Args:
        recipe: the plain recipe.
        fingerprints: model reference -> hash of its bytes.
    """
    return {"model": "merge", "merge": _by_bytes(recipe, fingerprints)}


MODEL_KEYS = (
    "model",
    "path",
    "base_model",
    "source",
    "tokenizer_source",
)  # whose values may be model references


def _by_bytes(value: Json, fingerprints: Mapping[str, str]) -> Json:
    if isinstance(value, Mapping):
        return {
            key: fingerprints.get(part, part)
            if key in MODEL_KEYS and isinstance(part, str)
            else _by_bytes(part, fingerprints)
            for key, part in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_by_bytes(part, fingerprints) for part in value]
    return value


def definition_hash(path: Path, tree: SourceTree) -> str:
    """Hash the content of a task's YAML file, with its includes and the functions that it calls.

    Args:
        path: the YAML file. Comments, the order of keys and the names of included files do not count.
        tree: the source of `mergekit_finance`, whose functions are hashed with all that they call.
    """
    content = _read_definition(path.resolve(), tree)
    return combined([json.dumps(content, sort_keys=True, default=str)])


def _read_definition(path: Path, tree: SourceTree) -> dict[str, Definition]:
    """Read a YAML file as lm-eval does: includes first, the file's own keys on top."""

    def function(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Definition:
        return _function_hash(str(loader.construct_scalar(node)), path.parent, tree)

    content: dict[str, Definition] = yaml.load(path.read_bytes(), _loader(function)) or {}
    includes = content.pop("include", None) or []
    merged: dict[str, Definition] = {}
    for name in includes if isinstance(includes, list) else [includes]:
        merged.update(_read_definition(path.parent / str(name), tree))
    return merged | content


def _function_hash(name: str, folder: Path, tree: SourceTree) -> list[Definition]:
    """Return the hash of a function in a task's YAML: from a file beside the YAML, or a module of ours.

    A function of another package is identified by its name; the package's version is in the key.
    """
    module, _, function = name.rpartition(".")
    beside = folder / f"{module.replace('.', '/')}.py"
    if beside.is_file():
        return [tree.file_hash(beside), function]
    if module.split(".")[0] != tree.root.name:
        return [name]
    while tree.path(module) is None:  # a renamed module: its old package imports the new one
        module, _, last = module.rpartition(".")
        function = f"{last}.{function}"
    return [tree.hash([module]), function]


def _loader(function: "Callable[[yaml.SafeLoader, yaml.ScalarNode], Definition]") -> type[yaml.SafeLoader]:
    """Return a YAML loader that hands `!function` tags to `function`.

    It is not `strict_yaml`: a task file must be read as lm-eval reads it, and names code that lm-eval runs.
    """

    loader: type[yaml.SafeLoader] = type("Loader", (FastLoader,), {})
    loader.add_constructor("!function", function)
    return loader
