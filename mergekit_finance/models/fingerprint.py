"""Hashes of the files of a model and of its tokenizer."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from threading import Event

from mergekit_finance.errors import ModelError
from mergekit_finance.models.chat_templates import TEMPLATES
from mergekit_finance.models.facts import fetched_folder
from mergekit_finance.models.json_files import INDEXES, shard_names
from mergekit_finance.models.reading import byte_bar, for_each_model

LEGAL = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "USE_POLICY")
LOADED = (".py", ".json", ".safetensors", ".bin", ".pt", ".pth", ".model", ".jinja")  # by any name
NOT_LOADED = (".md", ".png", ".jpg", ".svg")
TOKENIZER_FILES = ("tokenizer", "vocab", "merges", "special_tokens", "added_tokens")
BLOCK = 1 << 22  # bytes read at a time


def fingerprint(reference: str, quiet: bool = False) -> str:
    """Hash the names and contents of all files of a model that can change its outputs.

    Returns:
        16 hexadecimal digits of SHA-256. A model on the Hub is downloaded first.
    """
    return folder_fingerprint(fetched_folder(reference), quiet)


def fingerprints(references: Sequence[str], quiet: bool = False) -> dict[str, str]:
    """Return the fingerprint of each model; several are read at a time."""
    folders = {reference: fetched_folder(reference) for reference in references}
    return for_each_model(
        references, lambda reference, stopped: folder_fingerprint(folders[reference], quiet, stopped)
    )


def folder_fingerprint(folder: Path, quiet: bool = False, stopped: Event | None = None) -> str:
    """Return the hash of a model in a local folder, computed as by `fingerprint`.

    Args:
        folder: of the model.
        quiet: without a progress bar.
        stopped: once it is set, the files are not read to their end, and the hash is of no use.

    Raises:
        ModelError: a file cannot be read.
    """
    try:
        return _hash(folder, _loaded_files(folder), quiet, stopped or Event())
    except OSError as error:  # a file vanished, or may not be read
        raise ModelError(
            f"{error.filename or folder}: cannot be read ({error.strerror}). Copy or fetch the model again.",
            id="model.missing" if isinstance(error, FileNotFoundError) else "model.broken",
        ) from error


def _hash(folder: Path, files: Sequence[Path], quiet: bool, stopped: Event) -> str:
    digest = hashlib.sha256()
    with byte_bar("hash", folder.name, sum(path.stat().st_size for path in files), quiet) as bar:
        for path in files:
            digest.update(path.relative_to(folder).as_posix().encode())
            with path.open("rb") as file:
                while (block := file.read(BLOCK)) and not stopped.is_set():
                    digest.update(block)
                    bar.update(len(block))
    return digest.hexdigest()[:16]


def _loaded_files(folder: Path) -> list[Path]:
    """Return the files that transformers or mergekit may read, sorted; shards whatever their names are."""
    files = {path for path in folder.iterdir() if path.is_file() and _may_be_loaded(path)}
    files.update((folder / TEMPLATES).glob("*.jinja"))
    files.update(folder / name for index in INDEXES for name in shard_names(folder, index))
    return sorted(path for path in files if path.is_file())


def _may_be_loaded(path: Path) -> bool:
    """Return whether loading a model may read this file: not hidden files, cards, pictures or license texts.

    License texts are often added to a model after it was evaluated, and must not change its hash.
    """
    suffix, name = path.suffix.lower(), path.name.upper()
    is_legal_text = name.startswith(LEGAL) and suffix not in LOADED
    return not (name.startswith(".") or is_legal_text or suffix in NOT_LOADED)


def tokenizer_fingerprint(reference: str) -> str:
    """Hash the names and contents of a model's tokenizer files. Returns 16 hexadecimal digits of SHA-256."""
    digest = hashlib.sha256()
    for path in sorted(fetched_folder(reference).iterdir()):
        if path.is_file() and path.name.startswith(TOKENIZER_FILES):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]
