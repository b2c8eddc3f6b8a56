"""Look for NaN and infinity in all weights of a model, before hours of evaluation.

The checks of `models.facts` read a few values of each tensor only. A file is read once here, block by block,
after it was hashed, so that it comes from the page cache where memory allows. torch is not needed.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Event
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mergekit_finance.errors import ModelError
from mergekit_finance.models.facts import fetched_folder, is_pickled, weight_files
from mergekit_finance.models.reading import byte_bar, for_each_model
from mergekit_finance.models.weight_files import BITS, FLOATS, ByteReader, TensorFacts, read_header

Bits: TypeAlias = NDArray[np.uint16] | NDArray[np.uint32] | NDArray[np.uint64]
BLOCK = 1 << 23  # values read at a time
ANY_LENGTH = 1 << 62  # bytes
# The bits of the exponent: all set in NaN and infinity only. And the unsigned integer of the dtype's length.
EXPONENTS = {
    "BF16": ("<u2", 0x7F80),
    "F16": ("<u2", 0x7C00),
    "F32": ("<u4", 0x7F800000),
    "F64": ("<u8", 0x7FF0000000000000),
}


def require_finite_values(references: Sequence[str], quiet: bool = False) -> None:
    """Raise if a weight of one of several models is NaN or infinite. `.bin` files are left to the merge.

    Args:
        references: local folders or Hub ids; several are read at a time.
        quiet: without progress bars.

    Raises:
        ModelError: names the first such tensor and its flat index, or a file that cannot be read.
    """
    for_each_model(references, partial(_require_finite, quiet))


def _require_finite(quiet: bool, reference: str, stopped: Event) -> None:
    folder = fetched_folder(reference)
    if is_pickled(folder):
        return
    tensors = [t for name in weight_files(folder) for t in read_header(folder / name, ByteReader(ANY_LENGTH))]
    floats = [tensor for tensor in tensors if tensor.dtype in FLOATS]
    with byte_bar("values", folder.name, sum(tensor.size for tensor in floats), quiet) as bar:
        for tensor in floats:
            for first, values in _blocks(folder / tensor.file, tensor):
                if stopped.is_set():
                    return
                _, bits = EXPONENTS[tensor.dtype]
                broken = (values & bits) == bits
                if broken.any():
                    index = first + int(broken.argmax())
                    raise ModelError(
                        f"{reference}: tensor {tensor.name} holds NaN or Inf (the first at flat index "
                        f"{index}). The checkpoint is broken, or its training diverged.",
                        id="model.not-finite",
                    )
                bar.update(values.nbytes)


def _blocks(path: Path, tensor: TensorFacts) -> Iterator[tuple[int, Bits]]:
    """Yield blocks of a tensor's values as unsigned integers, each with the index of its first value."""
    kind, _ = EXPONENTS[tensor.dtype]
    with path.open("rb") as file:
        file.seek(tensor.start)
        for first in range(0, tensor.count, BLOCK):
            count = min(BLOCK, tensor.count - first)
            data = file.read(count * BITS[tensor.dtype] // 8)
            yield first, np.frombuffer(data, kind)
