"""List the tensors of a `pytorch_model.bin`, without torch and without running code from the file.

Such a file is a zip archive: `data.pkl`, a pickle that lists tensors, and one file of bytes per storage. A
pickle can call any function of any module while it is read. The unpickler here replaces the few functions
that a checkpoint of weights needs with plain records, and refuses all others.
"""

import io
import math
import pickle
import pickletools
import stat
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeAlias, TypeGuard

from mergekit_finance.errors import ModelError, default_id, first_line, printable
from mergekit_finance.models.weight_files import ByteReader, BytesSpent, TensorFacts

UNSAFE = "It was not loaded. Do not use this file."
MAX_PICKLE = 32_000_000  # bytes; that of the largest models has less than 1 MB
CONVERT = "Save the model as safetensors, for example with save_pretrained of transformers."

# The types that torch pickles for storages, with safetensors' name and the size of an element in bytes.
STORAGES = {
    "DoubleStorage": ("F64", 8),
    "FloatStorage": ("F32", 4),
    "HalfStorage": ("F16", 2),
    "BFloat16Storage": ("BF16", 2),
    "LongStorage": ("I64", 8),
    "IntStorage": ("I32", 4),
    "ShortStorage": ("I16", 2),
    "CharStorage": ("I8", 1),
    "ByteStorage": ("U8", 1),
    "BoolStorage": ("BOOL", 1),
}

Pickled: TypeAlias = object  # an unchecked value from a pickle


class UnsafePickle(ModelError):
    """A pickle that would call a function when it is unpickled."""


@dataclass(frozen=True)
class _StorageType:
    dtype: str
    element_size: int


@dataclass(frozen=True)
class _Storage:
    kind: _StorageType
    key: str
    length: int  # in elements


@dataclass(frozen=True)
class _View:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def last(self) -> int:
        """The highest element of the storage that belongs to the tensor; -1 for an empty tensor."""
        if 0 in self.shape:
            return -1
        steps = ((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        return self.offset + sum(steps)


@default_id("model.broken")
def read_pickled_tensors(path: Path, reader: ByteReader | None = None) -> list[TensorFacts]:
    """Read the list of tensors of a `.bin` file, and check that all their bytes are there.

    Args:
        path: a file written by `torch.save` of PyTorch 1.6 or later.
        reader: counts the bytes that are read.

    Returns:
        Its tensors in the order of the pickle. Their positions in the file are unknown.

    Raises:
        UnsafePickle: the pickle would call a function.
        ModelError: the file is missing or damaged, or contains anything but a mapping of tensors.
        BytesSpent: the pickle is longer than the number of bytes that may still be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ModelError(f"{path}: not a regular file. Copy or fetch it again.")
        with zipfile.ZipFile(path) as archive:
            return _tensors(archive, path, reader or ByteReader())
    except (ModelError, BytesSpent):
        raise
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file. Copy or fetch it again.", id="model.missing") from error
    except Exception as error:  # damaged archives and pickles raise errors of many types
        if _is_old_format(path):
            raise ModelError(
                f"{path}: the format is older than PyTorch 1.6 and is not supported. {CONVERT}"
            ) from error
        reason = printable(f"{first_line(error):.200}")
        raise ModelError(f"{path}: truncated or broken ({reason}). Copy or fetch it again.") from error


def _tensors(archive: zipfile.ZipFile, path: Path, reader: ByteReader) -> list[TensorFacts]:
    sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    pickles = [name for name in sizes if name.endswith("data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise ModelError(f"{path}: not a file of weights, because it has no data.pkl. {CONVERT}")
    if sizes[pickles[0]] > MAX_PICKLE:
        raise ModelError(f"{path}: its data.pkl is larger than {MAX_PICKLE / 1e6:g} MB. {CONVERT}")
    reader.spend(sizes[pickles[0]])
    data = archive.read(pickles[0])
    _check_opcodes(data)
    content = _HeaderUnpickler(io.BytesIO(data), path).load()
    if not isinstance(content, dict):
        raise ModelError(f"{path}: holds a {type(content).__name__}, not tensors by name. {CONVERT}")
    root = pickles[0].removesuffix("data.pkl")
    tensors = []
    for name, view in content.items():
        if not isinstance(name, str) or not isinstance(view, _View):
            raise ModelError(f"{path}: holds {name!r:.80}, which is not a tensor. {CONVERT}")
        storage = view.storage
        stored = sizes.get(f"{root}data/{storage.key}", -1)
        if stored < storage.length * storage.kind.element_size or view.last >= storage.length:
            raise ModelError(f"{path}: lacks bytes of tensor {name!r:.80}. Copy or fetch it again.")
        tensors.append(TensorFacts(name, view.shape, storage.kind.dtype, path.name))
    return tensors


def _check_opcodes(data: bytes) -> None:
    """Raise ValueError for a pickle that would allocate more memory than it has bytes.

    The unpickler of C reserves what an opcode announces before it reads: a table of 2**31 entries for a few
    bytes. Strings that are longer than the pickle are refused by pickletools.
    """
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name.endswith("PUT") and isinstance(argument, int) and argument > len(data):
            raise ValueError(f"its pickle stores entry {argument} of a table")


class _HeaderUnpickler(pickle.Unpickler):
    """An unpickler that creates only records of tensors, dicts, lists, strings and numbers."""

    def __init__(self, data: io.BytesIO, path: Path) -> None:
        super().__init__(data)
        self._path = path

    def find_class(self, module: str, name: str) -> Pickled:
        if module == "torch" and name in STORAGES:
            return _StorageType(*STORAGES[name])
        allowed = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        }
        if (module, name) not in allowed:
            call = printable(f"{module}.{name}"[:80])
            raise UnsafePickle(
                f"{self._path}: holds {call}, which can run code when it is loaded. {UNSAFE}",
                id="model.unsafe",
            )
        return allowed[module, name]

    def persistent_load(self, pid: Pickled) -> _Storage:
        if isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage":
            _, kind, key, _, length = pid
            if isinstance(kind, _StorageType) and isinstance(key, str) and _is_count(length):
                return _Storage(kind, key, length)
        _malformed("storage")


def _rebuild_tensor(
    storage: Pickled, offset: Pickled, shape: Pickled, strides: Pickled, *_: Pickled
) -> _View:
    if isinstance(storage, _Storage) and _is_count(offset) and _is_counts(shape) and _is_counts(strides):
        if len(shape) == len(strides) and math.prod(shape) < 2**63:
            return _View(storage, offset, tuple(shape), tuple(strides))
    _malformed("tensor")


def _rebuild_parameter(view: Pickled, *_: Pickled) -> _View:
    return view if isinstance(view, _View) else _malformed("parameter")


def _is_count(value: Pickled) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_counts(value: Pickled) -> TypeGuard[Sequence[int]]:
    return isinstance(value, Sequence) and len(value) <= 64 and all(map(_is_count, value))


def _malformed(what: str) -> NoReturn:
    raise pickle.UnpicklingError(f"a {what} with fields that torch.save does not write")


def _is_old_format(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) in (b"\x80\x02", b"\x80\x03", b"\x80\x04")
