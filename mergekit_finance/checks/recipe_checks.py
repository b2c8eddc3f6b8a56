"""Checks of a recipe's content: keys that do not exist, and dtypes.

mergekit ignores every key that it does not read, so that a misspelled key silently means its default.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, TypeAlias

from pydantic import ValidationError

from mergekit_finance.errors import RecipeError, did_you_mean, first_line, first_problem
from mergekit_finance.files import Json
from mergekit_finance.hosts.mergekit_recipes import recipe_keys

FINANCE_KEYS = (
    "stage",
    "constituents",
    "tasks",
    "citation",
    "seed",
    "include_path",
)  # of the `finance:` block
# What pydantic says of a wrong type, in words of a recipe.
WORDS = (
    (
        re.compile(r"\.ConditionalParameter: must be a mapping of keys"),
        ": must be a value, a gradient or filters",
    ),
    (
        re.compile(r"tokenizer_source\.literal\['union'\]: .*"),
        "tokenizer_source: must be union, base or a model",
    ),
    (re.compile(r"\b(model|base_model): must be a mapping of keys"), r"\1: must be a folder or a Hub id"),
)
DTYPES = ("float32", "bfloat16", "float16", "float64")

Block: TypeAlias = Mapping[str, Json]
Kind: TypeAlias = Literal[
    "recipe", "model", "slice", "source", "module", "parameters", "filter", "tokenizer", "token",
    "token model", "zero", "reference", "path", "finance",
]  # fmt: skip


def check_keys(content: Block, where: str = "", parameters: Iterable[str] | None = None) -> None:
    """Refuse keys that neither mergekit nor this package reads, anywhere in a recipe.

    Args:
        content: the recipe.
        where: its file, for messages.
        parameters: names of the method's parameters; None: parameters' names are checked elsewhere.

    Raises:
        RecipeError: there is such a key; the message names it, its place, and the nearest valid key.
    """
    keys: dict[str, Iterable[str]] = {**recipe_keys(), "finance": FINANCE_KEYS}
    if parameters is not None:
        keys["parameters"] = parameters
    if content.get("finance") is not None and not isinstance(content["finance"], Mapping):
        message = f"finance: must be a mapping of {', '.join(FINANCE_KEYS)}"
        raise RecipeError(f"{where}: {message}" if where else message, id="recipe.invalid")
    for place, block, kind in _recipe("", content):
        choices = keys.get(kind)
        unknown = [] if choices is None else [name for name in block if name not in choices]
        if choices is not None and unknown:
            noun = "parameter" if kind == "parameters" else "key"
            hint = did_you_mean(str(unknown[0]), choices)
            message = f"unknown {noun} {unknown[0]!r}. {hint}"
            raise RecipeError(
                ": ".join(part for part in (where, place, message) if part),
                id="recipe.unknown-key",
            )


def check_dtypes(dtype: str | None, out_dtype: str | None, where: str = "") -> None:
    """Refuse names of dtypes that mergekit does not have, or that cannot hold weights."""
    for key, value in (("dtype", dtype), ("out_dtype", out_dtype)):
        if value and value.removeprefix("torch.") not in DTYPES:
            prefix = f"{where}: {key}" if where else key
            hint = did_you_mean(value, DTYPES)
            raise RecipeError(
                f"{prefix}: {value!r} is not a dtype of weights. {hint}",
                id="recipe.dtype",
            )


def validation_message(error: Exception) -> str:
    """Return the first line of an error; of pydantic's, the place and what is wrong there."""
    if not isinstance(error, ValidationError):
        return first_line(error)
    problem = first_problem(error)
    for pattern, text in WORDS:
        problem = pattern.sub(text, problem)
    return problem


# ---- every mapping in a recipe, with its place and its kind. Values of other types are left to mergekit.

Blocks: TypeAlias = Iterator[tuple[str, Block, Kind]]


def _recipe(place: str, block: Block) -> Blocks:
    yield place, block, "recipe"
    yield from _merged(place, block)
    yield from _reference("base_model", block.get("base_model"))
    yield from _reference("tokenizer_source", block.get("tokenizer_source"))
    if isinstance(tokenizer := block.get("tokenizer"), Mapping):
        yield from _tokenizer(tokenizer)
    if isinstance(finance := block.get("finance"), Mapping):
        yield "finance", finance, "finance"
    modules = block.get("modules")
    for name, module in modules.items() if isinstance(modules, Mapping) else ():
        if isinstance(module, Mapping):
            yield f"modules.{name}", module, "module"
            yield from _merged(f"modules.{name}.", module)


def _merged(prefix: str, block: Block) -> Blocks:
    """Yield the mappings that recipes and modules of recipes have in common."""
    yield from _parameters(f"{prefix}parameters", block.get("parameters"))
    for place, model in _items(f"{prefix}models", block.get("models")):
        yield from _entry(place, model, "model")
    for place, part in _items(f"{prefix}slices", block.get("slices")):
        yield place, part, "slice"
        yield from _parameters(f"{place}.parameters", part.get("parameters"))
        yield from _reference(f"{place}.base_model", part.get("base_model"))
        for inner, source in _items(f"{place}.sources", part.get("sources")):
            yield from _entry(inner, source, "source")


def _entry(place: str, block: Block, kind: Literal["model", "source"]) -> Blocks:
    yield place, block, kind
    yield from _reference(f"{place}.model", block.get("model"))
    yield from _parameters(f"{place}.parameters", block.get("parameters"))


def _parameters(place: str, block: Json) -> Blocks:
    if not isinstance(block, Mapping):
        return
    yield place, block, "parameters"
    for name, setting in block.items():
        if isinstance(setting, Mapping):
            yield f"{place}.{name}", setting, "filter"
        for inner, part in _items(f"{place}.{name}", setting):
            yield inner, part, "filter"


def _tokenizer(block: Block) -> Blocks:
    yield "tokenizer", block, "tokenizer"
    yield from _reference("tokenizer.source", block.get("source"))
    tokens = block.get("tokens")
    for name, token in tokens.items() if isinstance(tokens, Mapping) else ():
        place = f"tokenizer.tokens.{name}"
        if isinstance(token, Mapping):
            yield place, token, "token"
            source = token.get("source")
            if isinstance(source, Mapping) and source.get("kind") == "zero":
                yield f"{place}.source", source, "zero"
            elif isinstance(source, Mapping) and not {"kind", "token", "token_id"}.isdisjoint(source):
                yield f"{place}.source", source, "token model"
                yield from _reference(f"{place}.source.model", source.get("model"))
            else:
                yield from _reference(f"{place}.source", source)


def _reference(place: str, value: Json) -> Blocks:
    """Yield the mappings of a model reference that is not written as text."""
    if isinstance(value, Mapping):
        yield place, value, "reference"
        for key in ("model", "lora"):
            if isinstance(path := value.get(key), Mapping):
                yield f"{place}.{key}", path, "path"


def _items(place: str, value: Json) -> Iterator[tuple[str, Block]]:
    for i, item in enumerate(value if isinstance(value, list | tuple) else ()):
        if isinstance(item, Mapping):
            yield f"{place}[{i}]", item
