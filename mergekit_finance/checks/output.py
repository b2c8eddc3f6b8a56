"""Checks of an output path: a result must not overwrite an input.

mergekit writes into the folder of an input without a warning, while that input is still being read. Paths are
compared by what they are on disk (device and inode), so that symbolic links, hard links, bind mounts, `..`
and file systems that ignore case change nothing.
"""

import errno
import fnmatch
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mergekit_finance.checks.findings import finding
from mergekit_finance.errors import MergekitFinanceError
from mergekit_finance.files import read_object
from mergekit_finance.models.json_files import INDEXES

RESULT_FOLDERS = (
    "",
    "answers",
    "points",
    "selected",
    "figures",
    "timings",
    ".locks",
)  # folders that a run or a study writes into
ADVICE = "Choose another output directory."
OTHER_FILE = "Choose another file."
RELATIONS = {"is": "output.is-input", "lies in": "output.in-input", "holds": "output.holds-input"}

# Files that mergekit-yaml writes into its output folder, besides those of the tokenizer.
MERGED_FILES = ("*.safetensors", "*.bin", "*.json", "*.model", "*.jinja", "*.txt")
MERGED_CARD = ("README.md", "mergekit_config.yml")
CARD_MANIFEST = "results/files.json"  # that `mergekit-finance card` writes into its folder


@dataclass(frozen=True)
class Input:
    """A folder or file that is read.

    Attributes:
        name: what messages call it, for example `model ./expert`.
        path: where it is. It need not exist.
    """

    name: str
    path: Path


def model_inputs(references: Iterable[str], kind: str = "model", cache: str | None = None) -> list[Input]:
    """Return the folders that mergekit reads for model references, as far as they are on this machine.

    Args:
        references: `path`, `owner/name`, each with `@revision`; after `+` a LoRA adapter.
        kind: what messages call the model.
        cache: another cache of the Hub than huggingface_hub's own.
    """
    inputs = []
    for reference in references:
        model, _, adapter = reference.partition("+")
        for name, part in ((kind, model), ("LoRA adapter", adapter)):
            path = Path(part.partition("@")[0])
            if not part:
                continue
            if os.path.exists(path):
                inputs.append(Input(f"{name} {part}", path))
            else:
                inputs += [Input(f"{name} {part}", folder) for folder in _hub_folders(str(path), cache)]
    return inputs


def _hub_folders(repository: str, cache: str | None) -> list[Path]:
    """Return the cached folders of a Hub repository, which hold its files and the links to them."""
    from huggingface_hub import constants  # imported here to keep --help fast: it takes 0.3 s

    name = f"models--{repository.replace('/', '--')}"
    caches = {str(folder) for folder in (cache, constants.HF_HUB_CACHE) if folder}
    return [Path(folder) / name for folder in sorted(caches) if (Path(folder) / name).is_dir()]


def refusal(id: str, message: str, remedy: str = ADVICE) -> MergekitFinanceError:
    """Return the error for an output path, to be raised."""
    return finding(id, message, remedy).as_error()


def check_output(
    output: Path,
    inputs: Sequence[Input],
    option: str = "-o ",
    *,
    writes: Collection[str] = ("",),
    may_hold: Collection[str] = (),
    within_only: bool = False,
) -> None:
    """Refuse an output folder that equals, contains or is inside an input, or shares files with one.

    Args:
        output: the folder to write; it need not exist.
        inputs: what is read.
        option: stands before the path in messages.
        writes: folders below `output` that are written into.
        may_hold: folders below `output` that may hold inputs: they were written by an earlier run.
        within_only: allow an output that holds inputs, where only new files are written beside them.

    Raises:
        RecipeError: names both paths, and what to do.
    """
    if _is_too_long(output):
        message = f"{option}{str(output):.60}…: longer than the file system allows"
        raise refusal("output.not-writable", message, "Use a shorter name.")
    if os.path.exists(output) and not os.path.isdir(output):
        raise refusal("output.not-a-directory", f"{option}{output}: exists and is not a directory")
    for folder in dict.fromkeys(output / name for name in writes):
        if folder == output or os.path.exists(folder):
            for source in inputs:
                if relation := _relation(folder, source, within_only):
                    if relation == "holds" and any(_within(source.path, output / n) for n in may_hold):
                        continue
                    raise refusal(
                        RELATIONS[relation], f"{option}{folder}: {_relation_text(relation, source)}"
                    )
        _check_files(folder, inputs, option)


def _is_too_long(path: Path) -> bool:
    try:
        path.lstat()
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return False


def check_output_file(output: Path, inputs: Sequence[Input], option: str = "-o ") -> None:
    """Refuse an output file in the folder of an input, and one that is a file of an input or of any model."""
    for source in inputs:
        if source.path.is_dir() and _within(output, source.path):
            message = f"{option}{output}: {_relation_text('lies in', source)}"
            raise refusal("output.in-input", message, OTHER_FILE)
    if os.path.exists(output):
        for source in inputs:
            for path, _ in _files(source.path):
                if _same(output, path):
                    message = f"{option}{output}: is {path}, of {source.name}"
                    raise refusal("output.is-input", message, OTHER_FILE)
    target = Path(os.path.realpath(output))
    names = (*MERGED_FILES, *MERGED_CARD)
    if os.path.isfile(target) and target.name != "similarity.json" and any(map(target.match, names)):
        files = os.listdir(target.parent)
        if "config.json" in files and any(name.endswith((".safetensors", ".bin")) for name in files):
            message = f"{option}{output}: is a file of the model {target.parent}"
            raise refusal("output.is-input", message, OTHER_FILE)


def check_ending(output: Path, endings: Sequence[str], option: str = "-o ") -> None:
    """Refuse an output file whose name ends like a format that is not written, such as .xlsx.

    Args:
        output: the file. A name without an ending passes.
        endings: those that are written, each with its dot.
        option: stands before the path in messages.
    """
    ending = output.suffix.lower()
    if ending and ending not in endings:
        choices = f"{', '.join(endings[:-1])} or {endings[-1]}" if len(endings) > 1 else endings[0]
        message = f"{option}{output}: {ending} files are not written by this command"
        raise refusal("output.ending", message, f"Choose a name that ends in {choices}.")


def check_recipe_kept(recipe: Path | None, output: Path, card: bool = True, option: str = "-o ") -> None:
    """Refuse an output folder in which the recipe's own file would be overwritten.

    Args:
        recipe: the recipe's file, if there is one.
        output: the folder that a merge is written to.
        card: whether README.md and mergekit_config.yml are written, too.
    """
    if recipe is None or not output.is_dir():
        return
    patterns = (*MERGED_FILES, *(MERGED_CARD if card else ()))
    for name in sorted(os.listdir(output)):
        if any(fnmatch.fnmatch(name, p) for p in patterns) and _same(output / name, recipe):
            raise refusal(
                "output.overwrites-recipe",
                f"{option}{output}: the merge would overwrite its own recipe {recipe}",
                "Choose another output directory, or move the recipe.",
            )


def _relation_text(relation: str, source: Input) -> str:
    if relation == "is":
        return f"is the folder of {source.name}, which would be overwritten"
    if relation == "lies in":
        return f"lies in the folder of {source.name}"
    return f"holds {source.name}"


def _relation(output: Path, source: Input, within_only: bool) -> str:
    """Return how an output folder and an input relate: `is`, `lies in`, `holds`, or an empty string."""
    folder = source.path
    if not folder.is_dir():
        return "" if within_only or not _within(folder, output) else "holds"
    if _same(output, folder) or any(_same(output, place) for place in _real_folders(folder)):
        return "is"
    if _within(output, folder):
        return "lies in"
    return "holds" if not within_only and _within(folder, output) else ""


def _real_folders(folder: Path) -> set[Path]:
    """Return other folders in which the files of an input really are, through links or its index."""
    return {path.parent for path, outside in _files(folder) if outside}


def _check_files(output: Path, inputs: Sequence[Input], option: str) -> None:
    """Refuse files in the output folder that are, through links, also an input's: both would change."""
    if not output.is_dir():
        return
    by_id = {_id(path): path for path in sorted(_entries(output)) if os.path.isfile(path)}
    for source in inputs:
        for path, _ in _files(source.path):
            if target := by_id.get(_id(path)):
                raise refusal(
                    "output.shared-file",
                    f"{option}{output}: {target.name} there is the same file as {path}, of {source.name}: it "
                    "would be overwritten",
                )


def _files(place: Path) -> Iterator[tuple[Path, bool]]:
    """Yield the resolved paths of an input's files, and whether each is outside the input's folder."""
    if not place.is_dir():
        if place.is_file():
            yield Path(os.path.realpath(place)), False
        return
    home = Path(os.path.realpath(place))
    for entry in sorted([*_entries(place), *_entries(place / "blobs")]):  # blobs: of the Hub's cache
        if os.path.isfile(entry):
            path = Path(os.path.realpath(entry))
            yield path, path.parent != home
    for name in INDEXES:
        for shard in _shards(place / name):
            path = Path(os.path.realpath(place / shard))
            if os.path.isfile(path) and path.parent != home:
                yield path, True


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder; nothing if it cannot be read, which other checks report."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _shards(index: Path) -> set[str]:
    """Return the files that an index lists, or none if it is broken (other checks report that)."""
    try:
        weight_map = read_object(index, links=True).get("weight_map")
    except (OSError, ValueError):
        return set()
    files = weight_map.values() if isinstance(weight_map, dict) else ()
    return {file for file in files if isinstance(file, str) and "\0" not in file}


def _within(path: Path, folder: Path) -> bool:
    """Return whether a path, which need not exist, is a folder or lies somewhere in it."""
    folder_id = _id(folder)
    real = Path(os.path.realpath(path))
    return folder_id is not None and any(_id(place) == folder_id for place in (real, *real.parents))


def _same(one: Path, other: Path) -> bool:
    return _id(one) is not None and _id(one) == _id(other)


def _id(path: Path) -> tuple[int, int] | None:
    """Return what identifies a file or folder on this machine; None: it does not exist."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
