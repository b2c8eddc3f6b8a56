"""Whether a point of index.json is the merge whose results its folder holds: one recipe, its scores."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from mergekit_finance.errors import DataError
from mergekit_finance.evaluation.keys import digest
from mergekit_finance.share.stored import read, text
from mergekit_finance.study.points import Point, Source
from mergekit_finance.study.store import SUMS, sums

Known = Mapping[str, Any]


def require(out: Path, known: Known, models: Mapping[str, Known], summary: Known) -> None:
    """index.json, the summary and the point's own folder tell of one merge; else one line."""
    place = out / "points" / known["folder"]
    key = read(place / "key.json")
    if known["folder"] != f"{known['name']}-{digest(key)}":
        raise _fault(place / "key.json", "is of other results than its folder's name says")
    _require_as_written(place)
    _require_one_story(out / "index.json", known)
    _require_recipe(out / "index.json", known, key.get("merge"), models)
    points = summary.get("points")
    row = points.get(known["name"]) if isinstance(points, dict) else None
    if isinstance(row, dict) and row.get("folder", known["folder"]) != known["folder"]:
        raise _fault(out / "summary.json", f"{known['name']} is of other results than index.json says")


def _require_as_written(place: Path) -> None:
    """As files.json has them; a study before it has none, and its folder's name vouches for key.json."""
    if not (place / SUMS).exists():
        return
    noted, found = read(place / SUMS), sums(place)
    for name, wanted in noted.items():
        if found.get(name) != wanted:
            raise _fault(place / name, "is not as the study wrote it")


def _require_one_story(path: Path, known: Known) -> None:
    """Name, values, operator and constituents, which the card shows, are those of the recipe; and the recipe
    has no key that a study would not write."""
    try:
        point = _rebuilt(known)
        wanted = {**point.recipe(), "dtype": known["recipe"]["dtype"]}
        same = wanted == known["recipe"] and point.name == known["name"]
        same = same and list(point.constituents) == known["constituents"]
    except (KeyError, TypeError, ValueError, AttributeError):
        same = False
    if not same:
        raise _fault(path, f"the recipe of {known['name']} is not the one that its name and values say")


def _rebuilt(known: Known) -> Point:
    recipe = known["recipe"]
    sources = tuple(Source(m["parameters"]["mask_id"], m["model"]) for m in recipe["models"])
    own = known["stage"], tuple(known["combination"]), known["operator"], known["values"]
    semantics, dtype = recipe["parameters"]["semantics"], recipe["out_dtype"]
    return Point(*own, sources, recipe["base_model"], semantics, dtype)


def _require_recipe(path: Path, known: Known, merged: Any, models: Mapping[str, Known]) -> None:
    """The recipe is that of key.json, which has models' bytes in place of names: models may have moved."""
    recipe = known["recipe"]
    try:
        same, measured = _settings(recipe) == _settings(merged), [*_models(merged)]
    except (KeyError, TypeError, ValueError, AttributeError):
        same, measured = False, []
    if not same:
        raise _fault(path, f"the recipe of {known['name']} is not the one that was measured")
    prints = {model["reference"]: model["fingerprint"] for model in models.values()}
    selected = _selected(path.parent / "points" / known["folder"] / "recipe.yml")
    for reference, bytes_ in zip(_models(recipe), measured, strict=True):
        if prints.get(reference, bytes_ if Path(reference).name in selected else None) != bytes_:
            raise _fault(path, f"{reference} in {known['name']} is not the model that the study measured")


def _settings(recipe: Known) -> dict[str, Any]:
    """A recipe without the names of its models."""
    return {**recipe, "base_model": "", "models": [{**entry, "model": ""} for entry in recipe["models"]]}


def _models(recipe: Known) -> Iterator[str]:
    yield recipe["base_model"]
    yield from (entry["model"] for entry in recipe["models"])


def _selected(path: Path) -> set[str]:
    """The merges that were merged again (`chain: best`): index.json has no bytes of theirs, but folders'
    names have the hash of all that made them."""
    try:
        found = [Path(reference) for reference in _models(yaml.safe_load(text(path)))]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return set()
    return {place.name for place in found if place.parent.name == "selected"}


def _fault(path: Path, what: str) -> DataError:
    return DataError(f"{path}: {what}; run the study again")
