"""Read and check a recipe: plain mergekit YAML, with a `finance:` block that mergekit ignores.

No check reads weights.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mergekit_finance.checks.densities import densities_of
from mergekit_finance.checks.filters import filters_of
from mergekit_finance.checks.merge_facts import How
from mergekit_finance.checks.recipe_checks import FINANCE_KEYS, check_dtypes, check_keys, validation_message
from mergekit_finance.checks.small_files import check_chat_template
from mergekit_finance.errors import ModelError, RecipeError, counted, default_id, did_you_mean
from mergekit_finance.files import Json, JsonObject, load_yaml, yaml_text
from mergekit_finance.hosts import mergekit_recipes as host
from mergekit_finance.hosts.programs import OUR_METHODS
from mergekit_finance.operators import DRAWS_NOTHING
from mergekit_finance.plugins.manager import merge_methods
from mergekit_finance.recipe.fields import Unique
from mergekit_finance.recipe.task_entries import TaskSettings, split_entries

if TYPE_CHECKING:
    from mergekit.config import MergeConfiguration

STAGES = {1: "base and one expert", 2: "two experts", 3: "three experts or more"}
NESTED_LISTS = ("models", "slices", "sources")  # keys of a recipe that hold lists of mappings


class Finance(BaseModel):
    """The `finance:` block. Missing values are derived from the merge itself.

    Attributes:
        stage: 1 for base and one expert; 2 for two experts; 3 for three or more.
        constituents: the models with which Gain and Outperform Gap compare the merge.
        tasks: the default tasks of an evaluation; in the file also mappings, as in study.yml.
        task_settings: by task or group, what its mapping says.
        citation: the paper of the method.
        seed: the seed of mergekit's random methods (dare_ties, della, ...).
        include_path: the folder of the user's own lm-eval tasks, relative to the recipe; only
            `mergekit-finance run` uses it, and prints that code of the folder runs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: Literal[1, 2, 3] | None = None
    constituents: Annotated[tuple[str, ...], Unique] | None = None
    tasks: Annotated[tuple[str, ...], Unique] = ()
    task_settings: dict[str, TaskSettings] = {}
    citation: str = ""
    seed: int = Field(0, ge=0, lt=2**63, strict=True)
    include_path: str | None = Field(None, min_length=1, max_length=4096)

    @model_validator(mode="before")
    @classmethod
    def _split(cls, block: Json) -> Json:
        """Accept one task, a comma-separated list as `--tasks` does, and mappings in a list."""
        if not isinstance(block, Mapping):
            return block
        tasks, settings = block.get("tasks", ()), dict[str, Json]()
        if isinstance(tasks, str):
            tasks = split_names(tasks)
        elif isinstance(tasks, list | tuple):
            tasks = split_entries("tasks", tasks, settings)
        for key, values in (("tasks", tasks), ("constituents", block.get("constituents"))):
            if key in block and values in ((), []):
                raise ValueError(f"{key}: is empty. List at least one, or leave the key out for the default")
        return {**block, "tasks": tasks, "task_settings": settings}


def split_names(text: str) -> tuple[str, ...]:
    """Return the names in a comma-separated list."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


@dataclass(frozen=True)
class Recipe:
    """A checked recipe.

    Attributes:
        path: its file, or the name used in messages instead.
        text: its YAML.
        merge: its content without the `finance:` block, as mergekit reads it.
        finance: its `finance:` block.
    """

    path: Path
    text: str
    merge: JsonObject
    finance: Finance

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem

    @property
    def method(self) -> str:
        """The name of the merge method."""
        return str(self.merge["merge_method"])

    @property
    def base(self) -> str | None:
        """The reference of the base model, if the recipe has one."""
        base = self.merge.get("base_model")
        return None if base is None else _reference(base)

    @property
    def experts(self) -> tuple[str, ...]:
        """The references of all merged models but the base, in the recipe's order."""
        return tuple(model for model in dict.fromkeys(_models(self.merge)) if model != self.base)

    @property
    def models(self) -> tuple[str, ...]:
        """The references of all merged models, the base first."""
        return (*((self.base,) if self.base else ()), *self.experts)

    @property
    def stage(self) -> int:
        """1 for one expert, 2 for two, 3 for more, unless the `finance:` block sets the stage."""
        return self.finance.stage or min(len(self.experts), 3)

    @property
    def constituents(self) -> tuple[str, ...]:
        """The models with which Gain and Outperform Gap compare the merge; in stage 1, including the base."""
        if self.finance.constituents:
            return self.finance.constituents
        return self.models if self.stage == 1 else self.experts

    @property
    def aligns_vocabularies(self) -> bool:
        """Whether a tokenizer block aligns the models' vocabularies."""
        return bool(self.merge.get("tokenizer") or self.merge.get("tokenizer_source"))

    @property
    def semantics(self) -> str:
        """The definition that the method follows: `paper` or `mergekit` (for all methods of mergekit)."""
        if not self.method.startswith(OUR_METHODS):
            return "mergekit"
        parameters = self.merge.get("parameters")
        return str(parameters.get("semantics", "paper")) if isinstance(parameters, dict) else "paper"

    @property
    def merge_settings(self) -> How:
        """The settings of the merge that checks of models use (`checks.model_checks.MergeFacts`)."""
        dtypes = {key: value for key in ("dtype", "out_dtype") if (value := self.merge.get(key)) is not None}
        return How(
            has_base=self.base is not None,
            aligned=self.aligns_vocabularies,
            dtype=str(dtypes["dtype"]) if "dtype" in dtypes else None,
            out_dtype=str(dtypes["out_dtype"]) if "out_dtype" in dtypes else None,
            method=self.method,
            sets_template=self.aligns_vocabularies or "chat_template" in self.merge,
            filters=filters_of(self.merge),
            densities=densities_of(self.merge),
        )

    @property
    def seed(self) -> int | None:
        """The seed of the merge method; None if it uses no random numbers or has a seed parameter."""
        if self.method.startswith(OUR_METHODS) or self.method in DRAWS_NOTHING:
            return None
        return self.finance.seed

    @default_id("recipe.invalid")
    def configuration(self) -> "MergeConfiguration":
        """Return mergekit's MergeConfiguration of this recipe. Raises RecipeError if mergekit refuses it."""
        # Imported here to keep --help fast: mergekit takes 4.5 s.
        from mergekit.config import MergeConfiguration

        try:
            return MergeConfiguration.model_validate(self.merge)
        except (ValidationError, RuntimeError) as error:
            raise RecipeError(f"{self.path}: {validation_message(error)}") from error


def load_recipe(path: Path | str, is_complete: bool = True) -> Recipe:
    """Return a recipe whose keys, merge method, parameters and `finance:` block were checked.

    Args:
        path: the recipe's file.
        is_complete: whether the parameters that the merge method needs must be there.

    Raises:
        RecipeError: something is wrong; the message names the file, the key and the accepted values.
    """
    path = Path(path)
    try:
        text = yaml_text(path)
    except FileNotFoundError:
        raise RecipeError(
            f"{path}: no such recipe. `mergekit-finance recipes list` shows the bundled ones, "
            "`mergekit-finance recipes copy NAME .` copies one.",
            id="file.unreadable",
        ) from None
    return _checked(text, path, is_complete)


def check_mapping(content: JsonObject, name: str) -> Recipe:
    """Return the recipe in a mapping, checked as by `load_recipe`; `name` replaces the file in messages."""
    return _checked(yaml.safe_dump(content, sort_keys=False), Path(name))


@default_id("recipe.invalid")
def check_finance(
    content: Mapping[str, Json], validate: "Callable[[], MergeConfiguration]"
) -> "MergeConfiguration":
    """Return what mergekit makes of a recipe, after a check of the `finance:` block, which it ignores.

    Args:
        content: a recipe; blocks of other methods than ours are not checked.
        validate: mergekit's own validation.

    Raises:
        RecipeError: a value is wrong, as `load_recipe` says it.
    """
    config, block = validate(), content.get("finance")
    if block is not None and config.merge_method.startswith(OUR_METHODS):
        path = host.recipe_file() or Path("recipe")
        merge = {key: value for key, value in content.items() if key != "finance"}
        _check_merge_fits(Recipe(path, "", merge, _finance(block, str(path))))
    return config


@default_id("recipe.invalid")
def _checked(text: str, path: Path, is_complete: bool = True) -> Recipe:
    content = load_yaml(text, str(path))
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: not a mapping of keys such as merge_method and models. Correct it.")
    merge = {key: value for key, value in content.items() if key != "finance"}
    block = {} if content.get("finance") is None else content["finance"]
    recipe = Recipe(path, text, merge, _finance(block, str(path)))
    host.register_methods(merge_methods())
    _check_method(merge, str(path))
    settings = recipe.merge_settings
    check_dtypes(settings.get("dtype"), settings.get("out_dtype"), str(path))
    config = recipe.configuration()
    if template := config.chat_template:
        check_chat_template(template, host.chat_template_names(), f"{path}: chat_template")
    _check_parameters(recipe, is_complete)
    _check_merge_fits(recipe)
    return recipe


def _finance(block: Json, where: str) -> Finance:
    if not isinstance(block, dict):
        raise RecipeError(f"{where}: finance: must be a mapping of {', '.join(FINANCE_KEYS)}")
    check_keys({"finance": block}, where)
    try:
        return Finance.model_validate(block)
    except ValidationError as error:
        problem = validation_message(error).replace("task_settings.", "tasks.", 1)  # as the file has it
        raise RecipeError(f"{where}: finance.{problem}") from error


def _check_method(merge: JsonObject, where: str) -> None:
    """Refuse an unknown merge method, and keys and parameters that are not used."""
    if "merge_method" not in merge:
        check_keys(merge, where)
        raise RecipeError(f"{where}: merge_method is missing. Add it, for example cpt_task_arithmetic.")
    parameters = host.method_parameters()
    method = str(merge["merge_method"])
    if method not in parameters:
        raise RecipeError(
            f"{where}: merge_method {method!r} is not known. {did_you_mean(method, parameters)}",
            id="recipe.unknown-method",
        )
    check_keys(merge, where, parameters[method])


# ---- values


def _check_parameters(recipe: Recipe, is_complete: bool) -> None:
    """Check the tokenizer block, and of our methods the parameters as plain mergekit-yaml does."""
    from mergekit import merge_methods as registry  # see the note in Recipe.configuration
    from mergekit.options import MergeOptions

    from mergekit_finance.merge_methods.check_foreign import check_foreign_method
    from mergekit_finance.merge_methods.check_recipe import check_recipe
    from mergekit_finance.merge_methods.check_tokens import check_tokenizer_block
    from mergekit_finance.merge_methods.method import CptMethod

    config, method = recipe.configuration(), registry.get(recipe.method)
    try:
        if isinstance(method, CptMethod):
            check_recipe(config, method, MergeOptions())
        else:
            check_foreign_method(config, is_complete)
            check_tokenizer_block(config)
    except (RecipeError, ModelError) as error:
        raise RecipeError(f"{recipe.path}: {error.message}", id=error.id) from error


# ---- models


def _reference(value: Json) -> str:
    """Return a model reference as one line: path@revision+adapter@revision, also where it is a mapping."""
    if not isinstance(value, dict):
        return str(value)
    if "path" in value:
        return f"{value['path']}@{value['revision']}" if value.get("revision") else str(value["path"])
    parts = [value.get("model", value), value.get("lora")]
    return "+".join(_reference(p) if isinstance(p, dict) and "path" in p else str(p) for p in parts if p)


def _models(value: Json) -> Iterator[str]:
    """Yield the reference of every model in a recipe, or in a part of one."""
    if isinstance(value, list):
        for item in value:
            yield from _models(item)
    elif isinstance(value, dict):
        if "model" in value and not isinstance(value["model"], list):
            yield _reference(value["model"])
        for key in (*NESTED_LISTS, "modules"):
            yield from _models(value.get(key))
        if "merge_method" not in value and "model" not in value:
            for item in value.values():
                if isinstance(item, dict):
                    yield from _models(item)


def _check_merge_fits(recipe: Recipe) -> None:
    """Refuse a `finance:` block that does not fit the merge."""
    count = len(recipe.experts)
    if not count:
        raise RecipeError(f"{recipe.path}: no expert: every model of the recipe is the base")
    for name in recipe.constituents:
        if name not in recipe.models:
            raise RecipeError(
                f"{recipe.path}: finance.constituents: {name!r} is not merged here. "
                f"{did_you_mean(name, recipe.models)}"
            )
    stage = recipe.finance.stage
    counts = [count]
    if recipe.base in (recipe.finance.constituents or ()):  # as in slerp, whose base may be an expert
        counts.append(count + 1)
    if stage and stage not in (min(number, 3) for number in counts):
        raise RecipeError(
            f"{recipe.path}: finance.stage: {stage} means {STAGES[stage]}, "
            f"the recipe merges {counted(count, 'expert')}"
        )
    if "seed" in recipe.finance.model_fields_set and recipe.method.startswith(OUR_METHODS):
        raise RecipeError(
            f"{recipe.path}: finance.seed: only for mergekit's methods. Remove it; cpt_dare_ties has "
            "parameters.seed instead."
        )
