"""Which files of a card's folder may be shared. Files that are not listed here are never sent."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from mergekit_finance.errors import DataError, MergekitFinanceError
from mergekit_finance.files import load_yaml, read_text, sha256_file
from mergekit_finance.share.card_files import (
    MANIFEST,
    MEASURED,
    MODELS,
    MODELS_BEFORE,
    SUMMARY,
    card_manifest,
    read_models,
    read_summary,
    stored_source_models,
)
from mergekit_finance.share.source_models import is_hub_id

TEXTS = ("README.md", "mergekit_config.yml", "study.yml")  # of the card; people may edit them
ADDED = ("LICENSE", "LICENSE.txt", "LICENSE.md", "USE_POLICY", "USE_POLICY.md", "NOTICE")  # people may add
RESULTS = (SUMMARY, *MEASURED, MODELS, MODELS_BEFORE)
UNCHANGED = ("licenses/*/*", "licences/*/*", "figures/*.png", "figures/*.svg")  # only as `card` wrote them
SAMPLES = ("results/samples_*.jsonl",)
SHARD = "model-NNNNN-of-NNNNN.safetensors".replace("N", "[0-9]")
WEIGHTS = (  # as mergekit names them
    "model.safetensors", SHARD, "model.safetensors.index.json", "config.json",
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "vocab.json", "merges.txt",
)  # fmt: skip


@dataclass(frozen=True)
class UploadPlan:
    """The files that would be sent, and those that would not.

    Attributes:
        folder: the card's folder.
        send: path in the repository -> file.
        left_out: path in the folder -> why the file is not sent.
    """

    folder: Path
    send: dict[str, Path]
    left_out: dict[str, str]

    @property
    def has_weights(self) -> bool:
        """Whether weights would be sent."""
        return any(name.endswith(".safetensors") for name in self.send)

    @property
    def missing_weights(self) -> list[str]:
        """Weight files that the card lists but that would not be sent: the model would be incomplete."""
        return [
            name for name in card_manifest(self.folder) if matches(name, WEIGHTS) and name not in self.send
        ]

    @property
    def size(self) -> int:
        """Bytes of all files that would be sent."""
        return sum(path.stat().st_size for path in self.send.values())


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Return whether a path fits a shell pattern; as in a shell, a star does not match a slash."""
    parts = name.split("/")
    return any(
        len(pattern_parts := pattern.split("/")) == len(parts) and all(map(fnmatchcase, parts, pattern_parts))
        for pattern in patterns
    )


def plan_upload(folder: Path, weights: bool) -> UploadPlan:
    """Return which files of a card's folder are sent and which are left out.

    Raises:
        DataError: the folder holds no card, or its files are damaged, or its scores were changed.
    """
    if not (folder / "README.md").is_file() or not (folder / MANIFEST).is_file():
        raise DataError(f"{folder}: no card here. Make one with `mergekit-finance card OUT -o {folder}`.")
    _require_front_matter(folder / "README.md")
    send, left_out = {}, {}
    text_allowed, recorded = _text_may_be_shared(folder), card_manifest(folder)
    for name, sha256 in recorded.items():
        if matches(name, RESULTS) and not (folder / name).exists():
            raise DataError(f"{folder / name}: is missing. Make the card again.")
        if name in MEASURED and (folder / name).is_file() and sha256_file(folder / name) != sha256:
            raise DataError(f"{folder / name}: was changed since the card was made. Make the card again.")
    for path in sorted(_walk(folder)):
        name = path.relative_to(folder).as_posix()
        reason = reason_to_leave_out(path, name, weights, text_allowed, recorded)
        if reason:
            left_out[name] = reason
        else:
            send[name] = path
    return UploadPlan(folder, send, left_out)


def _require_front_matter(card: Path) -> None:
    """Raise DataError unless a card begins with YAML between two lines of ---, as the Hub needs."""
    try:
        parts = read_text(card).split("---\n", 2)
        is_card = len(parts) == 3 and not parts[0] and isinstance(load_yaml(parts[1], str(card)), dict)
    except (OSError, ValueError, MergekitFinanceError):
        is_card = False
    if not is_card:
        raise DataError(
            f"{card}: does not begin with the metadata of a card, YAML between two lines of ---. Correct it, "
            "or make the card again."
        )


def hashes_of(folder: Path) -> dict[str, str]:
    """Return name -> sha256 of every file in a folder."""
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in sorted(_walk(folder))}


def _walk(folder: Path) -> Iterator[Path]:
    """Yield files and links below a folder, without entering linked folders."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        else:
            yield path


def reason_to_leave_out(
    path: Path, name: str, weights: bool, text_allowed: bool, recorded: Mapping[str, str]
) -> str:
    """Return why a file is not sent, or empty text if it is.

    Args:
        weights: whether weights are sent.
        text_allowed: whether text of the datasets may be shared.
        recorded: the card's manifest. Of weights, figures, samples and license texts the hash must match,
            because a name alone does not show that `card` wrote them.
    """
    if path.is_symlink() or not path.is_file():
        return "a link, or not a regular file"
    if any(part.startswith(".") for part in name.split("/")):
        return "hidden"
    if name in (*ADDED, MANIFEST):
        return ""
    if matches(name, WEIGHTS) and not weights:
        return "weights: sent only with --weights"
    if name not in recorded or not matches(name, (*TEXTS, *RESULTS, *UNCHANGED, *SAMPLES, *WEIGHTS)):
        return "not a file of the card"
    if matches(name, (*UNCHANGED, *SAMPLES, *WEIGHTS)) and sha256_file(path) != recorded[name]:
        return "changed since the card was made"
    if matches(name, SAMPLES) and not text_allowed:
        return "text of datasets that may not be shared"
    return ""


def _text_may_be_shared(folder: Path) -> bool:
    """Return whether every task of the study allows sharing its text."""
    if not read_models(folder).text_may_be_shared:
        return False
    tasks = read_summary(folder).all_tasks
    return bool(tasks) and all(task.text_may_be_shared is True for task in tasks)


def local_paths_note(folder: Path) -> str:
    """Return one line on local paths that the card would publish, or empty text if there are none."""
    paths = local_paths(folder)
    if not paths:
        return ""
    count = "1 local path" if len(paths) == 1 else f"{len(paths)} local paths"
    return f"The files contain {count} (references of models, for example {paths[0]}), which will be public."


def local_paths(folder: Path) -> list[str]:
    """Return references of models in the card's files that are paths on this machine."""
    references = [model.reference for model in read_summary(folder).models.values()]
    references += [model.reference for model in stored_source_models(folder)]
    return sorted({ref for ref in references if isinstance(ref, str) and not is_hub_id(ref)})
