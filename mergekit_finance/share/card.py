"""The Hub-ready folder of a chosen point: card, recipe, results, figures, and on request the weights."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mergekit_finance.checks.model_checks import check_reference
from mergekit_finance.errors import DataError, MergekitFinanceError, ModelError, RecipeError
from mergekit_finance.files import sha256_file
from mergekit_finance.merging.on_disk import merge_to_folder
from mergekit_finance.models.fingerprint import fingerprint
from mergekit_finance.recipe.load import load as load_recipe
from mergekit_finance.share import body, choice, front_matter, manifest
from mergekit_finance.share.choice import Choice
from mergekit_finance.share.source_models import SourceModel, is_hub_id, license_files, required_licenses
from mergekit_finance.share.stored import read
from mergekit_finance.study.config import dump
from mergekit_finance.study.export import STAGES, block, render
from mergekit_finance.study.results import load_results

KEYS = ("merge_method", "base_model", "models", "parameters", "dtype", "out_dtype")
OF_STUDY = ("points", "selected", ".locks", "figures")
FIGURES = {  # the report's names for them -> caption
    "2-gain-and-og": "Gain and OG of the selected points on every task",
    "4-hyperparameters": "Score against λ or density, constituents as lines",
}
UNSWEPT = {**FIGURES, "4-hyperparameters": "Score of every combination, constituents as strokes"}


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
    links = [folder] if folder.is_symlink() else folder.rglob("*")
    if link := next((p for p in links if p.is_symlink() and (p == folder or p.is_dir())), None):
        raise DataError(f"-o {folder}: {link} is a link to a folder, which is not followed. Remove it.")
    if folder.resolve() == out.resolve():
        raise DataError(f"-o {folder}: is the study's own folder. Choose another one.")
    if any(folder.resolve().is_relative_to((out / name).resolve()) for name in OF_STUDY):
        raise DataError(f"-o {folder}: belongs to the study. Choose another folder.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not (folder / manifest.MANIFEST).is_file():
            raise DataError(f"-o {folder}: exists and is not a card. Choose another folder.")


def _same_models(chosen: Choice) -> None:
    """The weights must be made of the models that were measured."""
    for model in chosen.models:
        check_reference(model.reference, str(chosen.out))
        if fingerprint(model.reference) != model.fingerprint:
            raise ModelError(
                f"{model.reference}: is not the model that the study measured (its files have changed since)"
            )


def _fill(chosen: Choice, folder: Path, weights: bool, samples: bool, trust_remote_code: bool) -> None:
    """Everything; the card last, since it tells the hashes of the rest."""
    recipe = recipe_text(chosen)
    (folder / "mergekit_config.yml").write_text(recipe, encoding="utf-8")
    (folder / "study.yml").write_text(_study(chosen), encoding="utf-8")
    _results(chosen, folder / "results", samples)
    _notices(chosen, folder)
    if weights:
        _weights(chosen, folder, trust_remote_code)
    facts = body.Facts(
        recipe,
        _figures(chosen.out, folder / "figures"),
        _hashes(chosen, folder),
        versions(chosen),
        samples,
        [p.relative_to(folder).as_posix() for p in sorted(folder.glob("licenses/*/*"))],
    )
    card = f"---\n{front_matter.text(chosen)}\n---\n\n{body.text(chosen, facts)}"
    front_matter.check(card)
    (folder / "README.md").write_text(card, encoding="utf-8")
    _json(folder / manifest.MANIFEST, {"format": 1, "files": manifest.hashes_of(folder)})


def _weights(chosen: Choice, folder: Path, trust_remote_code: bool) -> None:
    """What fails is the point's recipe: its file in the scratch folder is gone when people read of it."""
    recipe = folder / "mergekit_config.yml"
    try:
        write_weights(recipe, folder, trust_remote_code)
    except MergekitFinanceError as fault:
        told = str(fault).replace(str(recipe), f"the recipe of {chosen.point}")
        raise type(fault)(told.replace(str(folder), "the card's folder")) from fault


def recipe_text(chosen: Choice) -> str:
    """The point as a plain mergekit recipe with its `finance:` block."""
    known = chosen.known
    finance = block(known["stage"], known["constituents"], chosen.loaded.macro, known["operator"])
    comments = [STAGES[known["stage"]], f"The point {chosen.point} of a study."]
    names = {p.reference: p.hub_id for p in chosen.models if p.hub_id and not is_hub_id(p.reference)}
    lines = render(ordered(known["recipe"]), finance, comments).splitlines()
    return "".join(f"{line}{_on_the_hub(line, names)}\n" for line in lines)


def _on_the_hub(line: str, names: Mapping[str, str]) -> str:
    """A comment beside a local model: what the Hub calls it."""
    key, _, value = line.strip().removeprefix("- ").partition(": ")
    if key not in ("base_model", "model"):
        return ""
    name = names.get(str(yaml.safe_load(value)))
    return f"  # on the Hub: {name}" if name else ""


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
    models = {"format": 1, "point": chosen.point, "models": [m.as_json() for m in chosen.models]}
    models["text_may_be_shared"] = chosen.text_may_be_shared
    _json(folder / "models.json", models)
    for path in chosen.place.glob("samples_*.jsonl") if samples else ():
        _copy(path, folder / path.name)


def _copy(source: Path, target: Path) -> None:
    """A study's own file; links may lead to what is nobody else's business."""
    if source.is_symlink() or not source.is_file():
        what = "a link, and links are not followed" if source.is_symlink() else "no file"
        raise DataError(f"{source}: is {what}; run the study again")
    shutil.copyfile(source, target)


def _json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")


def _notices(chosen: Choice, folder: Path) -> None:
    """NOTICE with what licenses require, and the license texts beside the source models."""
    notices = [one.notice for one in required_licenses(chosen.models) if one.notice]
    if notices:
        changed = "This model is a merge: the weights of its source models were changed."
        (folder / "NOTICE").write_text("\n\n".join([*notices, changed]) + "\n", encoding="utf-8")
    for model in chosen.models:
        _copy_texts(model, folder / "licenses" / model.name)


def _copy_texts(model: SourceModel, folder: Path) -> None:
    for path in license_files(model):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path.name)


def _figures(out: Path, folder: Path) -> dict[str, str]:
    """The heatmap and the curves over a hyperparameter, by file name with their captions.

    Drawn now: what lies in OUT/figures may be of older results, or somebody's own.
    """
    made, captions = _drawn(out)
    for name, data in made.items():
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.png").write_bytes(data)
    return {f"{name}.png": caption for name, caption in captions.items() if name in made}


def _drawn(out: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """Pictures and captions by the report's names; nothing without matplotlib."""
    try:
        from mergekit_finance.report import figures
        from mergekit_finance.report.figures.curves import has_curves
    except ImportError:
        return {}, {}
    results = load_results(out)
    made = {p.name: p.png() for p in figures.draw_all(results) if p.name in FIGURES}
    return made, FIGURES if has_curves(results) else UNSWEPT


def versions(chosen: Choice) -> dict[str, str]:
    """What the point was made with, as its key says; else what is installed."""
    from importlib.metadata import version

    from mergekit_finance.evaluation.keys import PACKAGES, recorded_versions

    recorded = recorded_versions(read(chosen.place / "key.json"))
    return recorded or {name: version(name) for name in PACKAGES}


def _hashes(chosen: Choice, folder: Path) -> dict[str, str]:
    shown = [
        "mergekit_config.yml",
        "results/summary.json",
        "results/scores.json",
        *sorted(path.name for path in folder.glob("*.safetensors")),
    ]
    found = {f"sha256 of {name}": sha256_file(folder / name) for name in shown}
    return {"stored point": chosen.known["folder"], **found}


def write_weights(recipe: Path, folder: Path, trust_remote_code: bool = False) -> list[Path]:
    """Merge a recipe as `mergekit-yaml` does, into a folder that has a card of its own."""
    from mergekit.options import MergeOptions  # Imported here: it takes 4.5 s, which --help should not pay.

    options = MergeOptions(write_model_card=False, quiet=True, trust_remote_code=trust_remote_code)
    return merge_to_folder(load_recipe(recipe).configuration(), folder, options)


def _replace(made: Path, folder: Path) -> None:
    """Put a finished card in place, file by file; then what only the old card had goes.

    What a person added stays: the manifest says what is ours.
    """
    old = manifest.manifest(folder) if (folder / manifest.MANIFEST).is_file() else {}
    new = manifest.manifest(made)
    _require_no_clash(made, folder, old)
    try:
        folder.mkdir(exist_ok=True)  # not the scratch folder itself: that one is private
        for name in [*(n for n in new if n != "README.md"), "README.md", manifest.MANIFEST]:
            _move(made / name, folder / name)
        for name in old.keys() - new.keys():
            _remove(folder, name, old[name])
    except OSError as fault:
        raise RecipeError(f"-o {folder}: cannot be written ({fault})") from fault
    for path in folder.glob("*.safetensors"):
        if path.name in new:  # mergekit makes them private
            path.chmod((folder / "README.md").stat().st_mode)


def _require_no_clash(made: Path, folder: Path, old: Mapping[str, str]) -> None:
    """What a person put there is not overwritten, nor are somebody's weights left beside another card."""
    for name, value in manifest.manifest(made).items():
        path = folder / name
        mine = path.exists() and name not in old and not manifest.matches(name, manifest.WEIGHTS)
        if mine and (not path.is_file() or sha256_file(path) != value):
            raise DataError(f"-o {folder}: {name} is there, and not of this card; move it away")
    recipe = "mergekit_config.yml"
    changed = old.get(recipe, "") != manifest.manifest(made)[recipe]
    for path in sorted(folder.glob("*.safetensors")) if changed else ():
        if path.name not in {**old, **manifest.manifest(made)}:
            raise DataError(f"-o {folder}: {path.name} is of another card's recipe; move it away")


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)


def _remove(folder: Path, name: str, value: str) -> None:
    """A file of the old card, if it is still what we wrote; its folder, too, where nothing else is in it."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file() or path.is_symlink():
        return
    if not manifest.matches(name, manifest.WEIGHTS) and sha256_file(path) != value:
        return  # a person's by now
    path.unlink()
    if path.parent != folder and not any(path.parent.iterdir()):
        path.parent.rmdir()
