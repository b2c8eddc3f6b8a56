"""Adapters for recipes and merge methods of mergekit, written for mergekit 0.1.5.

mergekit is imported inside the functions to keep --help fast: it takes 4.5 s.
"""

import functools
import importlib.resources
import inspect
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mergekit_finance.errors import HostError, RecipeError
from mergekit_finance.files import Json
from mergekit_finance.hosts.names import MERGEKIT

if TYPE_CHECKING:
    from mergekit.common import ModelReference
    from mergekit.config import MergeConfiguration
    from mergekit.merge_methods import MergeMethod


# ---- merge methods


def register_methods(methods: "Iterable[MergeMethod]") -> None:
    """Add merge methods to mergekit's registry. Methods that are already registered are skipped.

    A method is ignored with a RuntimeWarning if another method has the same name. Written for mergekit
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
            text = f"merge method {name!r} exists already; the plugin's method is ignored"
            warnings.warn(text, RuntimeWarning, stacklevel=2)


def method_parameters() -> dict[str, set[str]]:
    """Return the names of the parameters of every registered merge method, by the method's name."""
    with MERGEKIT.imports():
        from mergekit.merge_methods import registered_methods

    return {m.spec.name: {p.name for p in m.spec.parameters} for m in registered_methods()}


# ---- recipes


def recipe_keys() -> dict[str, tuple[str, ...]]:
    """Return the keys that mergekit reads, by the kind of block in a recipe.

    The keys of `parameters:` are not included; see `method_parameters`. Written for mergekit 0.1.5.
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
    """Call `validate` on every recipe, before mergekit drops the keys that it does not know.

    Functions that are installed later are called first; a second call with the same function changes nothing.
    Written for mergekit 0.1.5, whose commands call `MergeConfiguration.model_validate` with the mapping in a
    recipe's YAML.

    Args:
        validate: called in place of `model_validate` with the mapping; its second argument returns
            mergekit's object. What is not a mapping is refused in `mergekit-yaml`, and left to
            `model_validate` in other programs.
    """
    with MERGEKIT.imports():
        from mergekit.config import MergeConfiguration

    original = MERGEKIT.get(MergeConfiguration.model_validate, "__func__")
    installed = getattr(original, "recipe_hooks", ())
    if validate in installed:
        return

    @functools.wraps(original)
    def validate_mapping(
        cls: "type[MergeConfiguration]", obj: object, **options: bool
    ) -> "MergeConfiguration":
        def call_original() -> "MergeConfiguration":
            configuration: MergeConfiguration = original(cls, obj, **options)
            return configuration

        if isinstance(obj, dict):
            return validate(obj, call_original)
        if not isinstance(obj, cls) and (file := recipe_file()):  # an empty file, a list, or text
            raise RecipeError(
                f"{file}: not a mapping of keys such as merge_method and models. Correct it.",
                id="recipe.invalid",
            )
        return call_original()

    vars(validate_mapping)["recipe_hooks"] = (*installed, validate)
    type.__setattr__(MergeConfiguration, "model_validate", classmethod(validate_mapping))


def recipe_text() -> str | None:
    """Return the text of the recipe that is being merged, or None if mergekit was called with an object only.

    Written for mergekit 0.1.5, whose commands pass the text as `config_source` to `merge.run_merge`. It is
    read from the stack frame of that function, because the recipe's file may be a pipe, which cannot be read
    twice.
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


def chat_template_names() -> list[str]:
    """Return the names that `chat_template:` accepts. Written for mergekit 0.1.5 (`_data.chat_templates`)."""
    with MERGEKIT.imports():
        from mergekit._data import chat_templates

    entries = importlib.resources.files(chat_templates).iterdir()
    return sorted(entry.name.removesuffix(".jinja") for entry in entries if entry.name.endswith(".jinja"))


def keep_recipe_order() -> None:
    """Let mergekit list a recipe's models in the recipe's order, in all merges of this process.

    mergekit makes the list from a Python set, whose order differs between processes. The order decides which
    model's config and tokenizer are used if a recipe has no base, the ids of the tokens in a union of
    vocabularies, and which of two equally frequent templates `chat_template: auto` selects. Calling it again
    changes nothing. Written for mergekit 0.1.5 (`MergeConfiguration.referenced_models`).
    """
    with MERGEKIT.imports():
        from mergekit.config import MergeConfiguration

    original_models = MERGEKIT.get(MergeConfiguration, "referenced_models")
    if getattr(original_models, "is_mergekit_finance", False):
        return

    @functools.wraps(original_models)
    def in_order(config: "MergeConfiguration") -> "list[ModelReference]":
        owners = [config, *(config.modules or {}).values()]
        entries = [entry for owner in owners for entry in owner.models or ()]
        entries += [source for owner in owners for part in owner.slices or () for source in part.sources]
        order = [entry.model for entry in entries]
        order = [*([config.base_model] if config.base_model else []), *order]
        models = original_models(config)
        return sorted(models, key=lambda model: order.index(model) if model in order else len(order))

    vars(in_order)["is_mergekit_finance"] = True
    MergeConfiguration.referenced_models = in_order


# ---- the command line


def recipe_file() -> Path | None:
    """Return the recipe's file if this is a run of `mergekit-yaml`, else None.

    Written for mergekit 0.1.5 (the argument `config_file` of its click command).
    """
    import click  # imported here: only mergekit's commands need it

    context = click.get_current_context(silent=True)
    name = context.params.get("config_file") if context else None
    return Path(name) if isinstance(name, str) else None


def trusts_remote_code() -> bool | None:
    """Return whether `mergekit-yaml` was started with `--trust-remote-code`; None in any other program.

    Written for mergekit 0.1.5 (the name of its click command, and its option).
    """
    return _option("trust_remote_code")


def allows_crimes() -> bool:
    """Return whether `mergekit-yaml` was started with `--allow-crimes`.

    Written for mergekit 0.1.5 (the name of its click command, and its option).
    """
    return bool(_option("allow_crimes"))


def _option(name: str) -> bool | None:
    import click  # see the note in recipe_file

    context = click.get_current_context(silent=True)
    if context is None or context.command.name != "mergekit-yaml":
        return None
    return bool(context.params.get(name))
