"""A recipe: plain mergekit YAML, and a `finance:` block that mergekit ignores and we check.

Everything here happens before a byte of weights is read.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from mergekit_finance.errors import RecipeError, did_you_mean

if TYPE_CHECKING:
    from mergekit.config import MergeConfiguration

STAGES = {1: "base and one expert", 2: "two experts", 3: "three experts or more"}


class Finance(BaseModel):
    """The `finance:` block. What is left out is worked out from the merge itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: Literal[1, 2, 3] | None = None
    constituents: tuple[str, ...] | None = None
    tasks: tuple[str, ...] = ()
    citation: str = ""

    @field_validator("tasks", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """One task, or several with commas, as `--tasks` takes them."""
        return names(value) if isinstance(value, str) else value


def names(text: str) -> tuple[str, ...]:
    """The names in a comma-separated list."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


@dataclass(frozen=True)
class Recipe:
    """A checked recipe."""

    path: Path
    text: str
    merge: dict[str, Any]
    finance: Finance

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def method(self) -> str:
        return str(self.merge["merge_method"])

    @property
    def base(self) -> str | None:
        base = self.merge.get("base_model")
        return None if base is None else _reference(base)

    @property
    def experts(self) -> tuple[str, ...]:
        """Every model that is merged, the base left out, in the recipe's order."""
        return tuple(m for m in dict.fromkeys(_models(self.merge)) if m != self.base)

    @property
    def stage(self) -> int:
        return self.finance.stage or min(len(self.experts), 3)

    @property
    def constituents(self) -> tuple[str, ...]:
        """Whose scores Gain and Outperform Gap compare with: stage 1 counts the base as one."""
        if self.finance.constituents:
            return self.finance.constituents
        return ((self.base,) if self.base and self.stage == 1 else ()) + self.experts

    @property
    def semantics(self) -> str:
        """`paper` or `mergekit`: what the method's words mean. mergekit's own methods are `mergekit`."""
        if not self.method.startswith("cpt_"):
            return "mergekit"
        return str((self.merge.get("parameters") or {}).get("semantics", "paper"))

    def configuration(self) -> "MergeConfiguration":
        """mergekit's own object for this recipe."""
        from mergekit.config import MergeConfiguration

        try:
            return MergeConfiguration.model_validate(self.merge)
        except (ValidationError, RuntimeError) as fault:
            raise RecipeError(f"{self.path}: {_first(fault)}") from fault


def load(path: Path | str) -> Recipe:
    """Read and check a recipe: keys, method, parameters, `finance:` block."""
    path = Path(path)
    text = _read(path)
    data = _parse(text, path)
    merge = {key: value for key, value in data.items() if key != "finance"}
    recipe = Recipe(path, text, merge, _finance(data.get("finance") or {}, path))
    _check_keys(merge, path)
    _check_dtypes(recipe)
    _check_parameters(recipe)
    _check_constituents(recipe)
    return recipe


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(
            f"{path}: no such recipe; `mergekit-finance recipes list` shows ours, `recipes copy NAME .` "
            "copies one"
        ) from None
    except (OSError, UnicodeDecodeError) as fault:
        raise RecipeError(f"{path}: cannot be read as text ({fault})") from fault


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise RecipeError(
            f"{path}{where}: not YAML ({getattr(fault, 'problem', None) or 'cannot be parsed'})"
        ) from fault
    if not isinstance(data, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of keys, this is {type(data).__name__}")
    return data


def _finance(block: Any, path: Path) -> Finance:
    if not isinstance(block, dict):
        raise RecipeError(f"{path}: finance: must be a mapping of {', '.join(Finance.model_fields)}")
    _known(block, Finance.model_fields, f"{path}: finance")
    try:
        return Finance.model_validate(block)
    except ValidationError as fault:
        raise RecipeError(f"{path}: finance.{_first(fault)}") from fault


def _first(fault: Exception) -> str:
    if not isinstance(fault, ValidationError):
        return str(fault).splitlines()[0]
    error = fault.errors(include_url=False)[0]
    where = ".".join(map(str, error["loc"]))
    return f"{where}: {error['msg']}" if where else str(error["msg"])


def _known(found: Iterable[Any], known: Iterable[str], where: str, what: str = "key") -> None:
    names = set(known)
    for key in found:
        if key not in names:
            raise RecipeError(f"{where}: unknown {what} {key!r}. {did_you_mean(str(key), names)}")


def _check_keys(merge: dict[str, Any], path: Path) -> None:
    """mergekit drops keys it does not know in silence; a misspelt one must not pass."""
    from mergekit import config as host
    from mergekit.tokenizer.config import TokenizerConfig

    where = f"{path}"
    _known(merge, [*host.MergeConfiguration.model_fields, "finance"], where)
    if "merge_method" not in merge:
        raise RecipeError(f"{where}: merge_method is missing")
    allowed = _parameters(str(merge["merge_method"]), where)
    shapes = {
        "models": host.InputModelDefinition,
        "slices": host.OutputSliceDefinition,
        "sources": host.InputSliceDefinition,
    }
    for place, block, kind in _blocks(merge, where):
        if kind == "parameters":
            _known(block, allowed, place, "parameter")
        elif kind == "tokenizer":
            _known(block, TokenizerConfig.model_fields, place)
        elif kind == "modules":
            _known(block, host.OutputModuleDefinition.model_fields, place)
        else:
            _known(block, shapes[kind].model_fields, place)


def _parameters(method: str, where: str) -> set[str]:
    from mergekit import merge_methods

    known = {m.spec.name: m for m in merge_methods.registered_methods()}
    if method not in known:
        raise RecipeError(f"{where}: merge_method {method!r} is not known. {did_you_mean(method, known)}")
    return {p.name for p in known[method].spec.parameters}


def _blocks(value: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Every mapping below a recipe's top whose keys mean something to mergekit: place, mapping, kind."""
    if not isinstance(value, dict):
        return
    for kind in ("models", "slices", "sources"):
        items = value.get(kind)
        for i, item in enumerate(items if isinstance(items, list) else ()):
            if isinstance(item, dict):
                place = f"{where}: {kind}[{i}]" if ": " not in where else f"{where}.{kind}[{i}]"
                yield place, item, kind
                yield from _blocks(item, place)
    for name, module in (
        (value.get("modules") or {}).items() if isinstance(value.get("modules"), dict) else ()
    ):
        if isinstance(module, dict):
            yield f"{where}: modules.{name}", module, "modules"
            yield from _blocks(module, f"{where}: modules.{name}")
    for kind in ("parameters", "tokenizer"):
        if isinstance(value.get(kind), dict):
            yield (f"{where}: {kind}" if ": " not in where else f"{where}.{kind}"), value[kind], kind


def _check_dtypes(recipe: Recipe) -> None:
    from mergekit.common import dtype_from_name

    config = recipe.configuration()
    for key in ("dtype", "out_dtype"):
        value = getattr(config, key)
        try:
            dtype_from_name(value)
        except RuntimeError:
            hint = did_you_mean(value, ("float32", "bfloat16", "float16"))
            raise RecipeError(f"{recipe.path}: {key}: {value!r} is not a dtype. {hint}") from None


def _check_parameters(recipe: Recipe) -> None:
    """Our methods' parameters, by the checks that plain mergekit-yaml runs too; here with the file's name."""
    from mergekit import merge_methods
    from mergekit.options import MergeOptions

    from mergekit_finance.merge_methods.check_recipe import check_recipe
    from mergekit_finance.merge_methods.method import CptMethod

    config, method = recipe.configuration(), merge_methods.get(recipe.method)
    if isinstance(method, CptMethod):
        try:
            check_recipe(config, method, MergeOptions())
        except RecipeError as fault:
            raise RecipeError(f"{recipe.path}: {fault}") from fault


def _reference(value: Any) -> str:
    """A model reference as the recipe's author wrote it."""
    if isinstance(value, dict):
        model = value.get("model", value)
        return str(model.get("path", model)) if isinstance(model, dict) else str(model)
    return str(value)


def _models(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "model" in value and not isinstance(value["model"], list):
            yield _reference(value["model"])
        for key in ("models", "slices", "sources", "modules"):
            yield from _models(value.get(key))
        if "merge_method" not in value and "model" not in value:
            for item in value.values():
                yield from _models(item) if isinstance(item, dict) else ()
    elif isinstance(value, list):
        for item in value:
            yield from _models(item)


def _check_constituents(recipe: Recipe) -> None:
    models = [*((recipe.base,) if recipe.base else ()), *recipe.experts]
    if not recipe.experts:
        raise RecipeError(f"{recipe.path}: no expert: every model of the recipe is the base")
    for name in recipe.constituents:
        if name not in models:
            raise RecipeError(
                f"{recipe.path}: finance.constituents: {name!r} is not merged here. "
                f"{did_you_mean(name, models)}"
            )
    expected = {1: len(recipe.experts) == 1, 2: len(recipe.experts) == 2, 3: len(recipe.experts) >= 3}
    if recipe.finance.stage and not expected[recipe.finance.stage]:
        raise RecipeError(
            f"{recipe.path}: finance.stage: {recipe.finance.stage} means {STAGES[recipe.finance.stage]}, "
            f"the recipe merges {len(recipe.experts)} experts"
        )
