"""The recipes that come with the package: list them, find one by name, copy one or a whole family."""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path

from mergekit_finance.checks.output import check_output_file, model_inputs
from mergekit_finance.errors import RecipeError, did_you_mean
from mergekit_finance.files import Json, bundled, load_yaml
from mergekit_finance.operators import BY_SLUG

STUDY = "study.yml"


def recipe_families() -> list[str]:
    """Return the names of the families of recipes. A family is a folder with a study.yml."""
    return sorted(path.parent.name for path in bundled("recipes").glob(f"*/{STUDY}"))


def names(family: str | None = None) -> list[str]:
    """Return the names of the recipes of one family or of all, for example `lab/stage2-finance-math-ties`.

    They include the family's study, as `lab/study`. Raises RecipeError if there is no such family.
    """
    all_families = recipe_families()
    if family is not None and family not in all_families:
        raise RecipeError(f"recipes: no family {family!r}. {did_you_mean(family, all_families)}")
    chosen = [family] if family is not None else all_families
    return [f"{name}/{path.stem}" for name in chosen for path in _files(bundled("recipes") / name)]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.yml"))


def find_recipe(name: str) -> Path:
    """Return the file of a recipe (its name with or without `.yml`), or the folder of a family.

    Raises:
        RecipeError: there is no such recipe or family; the message suggests the nearest name.
    """
    plain = name.strip("/").removesuffix(".yml")
    if plain in recipe_families():
        return bundled("recipes") / plain
    recipes = names()
    if plain in recipes:
        return bundled("recipes") / f"{plain}.yml"
    same = [full for full in recipes if full.split("/")[1] == plain]
    if same:
        raise RecipeError(f"recipes: {name!r} is in {len(same)} families. Write one of: {', '.join(same)}")
    # Only the nearest name is shown, because the list of all names would fill a screen.
    near = difflib.get_close_matches(plain, [*recipes, *recipe_families()], n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise RecipeError(
        f"recipes: no recipe {name!r}. {hint}`mergekit-finance recipes list` shows the names; "
        f"families: {', '.join(recipe_families())}"
    )


def copy_recipes(name: str, destination: Path, force: bool = False) -> list[Path]:
    """Copy a recipe, or a family with its study.yml.

    Args:
        name: as for `find_recipe`.
        destination: the new file or folder; an existing folder gets the copy inside it.
        force: whether to overwrite files.

    Returns:
        The written files.

    Raises:
        RecipeError: there is no recipe or family of that name, a file exists, or a file cannot be written.
    """
    source = find_recipe(name)
    target = destination / source.name if destination.is_dir() else destination
    targets = {source: target} if source.is_file() else {f: target / f.name for f in _files(source)}
    for file, place in targets.items():
        references = _model_references(load_yaml(file.read_text(encoding="utf-8"), file.name))
        check_output_file(place, model_inputs(references), "")
        if place.exists() and not force:
            raise RecipeError(f"{place}: exists already. Use --force to overwrite it.")
    try:
        for file, place in targets.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
    except OSError as error:
        raise RecipeError(f"{target}: cannot be written ({error})") from error
    return list(targets.values())


def _model_references(content: Json) -> Iterator[str]:
    """Yield the references of the models in a recipe or a study."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            if key in ("base", "base_model", "model") and isinstance(value, str):
                yield value
            yield from _model_references(value)
    elif isinstance(content, list):
        for value in content:
            yield from _model_references(value)


def description(name: str) -> str:
    """Return one line about a recipe, with its stage, experts and operator, from its file name."""
    _, stem = name.split("/")
    if stem == "study":
        return "the study that the recipes of this family are exported from"
    slug = max((slug for slug in BY_SLUG if stem.endswith(f"-{slug}")), key=len)
    stage, *experts = stem.removesuffix(f"-{slug}").split("-")
    return f"stage {stage[-1]}: {' + '.join(experts)}, {BY_SLUG[slug].label}"
