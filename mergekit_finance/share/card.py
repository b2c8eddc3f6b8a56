"""Write the Hub-ready folder of a point: card, recipe, results, figures, and on request the weights."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import yaml
from pydantic import JsonValue

from mergekit_finance import strict_yaml
from mergekit_finance.checks.model_checks import check_reference
from mergekit_finance.checks.output import check_output, model_inputs
from mergekit_finance.errors import DataError, MergekitFinanceError, ModelError, RecipeError
from mergekit_finance.evaluation.keys import PACKAGES
from mergekit_finance.files import Json, sha256_file, write_json
from mergekit_finance.merging.on_disk import merge_to_folder
from mergekit_finance.models.fingerprint import fingerprint
from mergekit_finance.recipe.load import load_recipe
from mergekit_finance.share import body, front_matter
from mergekit_finance.share.card_files import MANIFEST, MODELS, CardFiles, CardModels, card_manifest
from mergekit_finance.share.choice import SharedPoint, choose_point
from mergekit_finance.share.facts import CardFacts
from mergekit_finance.share.install import install_command, published_address, require_address
from mergekit_finance.share.manifest import WEIGHTS, hashes_of, matches
from mergekit_finance.share.source_models import is_hub_id, license_files, required_licenses
from mergekit_finance.share.usage import RECIPE
from mergekit_finance.study.config import dump
from mergekit_finance.study.export import STAGES, block, render_recipe
from mergekit_finance.study.points import drawn_seed, seed_comments
from mergekit_finance.study.results import StudyResults

RECIPE_KEYS = ("merge_method", "base_model", "models", "parameters", "dtype", "out_dtype")
PARAMETER_ORDER = ("weight", "density", "mask_id")
STUDY_FOLDERS = ("answers", "points", "selected", ".locks", "figures")  # of a study's own files
FIGURES = {  # figure of the report -> caption
    "2-gain-and-og": "Gain and OG of the selected points on every task",
    "4-hyperparameters": "Score against λ or density, constituents as lines",
}
DOTS_CAPTION = "Score of every combination, constituents as strokes"  # of figure 4 without a sweep


def make(
    out: Path,
    folder: Path,
    point: str | None = None,
    hub_ids: Mapping[str, str] | None = None,
    weights: bool = False,
    samples: bool = False,
    trust_remote_code: bool = False,
    name: str = "",
    install_from: str | None = None,
) -> SharedPoint:
    """Write a card's folder and return its point. An earlier card is replaced; files that people added stay.

    Args:
        out: the folder of a finished study.
        folder: the folder to write.
        point: the point's name; default: the recommended merge, else the best one.
        hub_ids: Hub identifiers of local models, by name in the study.
        weights: merge, and write the weights too.
        samples: add prompts and answers.
        trust_remote_code: whether models may run code of their own.
        name: of the merge on the Hub, `NAME` or `OWNER/NAME`; "" for the point's name.
        install_from: address that pip installs this package from; None: where it was installed from.

    Raises:
        DataError: the study, the folder, the name or the address is not usable, or a dataset does not allow
            sharing its text.
        ModelError: a model's files have changed since the study, the merge fails, or a license requires
            another name.
        RecipeError: the folder cannot be written, or is, holds or lies in a model of the study.
    """
    if install_from is not None:
        require_address(install_from)
    choice = choose_point(out, point, hub_ids or {}, name)
    _check_target(folder, out)
    check_output(folder, model_inputs(model.reference for model in choice.models))
    if samples and not choice.text_may_be_shared:
        raise DataError(f"{out}: --samples: some of its datasets do not allow sharing their text")
    if weights:
        _require_same_models(choice)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise RecipeError(f"-o {folder}: cannot be written ({error})") from error
    try:
        _fill(choice, scratch, weights, samples, trust_remote_code, install_from)
        _replace(scratch, folder)
    except OSError as error:
        raise RecipeError(f"-o {folder}: cannot be written ({error})") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return choice


def notes_for_author(choice: SharedPoint, install_from: str | None) -> Iterator[str]:
    """Yield what the card lacks because this machine does not know it, and the option that adds it."""
    if local := [model.name for model in choice.models if not model.hub_id]:
        yield (
            f"The card's `base_model` lacks {', '.join(local)}: not on the Hub. "
            f"`--hub-id {local[0]}=OWNER/MODEL` names the model there."
        )
    if install_from is None and published_address() is None:
        yield (
            "The card does not say where mergekit-finance is installed from: this copy came from a folder. "
            "`--install-from git+https://HOST/OWNER/REPOSITORY` adds it."
        )


def _check_target(folder: Path, out: Path) -> None:
    """Raise DataError unless the folder is new, empty, or an earlier card, and free of links to folders."""
    if folder.is_symlink():
        raise DataError(f"-o {folder}: is a link to a folder, which is not followed. Choose another folder.")
    if folder.resolve() == out.resolve():
        raise DataError(f"-o {folder}: is the study's own folder. Choose another one.")
    if any(folder.resolve().is_relative_to((out / name).resolve()) for name in STUDY_FOLDERS):
        raise DataError(f"-o {folder}: belongs to the study. Choose another folder.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not (folder / MANIFEST).is_file():
            raise DataError(f"-o {folder}: exists and is not a card. Choose another folder.")
    if link := next((path for path in folder.rglob("*") if path.is_symlink() and path.is_dir()), None):
        raise DataError(f"-o {folder}: {link} is a link to a folder, which is not followed. Remove it.")


def _require_same_models(choice: SharedPoint) -> None:
    """Raise ModelError unless the models' files are those that the study measured."""
    for model in choice.models:
        check_reference(model.reference, str(choice.results.folder))
        if fingerprint(model.reference) != model.fingerprint:
            raise ModelError(
                f"{model.reference}: its files have changed since the study measured it. Run the study again."
            )


# ---- content of the folder


def _fill(
    choice: SharedPoint,
    folder: Path,
    weights: bool,
    samples: bool,
    trust_remote_code: bool,
    install_from: str | None,
) -> None:
    """Write all files; the card last, because it lists the hashes of the others."""
    recipe = point_recipe_text(choice)
    (folder / RECIPE).write_text(recipe, encoding="utf-8")
    (folder / "study.yml").write_text(_study_text(choice), encoding="utf-8")
    _write_results(choice, folder, samples)
    _write_license_texts(choice, folder)
    if weights:
        _write_weights(choice, folder, trust_remote_code)
    versions = point_versions(choice)
    address = published_address() if install_from is None else install_from
    facts = CardFacts(
        recipe=recipe,
        install=install_command(versions, address),
        has_address=address is not None,
        figures=_write_figures(choice.results, folder / "figures"),
        hashes=_hashes(choice, folder),
        versions=versions,
        has_weights=weights,
        samples=samples,
        license_texts=[p.relative_to(folder).as_posix() for p in sorted(folder.glob("licenses/*/*"))],
    )
    card = f"---\n{front_matter.front_matter_text(choice)}\n---\n\n{body.body_text(choice, facts)}"
    front_matter.check_front_matter(card)
    (folder / "README.md").write_text(card, encoding="utf-8")
    write_json(folder / MANIFEST, CardFiles(format=1, files=hashes_of(folder)).as_json())


def point_recipe_text(choice: SharedPoint) -> str:
    """Return the point as a mergekit recipe with its `finance:` block, Hub identifiers as comments."""
    entry = choice.entry
    settings = choice.results.study.task_settings  # by the names of study.yml, which may be groups
    of_macro = choice.results.macro or [n for n, t in choice.results.all_tasks.items() if t.kind == "tasks"]
    tasks = choice.results.study.tasks if settings else of_macro
    seed = drawn_seed(entry.operator, entry.values)
    finance = block(entry.stage, entry.references, tasks, entry.operator, settings, seed)
    comments = [STAGES[entry.stage], f"The point {choice.point} of a study.", *seed_comments(seed)]
    hub_ids = {m.reference: m.hub_id for m in choice.models if m.hub_id and not is_hub_id(m.reference)}
    lines = render_recipe(ordered_recipe(entry.recipe.as_json()), finance, comments).splitlines()
    return "".join(f"{line}{_hub_comment(line, hub_ids)}\n" for line in lines)


def _hub_comment(line: str, hub_ids: Mapping[str, str]) -> str:
    """Return a comment for a line that names a local model, if it is on the Hub."""
    key, _, value = line.strip().removeprefix("- ").partition(": ")
    if key not in ("base_model", "model"):
        return ""
    hub_id = hub_ids.get(str(strict_yaml.parse(value)))
    return f"  # on the Hub: {hub_id}" if hub_id else ""


def ordered_recipe(recipe: Mapping[str, Json]) -> dict[str, Json]:
    """Return a stored recipe, whose keys JSON sorted, with its keys in the order that people write."""
    ordered = {key: recipe[key] for key in RECIPE_KEYS if key in recipe} | dict(recipe)
    models = recipe["models"]
    if isinstance(models, list):
        ordered["models"] = [
            {"model": entry["model"], "parameters": _ordered_parameters(entry["parameters"])}
            for entry in models
            if isinstance(entry, dict)
        ]
    return ordered


def _ordered_parameters(parameters: Json) -> dict[str, Json]:
    if not isinstance(parameters, dict):
        return {}
    return {key: parameters[key] for key in PARAMETER_ORDER if key in parameters} | parameters


def _study_text(choice: SharedPoint) -> str:
    """Return study.yml as it was run, with its defaults, but without empty settings."""
    settings = dump(choice.results.study)
    settings.pop("include_path", None)  # a shared file must not make code run
    if isinstance(experts := settings["experts"], dict):
        combinations = [entry.combination for entry in choice.results.points.values()]
        settings["experts"] = {name: experts[name] for name in in_order_of(combinations, experts)}
    if choice.results.limit:
        settings["limit"] = choice.results.limit
    return yaml.safe_dump(without_empty_settings(settings), sort_keys=False, allow_unicode=True)


def in_order_of(combinations: Iterable[Sequence[str]], experts: Iterable[str]) -> list[str]:
    """Return experts in the order of study.yml, which names of merges depend on; study.json sorts them."""
    sorter: TopologicalSorter[str] = TopologicalSorter({name: () for name in experts})
    for combination in combinations:
        for first, second in pairwise(combination):
            sorter.add(second, first)
    return list(sorter.static_order())


def without_empty_settings(settings: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the settings of a study without empty lists and mappings, which mean the default.

    An operator without hyperparameters is an empty mapping, too, and stays.
    """
    kept = {key: _without_empty(value) for key, value in settings.items()}
    if isinstance(operators := settings.get("operators"), dict):
        kept["operators"] = {key: _without_empty(value) for key, value in operators.items()}
    return {key: value for key, value in kept.items() if value not in ([], {})}


def _without_empty(value: JsonValue) -> JsonValue:
    """Return a value without the empty lists and mappings in its mappings."""
    if not isinstance(value, dict):
        return value
    inner = {key: _without_empty(one) for key, one in value.items()}
    return {key: one for key, one in inner.items() if one not in ([], {})}


def _write_results(choice: SharedPoint, folder: Path, samples: bool) -> None:
    results = folder / "results"
    results.mkdir()
    _copy(choice.results.folder / "summary.json", results / "summary.json")
    for name in ("scores.json", "key.json"):
        _copy(choice.folder / name, results / name)
    models = CardModels(
        format=1,
        point=choice.point,
        name=choice.title,
        models=choice.models,
        text_may_be_shared=choice.text_may_be_shared,
    )
    write_json(folder / MODELS, models.as_json())
    for path in choice.folder.glob("samples_*.jsonl") if samples else ():
        _copy(path, results / path.name)


def _copy(source: Path, target: Path) -> None:
    """Copy a file of the study. Symlinks are refused: they may point outside the study."""
    if source.is_symlink() or not source.is_file():
        problem = "a symbolic link, which is not followed" if source.is_symlink() else "not a regular file"
        raise DataError(f"{source}: is {problem}. To repair it, run the study again.")
    shutil.copyfile(source, target)


def _write_license_texts(choice: SharedPoint, folder: Path) -> None:
    """Write NOTICE if a license requires it, and copy the license texts beside the source models."""
    notices = [one.notice for one in required_licenses(choice.models) if one.notice]
    if notices:
        notices.append("This model is a merge: the weights of its source models were changed.")
        (folder / "NOTICE").write_text("\n\n".join(notices) + "\n", encoding="utf-8")
    for model in choice.models:
        for path in license_files(model):
            target = folder / "licenses" / model.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _write_figures(results: StudyResults, folder: Path) -> dict[str, str]:
    """Draw two of the report's figures. Returns file name -> caption; nothing without matplotlib.

    Files in OUT/figures are not used: they may be of older results, or not of the study.
    """
    try:
        # Imported here to keep --help fast: matplotlib takes 0.7 s.
        from mergekit_finance.report import figures
        from mergekit_finance.report.figures.curves import has_curves
    except ImportError:
        return {}
    captions = dict(FIGURES) if has_curves(results) else {**FIGURES, "4-hyperparameters": DOTS_CAPTION}
    pictures = {drawn.name: drawn.png() for drawn in figures.draw_all(results, captions)}
    folder.mkdir(exist_ok=True)
    for name, data in pictures.items():
        (folder / f"{name}.png").write_bytes(data)
    return {f"{name}.png": captions[name] for name in captions if name in pictures}


def point_versions(choice: SharedPoint) -> dict[str, str]:
    """Return the versions that the point was made with, else those that are installed."""
    return choice.results.key(choice.point).all_versions or {name: version(name) for name in PACKAGES}


def _hashes(choice: SharedPoint, folder: Path) -> dict[str, str]:
    weights = sorted(path.name for path in folder.glob("*.safetensors"))
    names = [RECIPE, "results/summary.json", "results/scores.json", *weights]
    return {"folder in the study": choice.entry.folder} | {
        f"sha256 of {name}": sha256_file(folder / name) for name in names
    }


def _write_weights(choice: SharedPoint, folder: Path, trust_remote_code: bool) -> None:
    """Merge as `mergekit-yaml` does. Errors name the point, because the temporary recipe is deleted."""
    # Imported here to keep --help fast: mergekit takes 4.5 s.
    from mergekit.options import MergeOptions

    recipe = folder / RECIPE
    options = MergeOptions(write_model_card=False, quiet=True, trust_remote_code=trust_remote_code)
    try:
        loaded = load_recipe(recipe)
        options = options.model_copy(update={"random_seed": loaded.seed})
        merge_to_folder(loaded.configuration(), folder, options)
    except MergekitFinanceError as error:
        message = str(error).replace(str(recipe), f"the recipe of {choice.point}")
        raise type(error)(message.replace(str(folder), "the card's folder")) from error


# ---- replacing an earlier card


def _replace(finished: Path, folder: Path) -> None:
    """Move a finished card into place file by file, then delete files that only the earlier card had.

    The manifest says which files are the card's; others were added by people and stay.
    """
    old = card_manifest(folder) if (folder / MANIFEST).is_file() else {}
    new = card_manifest(finished)
    _require_no_conflict(new, folder, old)
    folder.mkdir(exist_ok=True)  # not the scratch folder itself, which only its owner can read
    for name in [*(n for n in new if n != "README.md"), "README.md", MANIFEST]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (finished / name).replace(folder / name)
    for name in old.keys() - new.keys():
        remove_if_unchanged(folder, name, old[name])
    for path in folder.glob("*.safetensors"):
        if path.name in new:  # mergekit makes them readable by the owner only
            path.chmod((folder / "README.md").stat().st_mode)


def _require_no_conflict(new: Mapping[str, str], folder: Path, old: Mapping[str, str]) -> None:
    """Raise DataError if the card would overwrite a person's file, or join weights of another recipe."""
    for name, value in new.items():
        path = folder / name
        is_persons = path.exists() and name not in old and not matches(name, WEIGHTS)
        if is_persons and (not path.is_file() or sha256_file(path) != value):
            raise DataError(
                f"-o {folder}: {name} exists and was not written by `card`. Move it to another place."
            )
    recipe_changed = old.get(RECIPE, "") != new[RECIPE]
    for path in sorted(folder.glob("*.safetensors")) if recipe_changed else ():
        if path.name not in {**old, **new}:
            raise DataError(f"-o {folder}: {path.name} belongs to another recipe. Move it to another place.")


def remove_if_unchanged(folder: Path, name: str, sha256: str) -> None:
    """Remove a file of the earlier card unless a person changed it; also its folder if that is empty then."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file() or path.is_symlink():
        return
    if not matches(name, WEIGHTS) and sha256_file(path) != sha256:
        return
    path.unlink()
    if path.parent != folder and not any(path.parent.iterdir()):
        path.parent.rmdir()
