"""Pack token sequences so that a prefix which several of them share is computed once.

The options of a question share its prompt, and questions often share their examples. The sequences form a
trie; its nodes, in depth-first order, are one row of tokens. A node attends to itself and its ancestors only,
so every sequence gets the same logits as it would get alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Tokens = Sequence[int]  # lists, whose slices compare fast
# Tokens of the shortest rows. Shorter ones leave a GPU idle; on a CPU, attention over longer ones is slower.
SMALLEST_CAPACITY, SMALLEST_CPU_CAPACITY = 512, 128


@dataclass
class PackedRow:
    """A row of packed tokens.

    Attributes:
        tokens: the token of each node.
        depths: number of ancestors of each node, which is its position in its sequences.
        ends: the descendants of node i are the nodes i + 1 to ends[i] - 1.
        sequences: numbers of the packed sequences, in the order in which they were added.
        tails: per sequence the nodes of its last tokens.
    """

    tokens: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    tails: list[list[int]] = field(default_factory=list)
    _path: list[int] = field(default_factory=list)  # nodes of the sequence that was added last
    _last: Tokens = ()  # its tokens

    def shared(self, sequence: Tokens) -> int:
        """Return how many leading tokens `sequence` shares with the sequence that was added last."""
        low, high = 0, min(len(sequence), len(self._last))
        while low < high:  # slices are compared much faster than single tokens
            middle = (low + high + 1) // 2
            if sequence[low:middle] == self._last[low:middle]:
                low = middle
            else:
                high = middle - 1
        return low

    def add(self, number: int, sequence: Tokens, tail: int) -> None:
        """Add a sequence; all sequences of a row must be added in lexicographic order.

        Args:
            number: identifies the sequence.
            sequence: its tokens.
            tail: number of its last tokens whose logits are needed.
        """
        shared, first = self.shared(sequence), len(self.tokens)
        self._close(shared)
        self.tokens += sequence[shared:]
        self.depths += range(shared, len(sequence))
        self._path += range(first, len(self.tokens))
        self.ends += [0] * (len(self.tokens) - first)
        self.sequences.append(number)
        self.tails.append(self._path[len(sequence) - tail :])
        self._last = sequence

    def finish(self) -> "PackedRow":
        """Set the ends of the nodes that are still open, and return the row."""
        self._close(0)
        return self

    def _close(self, depth: int) -> None:
        """End the subtrees of the last sequence's nodes from `depth` on."""
        for node in self._path[depth:]:
            self.ends[node] = len(self.tokens)
        del self._path[depth:]


def pack(sequences: Sequence[Tokens], tails: Sequence[int], capacity: int) -> list[PackedRow]:
    """Pack sequences into rows of at most `capacity` tokens.

    Args:
        sequences: token sequences, none longer than `capacity`.
        tails: per sequence the number of its last tokens whose logits are needed.
        capacity: the largest number of tokens of a row.
    """
    order = sorted(range(len(sequences)), key=lambda number: list(sequences[number]))
    rows: list[PackedRow] = []
    row = PackedRow()
    for number in order:
        sequence = sequences[number]
        if row.tokens and len(row.tokens) + len(sequence) - row.shared(sequence) > capacity:
            rows.append(row.finish())
            row = PackedRow()
        row.add(number, sequence, tails[number])
    return [*rows, row.finish()] if row.tokens else rows


def capacities(lengths: Iterable[int], device: str) -> list[int]:
    """Return the row capacity for each of some lengths: the next power of two, or the smallest capacity.

    Args:
        lengths: numbers of tokens.
        device: the type of device that evaluates the rows, such as `cuda`.
    """
    smallest = SMALLEST_CPU_CAPACITY if device == "cpu" else SMALLEST_CAPACITY
    return [max(smallest, 1 << (length - 1).bit_length()) for length in lengths]
