"""Which files of a card's folder may go out. What is not named here stays, and is listed as left out."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mergekit_finance.errors import DataError
from mergekit_finance.files import parse_json, require_names, strings
from mergekit_finance.share.parents import Parent, is_hub_id

PARENTS = "results/parents.json"
MANIFEST = "results/files.json"  # what `card` wrote: name -> sha256
TEXTS = ("README.md", "mergekit_config.yml", "study.yml")  # of the card, and people may edit them
ADDED = ("LICENSE", "LICENSE.txt", "LICENSE.md", "USE_POLICY", "USE_POLICY.md", "NOTICE")  # people may add
RESULTS = ("results/summary.json", "results/scores.json", "results/key.json", PARENTS)
WHOLE = ("licences/*/*", "figures/*.png", "figures/*.svg")  # only as `card` wrote them
CHANGED = "changed since the card was made"
SAMPLES = ("results/samples_*.jsonl",)
SHARD = "model-NNNNN-of-NNNNN.safetensors".replace("N", "[0-9]")
WEIGHTS = (  # as mergekit names them
    "model.safetensors", SHARD, "model.safetensors.index.json", "config.json",
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "vocab.json", "merges.txt",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What would be sent, by its path in the repository, and what stays, with the reason."""

    folder: Path
    send: dict[str, Path]
    left: dict[str, str]

    @property
    def weights(self) -> bool:
        return any(name.endswith(".safetensors") for name in self.send)

    @property
    def lost(self) -> list[str]:
        """Weights that the card tells of and that are not sent: without them the rest is another model."""
        return [name for name in manifest(self.folder) if matches(name, WEIGHTS) and name not in self.send]

    @property
    def size(self) -> int:
        return sum(path.stat().st_size for path in self.send.values())


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Like a shell: a star does not cross a slash."""
    parts = name.split("/")
    return any(
        len(wanted := pattern.split("/")) == len(parts) and all(map(fnmatchcase, parts, wanted))
        for pattern in patterns
    )


def plan(folder: Path, weights: bool) -> Plan:
    """Sort every file of the folder into what goes and what stays."""
    if not (folder / "README.md").is_file() or not (folder / MANIFEST).is_file():
        raise DataError(f"{folder}: no card here; make one with `mergekit-finance card OUT -o {folder}`")
    send, left = {}, {}
    shared, wrote = _text_may_be_shared(folder), manifest(folder)
    for path in sorted(_walk(folder)):
        name = path.relative_to(folder).as_posix()
        reason = _reason(path, name, weights, shared, wrote)
        if reason:
            left[name] = reason
        else:
            send[name] = path
    return Plan(folder, send, left)


def manifest(folder: Path) -> dict[str, str]:
    """What `card` wrote into this folder: name -> sha256."""
    found = read(folder / MANIFEST).get("files")
    if not isinstance(found, dict) or not all(isinstance(x, str) for x in found.values()):
        raise DataError(f"{folder / MANIFEST}: no files; make the card again")
    return found


def written(folder: Path) -> dict[str, str]:
    """A manifest of all that is in a folder that is just made."""
    return {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(_walk(folder))}


def sha256(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 22):
            total.update(part)
    return total.hexdigest()


def _walk(folder: Path) -> Iterator[Path]:
    """Files and links below a folder; links to folders are not followed."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        else:
            yield path


def _reason(path: Path, name: str, weights: bool, shared: bool, wrote: Mapping[str, str]) -> str:
    """Why a file stays; empty if it goes."""
    if path.is_symlink() or not path.is_file():
        return "a link, or no plain file"
    if any(part.startswith(".") for part in name.split("/")):
        return "hidden"
    if name in (*ADDED, MANIFEST):
        return ""
    if matches(name, WEIGHTS) and not weights:
        return "weights: --weights sends them"
    return _not_written(path, name, wrote) or _text(name, shared)


def _not_written(path: Path, name: str, wrote: Mapping[str, str]) -> str:
    """Why a file is none that `card` wrote; of weights or a licence a name alone says too little."""
    if name not in wrote or not matches(name, (*TEXTS, *RESULTS, *WHOLE, *SAMPLES, *WEIGHTS)):
        return "not a file of the card"
    if matches(name, (*WHOLE, *SAMPLES, *WEIGHTS)) and sha256(path) != wrote[name]:
        return CHANGED
    return ""


def _text(name: str, shared: bool) -> str:
    return "text of datasets that may not be shared" if matches(name, SAMPLES) and not shared else ""


def _text_may_be_shared(folder: Path) -> bool:
    """Whether every task of the study allows that its text is shared."""
    tasks = _mapping(folder / "results" / "summary.json", "tasks")
    if read(folder / PARENTS).get("text_may_be_shared", True) is not True:
        return False  # what the study's tasks.json said
    return bool(tasks) and all(task.get("text_may_be_shared") is True for task in tasks.values())


def _mapping(path: Path, key: str) -> Mapping[str, Mapping[str, Any]]:
    """A mapping of mappings in a JSON file of the card."""
    found = read(path).get(key, {})
    if not isinstance(found, dict) or not all(isinstance(part, dict) for part in found.values()):
        raise DataError(f"{path}: {key} are not what a study writes; make the card again")
    return found


def read(path: Path) -> dict[str, Any]:
    """A JSON file of the card."""
    if path.is_symlink() or path.parent.is_symlink():
        raise DataError(f"{path}: is behind a link, and links are not followed; make the card again")
    try:
        if path.exists() and not path.is_file():
            raise OSError("is no file")  # a pipe would be waited for, forever
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise DataError(f"{path}: cannot be read ({fault}); make the card again") from fault
    if not isinstance(found, dict):
        raise DataError(f"{path}: not a card's file; make the card again")
    return found


def stored_parents(folder: Path) -> list[Parent]:
    """The parents as the card was made with."""
    try:
        found = [Parent(**parent) for parent in read(folder / PARENTS)["parents"]]
    except (KeyError, TypeError) as fault:
        raise DataError(f"{folder / PARENTS}: not a list of parents; make the card again") from fault
    if not all(map(_is_parent, found)):
        raise DataError(f"{folder / PARENTS}: not parents as a card has them; make the card again")
    if not found:
        raise DataError(f"{folder / PARENTS}: no parents, so licences are unknown; make the card again")
    require_names(folder / PARENTS, (text for parent in found for text in strings(parent.as_json())))
    return found


def _is_parent(parent: Parent) -> bool:
    texts = [parent.name, parent.reference, parent.fingerprint, parent.hub_id or ""]
    claims = parent.claims.values() if isinstance(parent.claims, dict) else [None]
    return all(isinstance(text, str) for text in (*texts, *claims))


def told_paths(folder: Path) -> str:
    """One line on what of this machine the card tells, if anything."""
    found = local_paths(folder)
    if not found:
        return ""
    paths = "1 local path" if len(found) == 1 else f"{len(found)} local paths"
    return f"The files hold {paths} (references of models, as {found[0]}), which whoever gets them can read."


def local_paths(folder: Path) -> list[str]:
    """References of models that are paths on somebody's machine, in the results and so in the card."""
    known = [*_mapping(folder / "results" / "summary.json", "models").values()]
    found = [*(model.get("reference") for model in known), *(p.reference for p in stored_parents(folder))]
    return sorted({x for x in found if isinstance(x, str) and not is_hub_id(x)})
