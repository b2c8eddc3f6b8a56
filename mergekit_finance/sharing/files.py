"""Which files of a card's folder may go out. What is not named here stays, and is listed as left out."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mergekit_finance.errors import DataError
from mergekit_finance.plain import require_names, strings
from mergekit_finance.sharing.parents import Parent

PARENTS = "results/parents.json"
CARD = (
    "README.md", "mergekit_config.yml", "study.yml", "NOTICE", "LICENSE*", "LICENCE*", "USE_POLICY*",
    "licences/*/*", "results/summary.json", "results/scores.json", "results/key.json", PARENTS,
    "figures/*.png", "figures/*.svg",
)  # fmt: skip
WEIGHTS = (
    "model.safetensors", "model-*.safetensors", "model.safetensors.index.json", "config.json",
    "generation_config.json", "tokenizer*.json", "tokenizer.model", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja", "vocab.json", "merges.txt",
)  # fmt: skip
SAMPLES = ("results/samples_*.jsonl",)


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
    if not (folder / "README.md").is_file() or not (folder / PARENTS).is_file():
        raise DataError(f"{folder}: no card here; make one with `mergekit-finance card OUT -o {folder}`")
    send, left = {}, {}
    shared = _text_may_be_shared(folder)
    for path in sorted(_walk(folder)):
        name = path.relative_to(folder).as_posix()
        reason = _reason(path, name, weights, shared)
        if reason:
            left[name] = reason
        else:
            send[name] = path
    return Plan(folder, send, left)


def _walk(folder: Path) -> Iterator[Path]:
    """Files and links below a folder; links to folders are not followed."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        else:
            yield path


def _reason(path: Path, name: str, weights: bool, shared: bool) -> str:
    """Why a file stays; empty if it goes."""
    if path.is_symlink() or not path.is_file():
        return "a link, or no plain file"
    if matches(name, CARD):
        return ""
    if matches(name, WEIGHTS):
        return "" if weights else "weights: --weights sends them"
    if matches(name, SAMPLES):
        return "" if shared else "text of datasets that may not be shared"
    return "not a file of the card"


def _text_may_be_shared(folder: Path) -> bool:
    """Whether every task of the study allows that its text is shared."""
    tasks = read(folder / "results" / "summary.json").get("tasks", {})
    if read(folder / PARENTS).get("text_may_be_shared", True) is not True:
        return False  # what the study's tasks.json said
    return bool(tasks) and all(task.get("text_may_be_shared") is True for task in tasks.values())


def read(path: Path) -> dict[str, Any]:
    """A JSON file of the card."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
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
    if not found:
        raise DataError(f"{folder / PARENTS}: no parents, so licences are unknown; make the card again")
    require_names(folder / PARENTS, (text for parent in found for text in strings(parent.as_json())))
    return found
