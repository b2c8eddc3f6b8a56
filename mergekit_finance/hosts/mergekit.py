"""Private names of mergekit, written for mergekit 0.1.5.

Imports of mergekit stand inside functions: loading it takes 4.5 s, which --help should not pay.
"""

import functools
import importlib.resources
import inspect
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mergekit_finance.errors import HostError, ModelError
from mergekit_finance.files import Json
from mergekit_finance.hosts.names import MERGEKIT

if TYPE_CHECKING:
    import torch
    from mergekit.architecture import WeightInfo
    from mergekit.common import ModelReference
    from mergekit.config import MergeConfiguration
    from mergekit.graph import Task
    from mergekit.io.lazy_tensor_loader import LazyTensorLoader
    from mergekit.io.tasks import LoaderCache
    from mergekit.merge_methods import MergeMethod
    from mergekit.merge_methods.task_adapter import ExecuteMergeMethodTask
    from mergekit.options import MergeOptions
    from mergekit.plan import MergePlanner
    from mergekit.tokenizer import BuildTokenizer


# ---- merge methods


def register_methods(methods: "Iterable[MergeMethod]") -> None:
    """Add merge methods to mergekit's registry. Those that it has already are left as they are.

    A method whose name belongs to another method is left out with a RuntimeWarning. Written for mergekit
    0.1.5 (`merge_methods.register`, `registered_methods`).
    """
    with MERGEKIT.imports():
        from mergekit.merge_methods import register, registered_methods

    for method in methods:
        name = method.spec.name
        registered = next((m for m in registered_methods() if m.spec.name == name), None)
        if registered is None:
            register(method)
        elif registered is not method:
            text = f"merge method {name!r} exists already; the plugin's is left out"
            warnings.warn(text, RuntimeWarning, stacklevel=2)


def method_parameters() -> dict[str, set[str]]:
    """Return the names of the parameters of every registered merge method, by the method's name."""
    with MERGEKIT.imports():
        from mergekit.merge_methods import registered_methods

    return {m.spec.name: {p.name for p in m.spec.parameters} for m in registered_methods()}


# ---- recipes


def recipe_keys() -> dict[str, tuple[str, ...]]:
    """Return the keys that mergekit reads, by the kind of block in a recipe.

    Written for mergekit 0.1.5. The block of parameters is left out: `method_parameters` has its keys.
    """
    with MERGEKIT.imports():
        from mergekit import config
        from mergekit.common import ModelPath, ModelReference
        from mergekit.tokenizer import config as tokenizer

    models = {
        "recipe": MERGEKIT.get(config, "MergeConfiguration"),
        "model": MERGEKIT.get(config, "InputModelDefinition"),
        "slice": MERGEKIT.get(config, "OutputSliceDefinition"),
        "source": MERGEKIT.get(config, "InputSliceDefinition"),
        "module": MERGEKIT.get(config, "OutputModuleDefinition"),
        "filter": MERGEKIT.get(config, "ConditionalParameter"),
        "tokenizer": MERGEKIT.get(tokenizer, "TokenizerConfig"),
        "token": MERGEKIT.get(tokenizer, "TokenEmbeddingConfig"),
        "token model": MERGEKIT.get(tokenizer, "ModelTokenEmbedding"),
        "zero": MERGEKIT.get(tokenizer, "ZeroEmbedding"),
        "reference": ModelReference,
        "path": ModelPath,
    }
    keys = {kind: tuple(model.model_fields) for kind, model in models.items()}
    return {**keys, "recipe": (*keys["recipe"], "finance")}


def install_recipe_hook(
    validate: "Callable[[Mapping[str, Json], Callable[[], MergeConfiguration]], MergeConfiguration]",
) -> None:
    """Let our code see every recipe before mergekit drops the keys that it does not read.

    Calling it again changes nothing. Written for mergekit 0.1.5, whose commands call
    `MergeConfiguration.model_validate` with the mapping that a recipe's YAML is.

    Args:
        validate: called in place of `model_validate` with the mapping; its second argument returns
            mergekit's object.
    """
    with MERGEKIT.imports():
        from mergekit.config import MergeConfiguration

    theirs = MERGEKIT.get(MergeConfiguration.model_validate, "__func__")
    if getattr(theirs, "is_mergekit_finance", False):
        return

    @functools.wraps(theirs)
    def ours(cls: "type[MergeConfiguration]", obj: object, **options: bool) -> "MergeConfiguration":
        def validated() -> "MergeConfiguration":
            configuration: MergeConfiguration = theirs(cls, obj, **options)
            return configuration

        return validate(obj, validated) if isinstance(obj, dict) else validated()

    vars(ours)["is_mergekit_finance"] = True
    type.__setattr__(MergeConfiguration, "model_validate", classmethod(ours))


def recipe_text() -> str | None:
    """Return the text of the recipe that is being merged, or None if the caller of mergekit has only objects.

    Written for mergekit 0.1.5: the argument `config_source` of `merge.run_merge`, which its commands give and
    which is not passed on. It is looked up in the calls that led here, because the recipe's file may be a
    pipe, which cannot be read again.
    """
    module = sys.modules.get("mergekit.merge")
    if module is None:
        return None
    run_merge = inspect.unwrap(MERGEKIT.get(module, "run_merge"))
    if "config_source" not in inspect.signature(run_merge).parameters:
        raise HostError(MERGEKIT.lacks("merge.run_merge(config_source=)"))
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not run_merge.__code__:
        frame = frame.f_back
    text = frame.f_locals.get("config_source") if frame else None
    return text if isinstance(text, str) else None


# ---- open checkpoints


def _cache_class() -> "type[LoaderCache]":
    with MERGEKIT.imports():
        from mergekit.io.tasks import LoaderCache

    MERGEKIT.get(LoaderCache, "loaders")
    MERGEKIT.get(LoaderCache, "get")
    return LoaderCache


@contextmanager
def fresh_loaders() -> Iterator[None]:
    """Use an empty cache of open checkpoints inside, and restore the caller's afterwards.

    mergekit keeps open checkpoints in a class attribute for the life of the process, so that a model whose
    files changed would silently be merged with its old weights. Clearing that attribute would close
    checkpoints that a caller of ours has open: it is set aside instead, with the cache's settings, and comes
    back unchanged. Written for mergekit 0.1.5 (`LoaderCache.loaders`).
    """
    cache = _cache_class()
    callers, settings = cache.loaders, dict(vars(cache()))
    cache.loaders = {}
    try:
        yield
    finally:
        cache.loaders = callers
        vars(cache()).clear()
        vars(cache()).update(settings)


def reopen(models: "Iterable[ModelReference]") -> None:
    """Open these checkpoints anew, whose files may have changed; others in the cache stay.

    For code that runs inside mergekit's own merge, where `fresh_loaders` cannot be held open. Call it on the
    main thread: mergekit's GPU threads lack the cache folder that `set_up_loaders` sets. Written for mergekit
    0.1.5 (`LoaderCache.loaders`, `.get`).
    """
    cache = _cache_class()
    for model in models:
        cache.loaders.pop(model, None)
        cache().get(model)


def set_up_loaders(options: "MergeOptions") -> None:
    """Let the cache open checkpoints with these options. Written for mergekit 0.1.5 (`LoaderCache.setup`)."""
    MERGEKIT.get(_cache_class()(), "setup")(options=options)


def adapter_folder() -> str | None:
    """Return where models merged with their LoRA adapters are kept (`--lora-merge-cache`), if anywhere.

    Written for mergekit 0.1.5 (`LoaderCache.lora_cache_dir`).
    """
    folder: str | None = MERGEKIT.get(_cache_class()(), "lora_cache_dir")
    return folder


def open_loader(model: "ModelReference") -> "LazyTensorLoader":
    """Return mergekit's loader of a checkpoint, opened if needed. Written for 0.1.5 (`LoaderCache.get`)."""
    return _cache_class()().get(model)


def stored_names(model: "ModelReference") -> Mapping[str, str]:
    """Return the tensors of a checkpoint and the file of each. Written for 0.1.5 (`index.tensor_paths`)."""
    return MERGEKIT.get(open_loader(model).index, "tensor_paths")


def stored_as_safetensors(model: "ModelReference") -> bool:
    """Return whether a checkpoint is safetensors, not pickles. Written for 0.1.5 (`index.is_safetensors`)."""
    return MERGEKIT.get(open_loader(model).index, "is_safetensors")


# ---- planning a merge


def new_planner(config: "MergeConfiguration", options: "MergeOptions") -> "MergePlanner":
    """Return a planner for a merge, which holds the merged model's config as `out_model_config`.

    Written for mergekit 0.1.5 (`merge._model_out_config`).
    """
    with MERGEKIT.imports():
        from mergekit import merge
        from mergekit.architecture import get_architecture_info
        from mergekit.plan import MergePlanner

    architecture = get_architecture_info(config, options)
    output_config = MERGEKIT.get(merge, "_model_out_config")
    out_config = output_config(config, architecture, trust_remote_code=options.trust_remote_code)
    return MergePlanner(config, architecture, options=options, out_model_config=out_config)


def planner_method(planner: "MergePlanner") -> "MergeMethod":
    """Return the merge method of a planned merge. Written for mergekit 0.1.5 (`MergePlanner._method`)."""
    return MERGEKIT.get(planner, "_method")


def plan(planner: "MergePlanner") -> None:
    """Plan a merge, with our checks where they are installed. Written for 0.1.5 (`MergePlanner._plan`)."""
    MERGEKIT.get(type(planner), "_plan")(planner)


def plan_without_hook(planner: "MergePlanner") -> None:
    """Plan a merge as mergekit alone does. Written for mergekit 0.1.5 (`MergePlanner._plan`)."""
    installed = MERGEKIT.get(type(planner), "_plan")
    getattr(installed, "__wrapped__", installed)(planner)


def planned_tensors(planner: "MergePlanner") -> "list[tuple[WeightInfo, ExecuteMergeMethodTask]]":
    """Return each output tensor of a planned merge, and the task that makes it.

    Written for mergekit 0.1.5 (`MergePlanner._tensors`).
    """
    return MERGEKIT.get(planner, "_tensors")


def set_planned_tensors(
    planner: "MergePlanner", tensors: "list[tuple[WeightInfo, ExecuteMergeMethodTask]]"
) -> None:
    """Replace what `planned_tensors` returns. Written for mergekit 0.1.5 (`MergePlanner._tensors`)."""
    planned_tensors(planner)
    planner._tensors = tensors


def tokenizer_task(planner: "MergePlanner") -> "BuildTokenizer | None":
    """Return the task that builds the merged tokenizer, or None if the recipe has no tokenizer block.

    Written for mergekit 0.1.5 (`MergePlanner._tokenizer_task`).
    """
    return MERGEKIT.get(planner, "_tokenizer_task")


def set_tokenizer_task(planner: "MergePlanner", task: "BuildTokenizer") -> None:
    """Replace what `tokenizer_task` returns. Written for mergekit 0.1.5 (`MergePlanner._tokenizer_task`)."""
    tokenizer_task(planner)
    planner._tokenizer_task = task


@contextmanager
def merge_errors() -> Iterator[None]:
    """Turn what mergekit raises for a merge that it cannot do into a ModelError."""
    try:
        yield
    except (RuntimeError, ValueError, KeyError, OSError, AssertionError) as error:
        text = " ".join(str(error).split())
        raise ModelError(f"mergekit could not run this merge: {type(error).__name__}: {text}") from error


# ---- what a merge writes beside the weights


def write_side_files(
    config: "MergeConfiguration",
    folder: Path,
    options: "MergeOptions",
    arrange: "Callable[[MergePlanner], None]",
) -> None:
    """Write everything that mergekit writes into a merge's folder, except the weights.

    Runs mergekit's own `run_merge` with a planner that plans the tokenizer alone. config.json with the merged
    vocabulary's size, the tokenizer with its chat template, generation_config.json and files that belong to
    the architecture are therefore those of a merge on disk. Every checkpoint is opened, no tensor is read.
    Written for mergekit 0.1.5 (`merge.run_merge`, `merge.MergePlanner`, `MergePlanner.plan_to_disk`).

    Args:
        config: the recipe. `arrange` may change it.
        folder: exists.
        options: mergekit's. No model card is written.
        arrange: called with the planner in place of its planning, to put models in order.
    """
    with MERGEKIT.imports():
        from mergekit import merge
        from mergekit.plan import MergePlanner

    MERGEKIT.get(MergePlanner, "plan_to_disk")
    planner_class, run_merge = MERGEKIT.get(merge, "MergePlanner"), MERGEKIT.get(merge, "run_merge")
    thread = threading.get_ident()

    class TokenizerPlanner(planner_class):  # type: ignore[misc, valid-type]
        def plan_to_disk(self, out_path: str) -> "list[Task]":
            if threading.get_ident() != thread:  # a merge that another thread runs meanwhile
                return planner_class.plan_to_disk(self, out_path)
            arrange(self)
            task = tokenizer_task(self)
            return [task] if task else []

    chosen = {"write_model_card": False, "copy_tokenizer": True, "random_seed": None, "multi_gpu": False}
    chosen["quiet"] = True
    without_card = options.model_copy(update=chosen)
    merge.MergePlanner = TokenizerPlanner
    try:
        run_merge(config, str(folder), options=without_card)
    finally:
        merge.MergePlanner = planner_class


def chat_template_names() -> list[str]:
    """Return the names that `chat_template:` takes. Written for mergekit 0.1.5 (`_data.chat_templates`)."""
    with MERGEKIT.imports():
        from mergekit._data import chat_templates

    entries = importlib.resources.files(chat_templates).iterdir()
    return sorted(entry.name.removesuffix(".jinja") for entry in entries if entry.name.endswith(".jinja"))


def install_planner_hooks(
    *,
    handles: "Callable[[MergeMethod], bool]",
    plan: "Callable[[MergePlanner, Callable[[MergePlanner], None]], None]",
    tasks_to_disk: "Callable[[MergePlanner, Path, Callable[[], list[Task]]], list[Task]]",
    opening: "Callable[[ModelReference], AbstractContextManager[None]]",
) -> None:
    """Let our code take part in every merge of this process; calling it again changes nothing.

    Also calls `keep_recipe_order`. Written for mergekit 0.1.5 (`MergePlanner._plan`, `.plan_to_disk`,
    `LoaderCache.get`).

    Args:
        handles: whether a merge with this method is ours. Others are planned by mergekit alone.
        plan: called in place of mergekit's `_plan(planner)`, which it gets as second argument.
        tasks_to_disk: called in place of `plan_to_disk` with the output folder, into which nothing is written
            yet; its third argument returns mergekit's own tasks.
        opening: a context manager around every opening of a checkpoint, for any method.
    """
    with MERGEKIT.imports():
        from mergekit.plan import MergePlanner

    cache = _cache_class()
    keep_recipe_order()
    their_plan = MERGEKIT.get(MergePlanner, "_plan")
    their_tasks = MERGEKIT.get(MergePlanner, "plan_to_disk")
    their_get = cache.get
    if getattr(their_plan, "is_mergekit_finance", False):
        return

    @functools.wraps(their_plan)
    def our_plan(planner: "MergePlanner") -> None:
        if handles(planner_method(planner)):
            plan(planner, their_plan)
        else:
            their_plan(planner)

    @functools.wraps(their_tasks)
    def our_tasks(planner: "MergePlanner", out_path: str) -> "list[Task]":
        if handles(planner_method(planner)):
            return tasks_to_disk(planner, Path(out_path), lambda: their_tasks(planner, out_path))
        return their_tasks(planner, out_path)

    @functools.wraps(their_get)
    def our_get(cache: "LoaderCache", model: "ModelReference") -> "LazyTensorLoader":
        with opening(model):
            return their_get(cache, model)

    vars(our_plan)["is_mergekit_finance"] = True
    MergePlanner._plan, MergePlanner.plan_to_disk, cache.get = our_plan, our_tasks, our_get


def keep_recipe_order() -> None:
    """Let mergekit list a recipe's models in the recipe's order, in all merges of this process.

    mergekit lists a Python set, whose order differs between processes. The order decides which model gives
    its config and tokenizer where a recipe has no base, the ids of the tokens in a union of vocabularies,
    and which template `chat_template: auto` takes of two that are equally frequent. Calling it again changes
    nothing. Written for mergekit 0.1.5 (`MergeConfiguration.referenced_models`).
    """
    with MERGEKIT.imports():
        from mergekit.config import MergeConfiguration

    their_models = MERGEKIT.get(MergeConfiguration, "referenced_models")
    if getattr(their_models, "is_mergekit_finance", False):
        return

    @functools.wraps(their_models)
    def in_order(config: "MergeConfiguration") -> "list[ModelReference]":
        owners = [config, *(config.modules or {}).values()]
        entries = [entry for owner in owners for entry in owner.models or ()]
        entries += [source for owner in owners for part in owner.slices or () for source in part.sources]
        order = [entry.model for entry in entries]
        order = [*([config.base_model] if config.base_model else []), *order]
        models = their_models(config)
        return sorted(models, key=lambda model: order.index(model) if model in order else len(order))

    vars(in_order)["is_mergekit_finance"] = True
    MergeConfiguration.referenced_models = in_order


# ---- the command line


def recipe_file() -> Path | None:
    """Return the recipe's file if this is a run of `mergekit-yaml`, else None.

    Written for mergekit 0.1.5 (the argument `config_file` of its click command).
    """
    import click  # imported here: mergekit's commands are the only ones that need it

    context = click.get_current_context(silent=True)
    name = context.params.get("config_file") if context else None
    return Path(name) if isinstance(name, str) else None


# ---- random masks


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generators inside, from which mergekit's methods draw, and restore them afterwards.

    With one seed, a merge in memory draws what `mergekit-yaml --random-seed` draws.
    """
    import torch  # imported here: it takes 1.4 s, which --help should not pay

    with torch.random.fork_rng():  # of the CPU and of every GPU
        torch.manual_seed(seed)
        yield


@contextmanager
def replaced_bernoulli(function: "Callable[..., torch.Tensor]") -> Iterator[None]:
    """Let mergekit's DARE draw its masks with `function`. Written for 0.1.5 (`sparsify.bernoulli`)."""
    with MERGEKIT.imports():
        from mergekit import sparsify

    original = MERGEKIT.get(sparsify, "bernoulli")
    sparsify.bernoulli = function
    try:
        yield
    finally:
        sparsify.bernoulli = original
