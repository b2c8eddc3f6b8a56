"""Read the headers of safetensors files and a few values of each tensor with NumPy, and count the bytes.

torch, mergekit and the torch part of safetensors are not imported, because loading them takes longer than a
whole `mergekit-finance check`. A header is untrusted: its length, entries and offsets are checked as the
safetensors library checks them.
"""

import os
import stat
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mergekit_finance.errors import ModelError, default_id
from mergekit_finance.files import Json, RepeatedKey, parse_json
from mergekit_finance.models.json_files import LFS_POINTER

MAX_BYTES = 64_000_000  # bytes of weight files that one check reads at most
MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors library
RANGES, RANGE = 4, 256  # sampled ranges of a tensor, and elements in one
COPY = "Copy or fetch it again"

# Bits per element, by the name of the dtype in safetensors.
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("BF16", "F16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
FLOATS = ("BF16", "F16", "F32", "F64")  # the dtypes that are merged, and whose values are sampled
Values: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class TensorFacts:
    """A tensor as declared in the header of its file.

    Attributes:
        name: the tensor's name.
        shape: the sizes of its dimensions.
        dtype: the dtype's name in safetensors, e.g. BF16.
        file: the name of its file.
        start: the offset of its first byte in the file; -1 if unknown (`.bin`).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    file: str = ""
    start: int = -1

    @property
    def count(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.count * BITS.get(self.dtype, 8) // 8


class BytesSpent(Exception):
    """Raised when a check has read the maximum number of bytes of weight files."""


class ByteReader:
    """Reads parts of files and counts their bytes.

    Attributes:
        max_bytes: the maximum number of bytes in total.
        bytes_read: the number of bytes read so far.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.bytes_read = 0

    def read(self, path: Path, places: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes at each (offset, length) of a file; a place beyond its end gives fewer bytes.

        Raises:
            BytesSpent: the total would exceed `max_bytes`; nothing is read.
            OSError: the file cannot be read, or is not a regular file.
        """
        if self.bytes_read + sum(length for _, length in places) > self.max_bytes:
            raise BytesSpent
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError("not a regular file")
        descriptor = os.open(path, os.O_RDONLY)
        try:
            parts = [os.pread(descriptor, length, offset) for offset, length in places]
        finally:
            os.close(descriptor)
        self.bytes_read += sum(map(len, parts))
        return parts

    def spend(self, count: int) -> None:
        """Count bytes that the caller reads itself. Raises BytesSpent if the total exceeds `max_bytes`."""
        if self.bytes_read + count > self.max_bytes:
            raise BytesSpent
        self.bytes_read += count


def ignore(sentence: str) -> None:
    """Default of `warn`: do nothing."""


@default_id("model.broken")
def read_header(path: Path, reader: ByteReader, warn: Callable[[str], object] = ignore) -> list[TensorFacts]:
    """Read the header of a safetensors file.

    Args:
        path: the file.
        reader: reads and counts the bytes.
        warn: called with a sentence for each key that appears twice with the same value.

    Returns:
        Its tensors in the order of their bytes.

    Raises:
        ModelError: the file is missing or truncated, or the header contradicts itself or the file's length.
        BytesSpent: the header is longer than the number of bytes that may still be read.
    """
    try:
        length = path.stat().st_size
        (first,) = reader.read(path, [(0, 8)])
        if first == LFS_POINTER[:8]:
            raise ValueError("a pointer of Git LFS: `git lfs pull` fetches the file")
        header_length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if not 2 <= header_length <= min(MAX_HEADER, length - 8):
            raise ValueError(f"its header would have {header_length} bytes")
        (text,) = reader.read(path, [(8, header_length)])
        repeated: list[RepeatedKey] = []
        header = parse_json(text.decode("utf-8"), repeated=repeated)
        if different := [key for key, is_same in repeated if not is_same]:
            raise ValueError(f"its header has {different[0]!r:.80} twice, with different values")
        tensors = _tensors(header, path.name, 8 + header_length)
        _check_cover(tensors, 8 + header_length, length)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file. {COPY}.", id="model.missing") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: truncated or broken ({error}). {COPY}.") from error
    for key, _ in repeated:
        warn(f"{path}: the header has {key!r:.80} twice")
    return tensors


def _tensors(header: Json, file: str, start: int) -> list[TensorFacts]:
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    tensors = []
    for name, entry in header.items():
        if name == "__metadata__":
            _check_metadata(entry)
            continue
        dtype, shape, offsets = _fields(entry)
        if dtype not in BITS:
            raise ValueError(f"{name!r:.80} has the unknown dtype {dtype!r:.20}")
        tensor = TensorFacts(name, shape, dtype, file, start + offsets[0])
        if offsets[1] - offsets[0] != tensor.size or tensor.count * BITS[dtype] % 8:
            raise ValueError(f"the offsets of {name!r:.80} do not match its shape")
        tensors.append(tensor)
    return sorted(tensors, key=lambda tensor: (tensor.start, tensor.size))


def _check_metadata(entry: Json) -> None:
    """Raise ValueError for metadata that the safetensors library does not read."""
    if entry is not None and not (
        isinstance(entry, Mapping) and all(isinstance(value, str) for value in entry.values())
    ):
        raise ValueError("the __metadata__ of its header is not a mapping of texts")


def _fields(entry: Json) -> tuple[str, tuple[int, ...], tuple[int, int]]:
    """Return the dtype, shape and offsets of an entry of a header."""
    if isinstance(entry, Mapping):
        dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
        if isinstance(dtype, str) and isinstance(shape, list) and isinstance(offsets, list):
            sizes, places = _naturals(shape), _naturals(offsets)
            if len(places) == 2 and len(sizes) <= 64:
                return dtype, sizes, (places[0], places[1])
    raise ValueError("an entry of its header is not a tensor")


def _naturals(values: Sequence[Json]) -> tuple[int, ...]:
    numbers = [v for v in values if isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 1 << 63]
    if len(numbers) != len(values):
        raise ValueError("a shape or offset in its header is not a natural number")
    return tuple(numbers)


def _check_cover(tensors: Sequence[TensorFacts], start: int, length: int) -> None:
    """Raise ValueError unless the tensors fill the file from the header to the end, without gaps."""
    for tensor in tensors:
        if tensor.start != start:
            raise ValueError(f"{tensor.name!r:.80} does not begin at the end of the previous tensor")
        start += tensor.size
    if start != length:
        raise ValueError(f"it has {length} bytes, but its header describes {start}")


# ---- values


def sample_ranges(count: int) -> list[tuple[int, int]]:
    """Return the sampled ranges of a tensor, each as (first element, number of elements).

    A small tensor is one range; a larger one has four ranges of 256 elements, the first at the start and the
    last at the end. They depend only on `count`, so that tensors of one shape are compared element by
    element.
    """
    if count <= RANGES * RANGE:
        return [(0, count)] if count else []
    return [((count - RANGE) * i // (RANGES - 1), RANGE) for i in range(RANGES)]


def read_samples(folder: Path, tensors: Sequence[TensorFacts], reader: ByteReader) -> dict[str, Values]:
    """Return by name the values at `sample_ranges` of every floating-point tensor, float32 arrays.

    Raises:
        BytesSpent: the total would exceed the bytes that may be read.
        OSError: a file cannot be read.
    """
    samples: dict[str, Values] = {}
    by_file: dict[str, list[TensorFacts]] = {}
    for tensor in tensors:
        if tensor.dtype in FLOATS and tensor.start >= 0:
            by_file.setdefault(tensor.file, []).append(tensor)
    for name, stored in by_file.items():
        places, owners = [], []
        for tensor in stored:
            element = BITS[tensor.dtype] // 8
            for first, number in sample_ranges(tensor.count):
                places.append((tensor.start + first * element, number * element))
                owners.append(tensor)
        parts: dict[str, list[bytes]] = {}
        for tensor, part in zip(owners, reader.read(folder / name, places), strict=True):
            parts.setdefault(tensor.name, []).append(part)
        for tensor in stored:
            samples[tensor.name] = decode(b"".join(parts.get(tensor.name, ())), tensor.dtype)
    return samples


def decode(data: bytes, dtype: str) -> Values:
    """Return stored floats of a dtype in FLOATS as float32. Too large float64 values become infinite."""
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").astype(np.float32, copy=False)
    with np.errstate(over="ignore"):
        kinds = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
        return np.frombuffer(data, kinds[dtype]).astype(np.float32)
