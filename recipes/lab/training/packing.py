"""Pack documents into rows of tokens. A row contains several whole documents.

Packing only makes training faster. An attention mask (`model.document_mask`) separates the documents of a
row, because in evaluation no text precedes a prompt.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from mergekit_finance.files import atomic_path

from .corpora import Document, documents
from .tokenizer import EOS, FILE

LENGTH = 256
PART = 10_000  # documents per task of a process; the corpus does not depend on the number of processes
HELD_OUT_PART, HELD_OUT_DOCUMENTS = (
    10**6,
    2_000,
)  # the part for the held-out loss; no corpus has so many parts
# Prompts contain random names and numbers, which cannot be predicted. With a small weight in the loss, the
# model learns the completions instead.
PROMPT_WEIGHT = 0.1


@dataclass(frozen=True)
class Packed:
    """Rows of LENGTH tokens. All arrays are of shape (rows, LENGTH).

    Attributes:
        ids: Token ids.
        segment: The number of the document in its row, from 1; 0 for padding.
        weight: The weight of each token in the loss, as a target.
    """

    ids: npt.NDArray[np.int16]
    segment: npt.NDArray[np.uint8]
    weight: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, count: int) -> "Packed":
        """Return the first `count` rows."""
        return Packed(self.ids[:count], self.segment[:count], self.weight[:count])

    def save(self, file: Path) -> None:
        """Write the rows to a file that `load` reads."""
        with atomic_path(file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, ids=self.ids, segment=self.segment, weight=self.weight)

    @classmethod
    def load(cls, file: Path) -> "Packed":
        """Read what `save` wrote."""
        with np.load(file) as arrays:
            return cls(arrays["ids"], arrays["segment"], arrays["weight"])


def corpus(role: str, count: int, processes: int = 1) -> Packed:
    """Generate and pack `count` documents of a role's corpus."""
    parts = [(role, min(PART, count - start), start // PART) for start in range(0, count, PART)]
    processes = min(processes, len(parts))
    if processes == 1:  # a process that is started takes seconds to import torch
        return _joined([pack_part(*part) for part in parts])
    # spawn: a forked process would share the parent's CUDA and tokenizer threads
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return _joined(list(pool.map(pack_part, *zip(*parts, strict=True))))


def first_rows(role: str, count: int) -> Packed:
    """Return at least the first `count` rows of a role's corpus, and as few whole parts of it as possible."""
    parts = [pack_part(role, PART, 0)]
    while sum(map(len, parts)) < count:
        parts.append(pack_part(role, PART, len(parts)))
    return _joined(parts)


def pack_part(role: str, count: int, part: int) -> Packed:
    """Generate and pack one independent part of a role's corpus."""
    return pack(documents(role, count, part))


def held_out(role: str) -> Packed:
    """Return documents of a role's corpus that are not in `corpus`."""
    return pack_part(role, HELD_OUT_DOCUMENTS, HELD_OUT_PART)


def mixed(corpus: Packed, general: Packed, share: float) -> Packed:
    """Return the rows of a corpus and rows of the base's corpus, such that the latter are a share of all.

    If the base's corpus is too small, rows of the other are left out.
    """
    if not share:
        return corpus
    count = min(len(corpus), round(len(general) * (1 - share) / share))
    return _joined([corpus.rows(count), general.rows(round(count * share / (1 - share)))])


def _joined(parts: Sequence[Packed]) -> Packed:
    return Packed(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.segment for part in parts]),
        np.concatenate([part.weight for part in parts]),
    )


def pack(texts: Iterable[Document]) -> Packed:
    """Pack documents in their order.

    Prompt and completion are tokenized separately, as in evaluation.
    """
    core = Tokenizer.from_file(str(FILE))
    end = core.token_to_id(EOS)
    assert end is not None
    prompts, completions = zip(*texts, strict=True)
    encoded = zip(core.encode_batch(list(prompts)), core.encode_batch(list(completions)), strict=True)
    return _rows([(prompt.ids, [*completion.ids, end]) for prompt, completion in encoded])


def _rows(encoded: Sequence[tuple[list[int], list[int]]]) -> Packed:
    shape = (len(encoded), LENGTH)  # at most one row per document; unused rows are removed below
    packed = Packed(np.zeros(shape, np.int16), np.zeros(shape, np.uint8), np.zeros(shape, np.float32))
    row, used, segment = -1, LENGTH, 0
    for prompt, completion in encoded:
        size = len(prompt) + len(completion)
        if used + size > LENGTH:
            row, used, segment = row + 1, 0, 0
        segment, place = segment + 1, slice(used, used + size)
        packed.ids[row, place] = prompt + completion
        packed.segment[row, place] = segment
        packed.weight[row, place] = [PROMPT_WEIGHT] * len(prompt) + [1.0] * len(completion)
        packed.weight[row, used] = 0.0  # the first token of a document has no context to be predicted from
        used += size
    return Packed(packed.ids[: row + 1], packed.segment[: row + 1], packed.weight[: row + 1])
