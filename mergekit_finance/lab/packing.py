"""Documents as token arrays: several in a row, none split, each seeing only itself.

A model is asked with nothing before the prompt, so it is trained that way too: rows are packed for speed,
and a mask keeps documents apart.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

from mergekit_finance.lab.corpora import documents
from mergekit_finance.lab.tokenizer import EOS, FILE

LENGTH = 256
PART = 10_000  # documents made by one process at a time; the corpus is the same whatever their number
# A prompt's names and numbers are random: a model of this size should spend itself on what follows from them.
PROMPT_WEIGHT = 0.1


@dataclass(frozen=True)
class Packed:
    """Rows of LENGTH tokens. `segment` is 0 where a row is padded, else counts the row's documents.

    `weight` is each token's share in the loss, as a target.
    """

    ids: np.ndarray
    segment: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def corpus(role: str, count: int, processes: int = 1) -> Packed:
    """The packed corpus of a role, `count` documents long."""
    parts = [(role, min(PART, count - start), start // PART) for start in range(0, count, PART)]
    if processes == 1:
        return _joined([_part(*part) for part in parts])
    # spawn: a forked process would share the parent's CUDA and tokenizer threads
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return _joined(list(pool.map(_part, *zip(*parts, strict=True))))


def _part(role: str, count: int, part: int) -> Packed:
    return pack(documents(role, count, part))


def _joined(parts: Sequence[Packed]) -> Packed:
    names = ("ids", "segment", "weight")
    return Packed(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def pack(texts: Iterable[tuple[str, str]]) -> Packed:
    """Prompts and completions, packed in order; prompt and completion are tokenised apart.

    They are in evaluation too, where the prompt is given and the completion is chosen or written.
    """
    from tokenizers import Tokenizer

    core = Tokenizer.from_file(str(FILE))
    end = core.token_to_id(EOS)
    prompts, completions = zip(*texts, strict=True)
    encoded = zip(core.encode_batch(list(prompts)), core.encode_batch(list(completions)), strict=True)
    return _rows([(prompt.ids, [*completion.ids, end]) for prompt, completion in encoded])


def _rows(encoded: Sequence[tuple[list[int], list[int]]]) -> Packed:
    packed = Packed(*(np.zeros((len(encoded), LENGTH), t) for t in (np.int16, np.uint8, np.float32)))
    row, used, segment = -1, LENGTH, 0
    for prompt, completion in encoded:
        size = len(prompt) + len(completion)
        if used + size > LENGTH:
            row, used, segment = row + 1, 0, 0
        segment, place = segment + 1, slice(used, used + size)
        packed.ids[row, place] = prompt + completion
        packed.segment[row, place] = segment
        packed.weight[row, place] = [PROMPT_WEIGHT] * len(prompt) + [1.0] * len(completion)
        packed.weight[row, used] = 0.0  # nothing comes before a document's first token
        used += size
    return Packed(packed.ids[: row + 1], packed.segment[: row + 1], packed.weight[: row + 1])
