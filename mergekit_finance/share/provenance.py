"""Check that a point of index.json is the merge whose scores its folder holds.

A card shows scores beside a recipe. A study folder may come from somebody else, so the recipe, the scores and
the models are compared with the hashes that the study stored.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from mergekit_finance.errors import DataError, RecipeError
from mergekit_finance.files import Json, JsonObject, load_yaml, read_text
from mergekit_finance.operators import OPERATORS
from mergekit_finance.study.points import Point, SourceModel
from mergekit_finance.study.read_files import read_model, read_object
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import Key, PointEntry
from mergekit_finance.study.store import SUMS, sums


def require_provenance(results: StudyResults, name: str) -> None:
    """Raise DataError, in one line, unless a point's recipe is the one that was measured.

    Checks that key.json has the hash in the folder's name; that the stored files are unchanged; that name,
    values, operator and constituents follow from the recipe; and that the recipe and its models are those of
    key.json.
    """
    entry, folder = results.points[name], results.place(name)
    index = results.folder / "index.json"
    key = require_stored_key(folder)
    if entry.folder != f"{entry.name}-{key.digest}":
        raise _error(folder / "key.json", "does not have the hash in its folder's name")
    if not is_consistent(entry):
        raise _error(index, f"the recipe of {name} does not agree with its name and values")
    recipe, measured = entry.recipe.as_json(), key.merge
    if measured is None or _without_models(recipe) != _without_models(measured):
        raise _error(index, f"the recipe of {name} is not the one that was measured")
    _require_same_models(results, name, recipe, measured)


def require_stored_key(folder: Path) -> Key:
    """Return the key of a model's results. Raises DataError unless its hash is in the folder's name.

    The other files must be those that the study wrote, too.
    """
    key = read_model(Key, folder / "key.json")
    if not folder.name.endswith(f"-{key.digest}"):
        raise _error(folder / "key.json", "does not have the hash in its folder's name")
    _require_unchanged_files(folder)
    return key


def _require_unchanged_files(folder: Path) -> None:
    """Compare the files with files.json. Older studies have none; the folder's name covers key.json."""
    if not (folder / SUMS).exists():
        return
    recorded, current = read_object(folder / SUMS), sums(folder)
    for name, value in recorded.items():
        if current.get(name) != value:
            raise _error(folder / name, "has changed since the study wrote it")


def is_consistent(entry: PointEntry) -> bool:
    """Return whether a point's recipe is the one that a study would write for its name and values."""
    recipe = entry.recipe.as_json()
    try:
        point = _rebuilt(entry, recipe)
        expected = {**point.recipe(), "dtype": recipe["dtype"]}
        names_agree = point.name == entry.name and list(point.constituents) == entry.references
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    return names_agree and expected == recipe


def _rebuilt(entry: PointEntry, recipe: JsonObject) -> Point:
    if entry.operator not in OPERATORS:
        return _rebuilt_method(entry, recipe)
    parameters = recipe["parameters"]
    if not isinstance(parameters, dict):
        raise TypeError("parameters")
    return Point(
        stage=entry.stage,
        combination=tuple(entry.combination),
        operator=entry.operator,
        values=entry.values,
        sources=tuple(SourceModel(str(m.parameters["mask_id"]), m.model) for m in entry.recipe.models),
        base=entry.recipe.base_model or "",
        semantics=str(parameters["semantics"]),
        out_dtype=str(recipe["out_dtype"]),
    )


def _rebuilt_method(entry: PointEntry, recipe: JsonObject) -> Point:
    """Return the point of a merge method of mergekit: its recipe has no names of models."""
    base, merged = entry.recipe.base_model or "", entry.references
    if entry.stage == 1:
        base, *merged = entry.references
    if len(merged) != entry.stage:
        raise ValueError("number of models")
    names = entry.combination if entry.stage < 3 else [*map(str, range(3))]
    names = entry.combination if len(entry.combination) == len(merged) else names
    return Point(
        stage=entry.stage,
        combination=tuple(entry.combination),
        operator=entry.operator,
        values=entry.values,
        sources=tuple(map(SourceModel, names, merged)),
        base=base,
        semantics="mergekit",
        out_dtype=str(recipe["out_dtype"]),
    )


def _require_same_models(
    results: StudyResults, name: str, recipe: JsonObject, measured: Mapping[str, Json]
) -> None:
    """Compare the models with key.json, which has fingerprints in place of references."""
    index = results.folder / "index.json"
    fingerprints = {model.reference: model.fingerprint for model in results.models.values()}
    merged_again = _merged_again(results.place(name) / "recipe.yml")
    for reference, fingerprint in zip(_models(recipe), _models(measured), strict=True):
        if reference in fingerprints:
            is_same = fingerprints[reference] == fingerprint
        else:
            is_same = Path(reference).name in merged_again
        if not is_same:
            raise _error(index, f"{reference} in {name} is not the model that the study measured")


def _entries(recipe: Mapping[str, Json]) -> list[dict[str, Json]]:
    entries = recipe.get("models")
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _without_models(recipe: Mapping[str, Json]) -> JsonObject:
    """Return a recipe with empty references of models."""
    base = {"base_model": ""} if recipe.get("base_model") else {}
    return {**recipe, **base, "models": [{**entry, "model": ""} for entry in _entries(recipe)]}


def _models(recipe: Mapping[str, Json]) -> Iterator[str]:
    """Yield the references of a recipe: the base if it has one, then the merged models."""
    if base := recipe.get("base_model"):
        yield str(base)
    yield from (str(entry.get("model")) for entry in _entries(recipe))


def _merged_again(recipe_file: Path) -> set[str]:
    """Return the folder names of merges that a recipe merges again (`chain: best`).

    index.json has no fingerprints of those, but their folder names contain the hash of what made them.
    """
    try:
        content = load_yaml(read_text(recipe_file), str(recipe_file))
    except (OSError, ValueError, RecipeError):
        return set()
    paths = [Path(reference) for reference in _models(content)] if isinstance(content, dict) else []
    return {path.name for path in paths if path.parent.name == "selected"}


def _error(path: Path, problem: str) -> DataError:
    return DataError(f"{path}: {problem}. To repair it, run the study again.")
