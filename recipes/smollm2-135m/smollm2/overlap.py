"""Find text of test rows in a corpus: 13 words in a row (English) or 30 characters in a row (Japanese).

Before training such runs are cut out of the documents; most are phrases of annual reports that a test row
has, too. In recipes/smollm2-135m: `python -m smollm2.overlap CORPORA MIRROR` prints, for each domain, in how
many documents of the files there are such runs, and how many are left in the text for training. It exits with
code 1 if any is left.

Runs of words are compared by 64-bit hashes, all windows of a document at a time.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mergekit_finance.data.adapters import Row
from mergekit_finance.data.mirror import Mirror
from mergekit_finance.data.rows import Place, rows_of
from mergekit_finance.files import Json

WORDS, CHARACTERS = 13, 30
EXAMPLES = ("shots", "input")  # columns with other rows: demonstrations, and prompts that contain some
BASE = np.uint64(0x9E3779B97F4A7C15)
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class TestText:
    """The runs of words and of characters of some test rows.

    Attributes:
        numbers: word -> its number, from 1; other words have the number 0.
        words, characters: sorted hashes of all runs.
        whole: the texts of rows, reduced to their words.
    """

    __test__ = False  # pytest collects classes whose name begins with Test

    numbers: dict[str, int]
    words: np.ndarray
    characters: np.ndarray
    whole: frozenset[str]

    @classmethod
    def of_rows(cls, rows: Iterable[Row]) -> "TestText":
        """Return the runs in all columns of test rows, without demonstrations."""
        rows = list(rows)
        texts = {text for row in rows for text in _strings(row)}
        numbers: dict[str, int] = {}
        split = [_words(text) for text in texts]
        for word in (word for words in split for word in words):
            numbers.setdefault(word, len(numbers) + 1)
        return cls(
            numbers,
            _hashes((_numbered(words, numbers) for words in split), WORDS),
            _hashes((_code_points(text) for text in texts if JAPANESE.search(text)), CHARACTERS),
            frozenset(" ".join(_words(str(row["text"]))) for row in rows if row.get("text")),
        )

    def contains(self, text: str, whole: bool = False) -> bool:
        """Return whether a text has a run of a test row; `whole`: or is, as a whole, the text of one."""
        return bool(self._runs(text)) or (whole and " ".join(_words(text)) in self.whole)

    def cut(self, text: str) -> str:
        """Return a text without the runs that stand in test rows."""
        while runs := self._runs(text):
            for start, end in sorted(runs, reverse=True):
                text = text[:start] + text[end:]
        return text

    def _runs(self, text: str) -> list[tuple[int, int]]:
        """Return the places in a text of runs of test rows; none overlaps another one."""
        words = list(WORD.finditer(text.lower()))
        numbers = _numbered([word.group() for word in words], self.numbers)
        runs = [
            (words[at].start(), words[at + WORDS - 1].end())
            for at in _found(_windows(numbers, WORDS), self.words)
        ]
        if JAPANESE.search(text):
            places = [at for at, character in enumerate(text) if not character.isspace()]
            found = _found(_windows(_code_points(text), CHARACTERS), self.characters)
            runs += [(places[at], places[at + CHARACTERS - 1] + 1) for at in found]
        return _joined(runs)


def _strings(value: Json, key: str = "") -> Iterator[str]:
    """Yield the texts of a row, without those of its demonstrations."""
    if key in EXAMPLES:
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _strings(part, name)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _strings(part)


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def _numbered(words: Sequence[str], numbers: dict[str, int]) -> np.ndarray:
    return np.fromiter((numbers.get(word, 0) for word in words), dtype=np.uint64, count=len(words))


def _code_points(text: str) -> np.ndarray:
    return np.array([ord(character) for character in "".join(text.split())], dtype=np.uint64)


def _windows(values: np.ndarray, size: int) -> np.ndarray:
    """Return the hash of every window of `size` values: a polynomial modulo 2^64."""
    count = len(values) - size + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint64)
    hashes = np.zeros(count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for offset in range(size):
            hashes = hashes * BASE + values[offset : offset + count] + np.uint64(1)
    return hashes


def _hashes(sequences: Iterable[np.ndarray], size: int) -> np.ndarray:
    return np.unique(np.concatenate([np.zeros(0, np.uint64), *(_windows(s, size) for s in sequences)]))


def _found(hashes: np.ndarray, stored: np.ndarray) -> list[int]:
    """Return the positions of the hashes that are in `stored`, which is sorted."""
    if not len(stored) or not len(hashes):
        return []
    places = np.minimum(np.searchsorted(stored, hashes), len(stored) - 1)
    return [int(at) for at in np.nonzero(stored[places] == hashes)[0]]


def _joined(runs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join overlapping runs."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(runs):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


# ---- a mirror and its corpora


def test_rows(mirror: Path) -> Iterator[Row]:
    """Yield the test rows of every dataset of a mirror."""
    opened = Mirror.existing(mirror)
    for dataset, subset in sorted({(entry.dataset, entry.subset) for entry in opened.files.values()}):
        entries = {n: e for n, e in opened.files.items() if (e.dataset, e.subset) == (dataset, subset)}
        yield from rows_of(Place(opened.verify(n), n, e.adapter, e.split) for n, e in entries.items())


test_rows.__test__ = False  # type: ignore[attr-defined]


def overlapping(texts: Iterable[str], test: TestText) -> list[int]:
    """Return the positions of the texts that contain text of a test row."""
    return [number for number, text in enumerate(texts) if test.contains(text)]


def main(argv: Sequence[str] | None = None) -> None:
    """Check the corpora of all domains, with the questions that are added to the finance text."""
    from .corpora import TEXTS, documents, texts  # imported here because corpora uses this module

    parser = argparse.ArgumentParser(prog="python -m smollm2.overlap", description=__doc__)
    parser.add_argument("corpora", type=Path)
    parser.add_argument("mirror", type=Path)
    options = parser.parse_args(argv)
    test, count = TestText.of_rows(test_rows(options.mirror)), 0
    for domain in TEXTS:
        before = overlapping(documents(options.corpora, domain), test)
        used = texts(options.corpora, domain, options.mirror)
        left = overlapping([*dict.fromkeys(used.train), *used.held_out], test)
        count += len(left)
        print(f"{domain}: text of test rows in {len(before)} documents, in {len(left)} after cutting it")
    if count:
        sys.exit("Error: text of test rows is left in the training text.")


if __name__ == "__main__":
    main()
