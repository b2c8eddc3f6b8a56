"""The Hub-ready folder of a chosen point: card, recipe, results, figures, and on request the weights."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mergekit_finance import models
from mergekit_finance.errors import DataError, ModelError, RecipeError
from mergekit_finance.recipes_export import STAGES, block, render
from mergekit_finance.sharing import body, choice, files, front_matter
from mergekit_finance.sharing.choice import Choice
from mergekit_finance.sharing.parents import Parent, required, texts
from mergekit_finance.study.config import dump

KEYS = ("merge_method", "base_model", "models", "parameters", "dtype", "out_dtype")
FIGURES = {  # caption -> words of the report's names for it
    "Gain and OG of every point on every task": ("gain-and-og", "heatmap"),
    "Score against λ or density, parents as lines": ("hyperparameters", "curves"),
}


def make(
    out: Path,
    folder: Path,
    point: str | None = None,
    hub_ids: Mapping[str, str] | None = None,
    weights: bool = False,
    samples: bool = False,
    trust_remote_code: bool = False,
) -> Choice:
    """Write the folder; a card of ours that is there is replaced."""
    chosen = choice.choose(out, point, hub_ids or {})
    _refuse(folder, out)
    if samples and not chosen.text_may_be_shared:
        raise DataError(f"{out}: --samples: some of its datasets do not allow that their text is shared")
    if weights:
        _same_models(chosen)
    scratch = _scratch(folder)
    try:
        _fill(chosen, scratch, weights, samples, trust_remote_code)
        _replace(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return chosen


def _scratch(folder: Path) -> Path:
    """A folder beside the card's, so that a card is there whole or not at all."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as fault:
        raise RecipeError(f"-o {folder}: cannot be written ({fault})") from fault


def _refuse(folder: Path, out: Path) -> None:
    """Only a new folder, an empty one, or a card of ours is written to, and nothing through a link."""
    if link := next((p for p in folder.rglob("*") if p.is_symlink() and p.is_dir()), None):
        raise DataError(f"-o {folder}: {link} is a link to a folder; remove it")
    if folder.resolve() == out.resolve():
        raise DataError(f"-o {folder}: is the study's own folder; name another")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not (folder / files.PARENTS).is_file():
            raise DataError(f"-o {folder}: is there, and is no card; name another folder")


def _same_models(chosen: Choice) -> None:
    """The weights must be made of the models that were measured."""
    for parent in chosen.parents:
        models.check_reference(parent.reference, str(chosen.out))
        if models.fingerprint(parent.reference) != parent.fingerprint:
            raise ModelError(
                f"{parent.reference}: is not the model that the study measured (its files have changed since)"
            )


def _fill(chosen: Choice, folder: Path, weights: bool, samples: bool, trust_remote_code: bool) -> None:
    """Everything; the card last, since it tells the hashes of the rest."""
    recipe = recipe_text(chosen)
    (folder / "mergekit_config.yml").write_text(recipe, encoding="utf-8")
    (folder / "study.yml").write_text(_study(chosen), encoding="utf-8")
    _results(chosen, folder / "results", samples)
    _notices(chosen, folder)
    if weights:
        write_weights(folder / "mergekit_config.yml", folder, trust_remote_code)
    facts = body.Facts(
        recipe,
        _figures(chosen.out, folder / "figures"),
        _hashes(chosen, folder),
        versions(chosen),
        samples,
        [p.relative_to(folder).as_posix() for p in sorted(folder.glob("licences/*/*"))],
    )
    card = f"---\n{front_matter.text(chosen)}\n---\n\n{body.text(chosen, facts)}"
    front_matter.check(card)
    (folder / "README.md").write_text(card, encoding="utf-8")


def recipe_text(chosen: Choice) -> str:
    """The point as a plain mergekit recipe with its `finance:` block."""
    known = chosen.known
    finance = block(known["stage"], known["constituents"], chosen.loaded.study.tasks, known["operator"])
    return render(
        ordered(known["recipe"]), finance, [STAGES[known["stage"]], f"The point {chosen.point} of a study."]
    )


def ordered(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A stored recipe, whose keys JSON sorted, in the order that people write."""
    made = {key: recipe[key] for key in KEYS if key in recipe} | dict(recipe)
    made["models"] = [
        {"model": m["model"], "parameters": dict(sorted(m["parameters"].items(), key=_rank))}
        for m in recipe["models"]
    ]
    return made


def _rank(item: tuple[str, Any]) -> int:
    return ("weight", "density", "mask_id").index(item[0])


def _study(chosen: Choice) -> str:
    """study.yml as it was run, defaults spelled out."""
    settings = dump(chosen.loaded.study)
    if chosen.loaded.limit:
        settings["limit"] = chosen.loaded.limit
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


def _results(chosen: Choice, folder: Path, samples: bool) -> None:
    folder.mkdir()
    _copy(chosen.out / "summary.json", folder / "summary.json")
    for name in ("scores.json", "key.json"):
        _copy(chosen.place / name, folder / name)
    parents = {"format": 1, "point": chosen.point, "parents": [p.as_json() for p in chosen.parents]}
    parents["text_may_be_shared"] = chosen.text_may_be_shared
    _json(folder / "parents.json", parents)
    for path in chosen.place.glob("samples_*.jsonl") if samples else ():
        _copy(path, folder / path.name)


def _copy(source: Path, target: Path) -> None:
    """A study's own file; links may lead to what is nobody else's business."""
    if source.is_symlink():
        raise DataError(f"{source}: is a link, and links are not followed; run the study again")
    shutil.copyfile(source, target)


def _json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")


def _notices(chosen: Choice, folder: Path) -> None:
    """NOTICE with what licences want said, and the licence texts that lie beside the parents."""
    notices = [one.notice for one in required(chosen.parents) if one.notice]
    if notices:
        changed = "This model is a merge: the weights of its parents were changed."
        (folder / "NOTICE").write_text("\n\n".join([*notices, changed]) + "\n", encoding="utf-8")
    for parent in chosen.parents:
        _copy_texts(parent, folder / "licences" / parent.name)


def _copy_texts(parent: Parent, folder: Path) -> None:
    for path in texts(parent):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path.name)


def _figures(out: Path, folder: Path) -> dict[str, str]:
    """The heatmap and the curves over a hyperparameter, by file name with their captions."""
    ready = [] if (out / "figures").is_symlink() else sorted((out / "figures").glob("*.png"))
    there = {path.name: path.read_bytes() for path in ready if not path.is_symlink()}
    made = there or _drawn(out)
    found = {}
    for caption, words in FIGURES.items():
        name = next((n for n in made if any(word in n.lower() for word in words)), None)
        if name:
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(made[name])
            found[name] = caption
    return found


def _drawn(out: Path) -> dict[str, bytes]:
    """Drawn now, where the report has drawn nothing; nothing without matplotlib."""
    try:
        from mergekit_finance.reporting import figures, stored
    except ImportError:
        return {}
    wanted = [word for words in FIGURES.values() for word in words]
    pictures = figures.drawn(stored.load(out, False))
    return {f"{p.name}.png": p.png() for p in pictures if any(word in p.name for word in wanted)}


def versions(chosen: Choice) -> dict[str, str]:
    """What the point was made with, as its key says; else what is installed."""
    from importlib.metadata import version

    from mergekit_finance.evaluation import VERSIONS

    stored = json.loads((chosen.place / "key.json").read_text(encoding="utf-8")).get("versions")
    return dict(stored) if stored else {name: version(name) for name in VERSIONS}


def _hashes(chosen: Choice, folder: Path) -> dict[str, str]:
    shown = [
        "mergekit_config.yml",
        "results/summary.json",
        "results/scores.json",
        *sorted(path.name for path in folder.glob("*.safetensors")),
    ]
    found = {f"sha256 of {name}": sha256(folder / name) for name in shown}
    return {"stored point": chosen.known["folder"], **found}


def sha256(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 22):
            total.update(part)
    return total.hexdigest()


def write_weights(recipe: Path, folder: Path, trust_remote_code: bool = False) -> list[Path]:
    """Merge a recipe as `mergekit-yaml` does, into a folder that has a card of its own."""
    from mergekit.io.tasks import LoaderCache
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    from mergekit_finance import integration
    from mergekit_finance import recipe as recipes

    integration.register()
    configuration = recipes.load(recipe).configuration()
    options = MergeOptions(write_model_card=False, quiet=True, trust_remote_code=trust_remote_code)
    LoaderCache.loaders.clear()  # class-level and never cleared: a changed file would be read stale
    before = set(folder.iterdir())
    try:
        run_merge(configuration, str(folder), options=options)
    except (RuntimeError, ValueError, KeyError, OSError) as fault:
        raise ModelError(f"mergekit could not run this merge: {type(fault).__name__}: {fault}") from fault
    finally:
        LoaderCache.loaders.clear()
    return sorted(set(folder.iterdir()) - before)


def _replace(made: Path, folder: Path) -> None:
    """Put a finished card in place: of an old one, what a card is made of goes, what a person added stays."""
    for path in sorted(folder.rglob("*"), reverse=True) if folder.exists() else ():
        name = path.relative_to(folder).as_posix()
        ours = files.matches(name, (*files.CARD, *files.WEIGHTS, *files.SAMPLES))
        if path.is_file() and ours and not files.matches(name, ("LICENSE*", "LICENCE*", "USE_POLICY*")):
            path.unlink()
    try:
        shutil.copytree(made, folder, dirs_exist_ok=True, copy_function=shutil.move)
    except OSError as fault:
        raise RecipeError(f"-o {folder}: cannot be written ({fault})") from fault
    folder.chmod(0o755)  # mkdtemp makes it private
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)  # so does mergekit
