"""Read safetensors checkpoints block by block, every byte once.

`safe_open` checks a file; the blocks are read with `pread` at the offsets in its header. A memory map is not
used, because its pages count as used memory, and because truncating a mapped file kills the process.
"""

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from mergekit_finance.checks.findings import finding
from mergekit_finance.checks.model_checks import check_reference
from mergekit_finance.checks.tensors import EMBEDDINGS
from mergekit_finance.errors import ModelError
from mergekit_finance.models.buffers import is_buffer
from mergekit_finance.models.facts import SINGLE, fetched_folder, other_set
from mergekit_finance.models.json_files import read_config, shard_names
from mergekit_finance.similarity.measures import Accumulator, ReadSlice, different_shapes

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
COMPARED = 1 << 22  # elements that are compared at once
HEAD = re.compile(r"(^|\.)(lm_head|embed_out)\.weight$")


@dataclass(frozen=True)
class Stored:
    """The position of a tensor in its file."""

    file: Path
    start: int  # offset of its first byte in the file
    dtype: str  # its name in safetensors
    shape: tuple[int, ...]

    @property
    def floating(self) -> bool:
        return self.dtype in DTYPES


class Checkpoint:
    """A model's safetensors files. Creating the object checks their headers, without reading weights.

    Raises:
        ModelError: the model or a file is missing or broken.
    """

    def __init__(self, reference: str) -> None:
        self.reference, folder = reference, _folder(reference)
        self.tensors: dict[str, Stored] = {}
        self.ties = _ties(folder)  # None: config.json has no such key
        self._open: dict[Path, int] = {}
        for file in _files(folder, reference):
            self.tensors |= _header(file, reference)

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])

    def source(self, name: str) -> ReadSlice:
        """Return a function that reads parts of one tensor."""
        stored = self.tensors[name]
        dtype, handle = DTYPES[stored.dtype], self._handle(stored.file)

        def read(low: int, high: int) -> torch.Tensor:
            raw: NDArray[np.uint8] = np.empty((high - low) * dtype.itemsize, np.uint8)
            if os.preadv(handle, [raw.data], stored.start + low * dtype.itemsize) != raw.nbytes:
                raise ModelError(f"{self.reference}: {stored.file.name} became shorter while it was read.")
            return torch.from_numpy(raw).view(dtype)

        return read

    def _handle(self, file: Path) -> int:
        if file not in self._open:
            self._open[file] = os.open(file, os.O_RDONLY)
        return self._open[file]


class CheckpointFamily:
    """Checkpoints with equal tensor names and shapes: the base first, then the other models.

    Raises:
        ModelError: a model is missing or broken, or tensors or shapes differ.
    """

    def __init__(self, references: Sequence[str]) -> None:
        self.checkpoints = [Checkpoint(reference) for reference in references]
        self.names, self.skipped = _common_tensors(self.checkpoints)

    @property
    def bytes(self) -> int:
        """The number of bytes that `measure` reads."""
        return sum(self._width(name) * self._elements(name) for name in self.names)

    def measure(
        self, accumulator: Accumulator, progress: Callable[[int], object] = lambda count: None
    ) -> None:
        """Send every tensor through the accumulator, then close the files.

        Args:
            progress: called with the number of bytes read since the last call.
        """
        try:
            for name in self.names:
                shape = self.checkpoints[0].tensors[name].shape
                sources = [checkpoint.source(name) for checkpoint in self.checkpoints]
                accumulator.add_sources(name, shape, sources, _in_bytes(progress, self._width(name)))
        finally:
            for checkpoint in self.checkpoints:
                checkpoint.close()

    def _elements(self, name: str) -> int:
        return prod(self.checkpoints[0].tensors[name].shape)

    def _width(self, name: str) -> int:
        """Return the bytes of one element, over all models."""
        return sum(DTYPES[checkpoint.tensors[name].dtype].itemsize for checkpoint in self.checkpoints)


def _in_bytes(progress: Callable[[int], object], width: int) -> Callable[[int], object]:
    return lambda elements: progress(elements * width)


def _common_tensors(checkpoints: Sequence[Checkpoint]) -> tuple[list[str], list[str]]:
    """Return the tensors to compare, in the order of the base's files, and those that are skipped."""
    _resolve_ties(checkpoints)
    buffers = _drop_buffers(checkpoints)
    base = checkpoints[0]
    order = sorted(base.tensors, key=lambda name: (base.tensors[name].file, base.tensors[name].start))
    for other in checkpoints[1:]:
        _check_names(base, other)
        for name in order:
            shape, expected = other.tensors[name].shape, base.tensors[name].shape
            if shape != expected:
                raise different_shapes(name, other.reference, shape, base.reference, expected)
    skipped = [name for name in order if not all(c.tensors[name].floating for c in checkpoints)]
    return [name for name in order if name not in skipped], sorted([*skipped, *buffers])


def _drop_buffers(checkpoints: Sequence[Checkpoint]) -> set[str]:
    """Drop buffers that no model class loads and only some files contain. Return their names."""
    buffers = {name for checkpoint in checkpoints for name in checkpoint.tensors if is_buffer(name)}
    for checkpoint in checkpoints:
        checkpoint.tensors = {name: s for name, s in checkpoint.tensors.items() if name not in buffers}
    return buffers


def _check_names(base: Checkpoint, other: Checkpoint) -> None:
    for one, two in ((base, other), (other, base)):
        missing = sorted(one.tensors.keys() - two.tensors.keys())
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise ModelError(
                f"{two.reference}: tensor {missing[0]} is missing{more}, but {one.reference} has it.",
                id="model.tensor-missing",
            )


def _resolve_ties(checkpoints: Sequence[Checkpoint]) -> None:
    """Drop output embeddings if all models tie them; else use the input embeddings of those that do.

    transformers 5 does not tie a head that a model stores with values of its own, whatever its config says.
    """
    if all(checkpoint.ties and not _has_own_head(checkpoint) for checkpoint in checkpoints):
        for checkpoint in checkpoints:
            checkpoint.tensors = {n: s for n, s in checkpoint.tensors.items() if not HEAD.search(n)}
    heads = {name for checkpoint in checkpoints for name in checkpoint.tensors if HEAD.search(name)}
    for checkpoint in checkpoints:
        inputs = [stored for name, stored in checkpoint.tensors.items() if EMBEDDINGS.search(name)]
        # Architectures that tie by default omit the key in config.json: only an explicit false means untied.
        if checkpoint.ties is not False and len(inputs) == 1:
            checkpoint.tensors |= {head: inputs[0] for head in heads - checkpoint.tensors.keys()}


def _has_own_head(checkpoint: Checkpoint) -> bool:
    """Return whether a model stores output embeddings that differ from its input embeddings."""
    heads, inputs = ([n for n in checkpoint.tensors if one.search(n)] for one in (HEAD, EMBEDDINGS))
    if not heads or len(inputs) != 1:
        return False
    head, embeddings = (checkpoint.tensors[names[0]] for names in (heads, inputs))
    if (head.dtype, head.shape) != (embeddings.dtype, embeddings.shape) or not head.floating:
        return True
    read_head, read_embeddings = checkpoint.source(heads[0]), checkpoint.source(inputs[0])
    starts = range(0, prod(head.shape), COMPARED)
    return any(
        not torch.equal(
            *(read(low, min(low + COMPARED, prod(head.shape))) for read in (read_head, read_embeddings))
        )
        for low in starts
    )


def _folder(reference: str) -> Path:
    path = Path(os.path.expanduser(reference))
    # Local folders need no "./" here: unlike mergekit, the disk is searched before the Hub.
    checked = f"./{reference}" if os.path.exists(path) and not path.is_absolute() else reference
    check_reference(checked, "similarity")
    return path if os.path.isdir(path) else fetched_folder(reference)


def _ties(folder: Path) -> bool | None:
    """Return tie_word_embeddings of config.json, or None if it has no such key."""
    ties = read_config(folder).get("tie_word_embeddings")
    return ties if isinstance(ties, bool) else None


def _files(folder: Path, reference: str) -> list[Path]:
    if names := shard_names(folder):
        if other := other_set(folder, names):
            raise finding("model.two-sets", f"{reference} has {other} and an index of other files").as_error()
        return [folder / name for name in names]
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    raise ModelError(
        f"{reference}: the folder has no {SINGLE}, and similarity reads safetensors only. "
        "Load the model with transformers and save it with save_pretrained."
    )


def _header(file: Path, reference: str) -> dict[str, Stored]:
    """Return the tensors of a file: 8 bytes with the length of the JSON header, the header, then the data."""
    try:
        with safe_open(file, "numpy"):  # raises if the file is truncated or tensors overlap
            pass
        with file.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            header = json.loads(handle.read(length))
    except FileNotFoundError:
        raise ModelError(f"{reference}: shard {file.name} is missing, but the index lists it.") from None
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{reference}: {file.name} is not a complete safetensors file ({error}). Copy or fetch it again."
        ) from error
    header.pop("__metadata__", None)
    return {
        name: Stored(file, 8 + length + entry["data_offsets"][0], entry["dtype"], tuple(entry["shape"]))
        for name, entry in header.items()
    }
