"""Random streams over the world, each limited to the part for one corpus or one set of test rows."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple, TypeVar

from mergekit_finance.files import JsonObject
from mergekit_finance.lab.world import World, held_out, stable_number, world

T = TypeVar("T")
# Sums are easy or hard by their largest number. Operands are at least 2, results at least 1.
EASY, LARGEST = 49, 299  # the largest number of an easy sum, and of any sum
UNSEEN = (
    8  # one in so many entries of a table is in no corpus of its skill, so that no skill is ever complete
)
SYMBOLS = {"plus": "+", "minus": "-"}


class Sum(NamedTuple):
    """left ± right = result; `sign` is "plus" or "minus"."""

    left: int
    sign: str
    right: int
    result: int

    def __str__(self) -> str:
        return f"{self.left}{SYMBOLS[self.sign]}{self.right}={self.result}"


def sums_of_split(sign: str, hard: bool, test: bool) -> tuple[Sum, ...]:
    """Return all sums of one sign and difficulty that are held out for test rows, or all that are not."""
    return _splits(sign)[hard, test]


@cache
def sums_from(left: int, sign: str, hard: bool, test: bool) -> tuple[Sum, ...]:
    """Return those of `sums_of_split` whose left operand is `left`."""
    return tuple(s for s in sums_of_split(sign, hard, test) if s.left == left)


@cache
def _splits(sign: str) -> dict[tuple[bool, bool], tuple[Sum, ...]]:
    """Return all sums of one sign by (hard, test), in ascending order."""
    sums: dict[tuple[bool, bool], list[Sum]] = {(h, t): [] for h in (False, True) for t in (False, True)}
    for left in range(2, LARGEST):
        # All b with 1 <= result <= LARGEST.
        for right in range(2, LARGEST - left + 1 if sign == "plus" else left):
            s = Sum(left, sign, right, left + right if sign == "plus" else left - right)
            sums[max(s.left, s.right, s.result) > EASY, held_out("sum", *s)].append(s)
    return {split: tuple(of_split) for split, of_split in sums.items()}


@dataclass
class Draw:
    """A random stream and its limits.

    Attributes:
        rng: The source of randomness.
        core_only: Draw only from the core (entries at even indices) of the finance and Japanese tables.
        hard: Share of sums with large numbers, in [0, 1].
        test: Draw held-out items only; otherwise only items that are not held out.
        world: The tables that entries are drawn from.
    """

    rng: random.Random
    core_only: bool = False
    hard: float = 0.0
    test: bool = False
    world: World = field(default_factory=world)

    def choice(self, table: Sequence[T]) -> T:
        """Return an entry of a table."""
        return self.rng.choice(table)

    def choice_in_scope(self, table: Sequence[T]) -> T:
        """Return an entry of a table; of its core, if this stream is limited to the core.

        Corpora contain the first entries of a table more often than the last (the n-th with a weight of 1 / n),
        and every eighth (UNSEEN), which is none of the core, not at all. In test rows all are equally frequent.
        """
        entries = table[::2] if self.core_only else table
        if self.test:
            return self.rng.choice(entries)
        if not self.core_only:
            entries = [entry for n, entry in enumerate(table, 1) if n % UNSEEN]
        return self.rng.choices(entries, [1 / n for n in range(1, len(entries) + 1)])[0]

    def sample(self, table: Sequence[T], count: int, without: Sequence[T] = ()) -> list[T]:
        """Return `count` different entries of a table, none of them in `without`."""
        return self.rng.sample([entry for entry in table if entry not in without], count)

    def shuffled(self, entries: Sequence[T]) -> list[T]:
        """Return the entries in random order."""
        return self.rng.sample(list(entries), len(entries))

    def in_split(self, *key: str | int) -> bool:
        """Return whether the item of this key belongs to this stream's side of the split (`test`)."""
        return held_out(*key) == self.test

    def wording(self, templates: Sequence[str], *key: str | int) -> str:
        """Return one of several wordings of the item of this key.

        One of the wordings, which one depends on the key, is used in test rows and never in a corpus.
        """
        held = stable_number("wording", *key) % len(templates)
        return templates[held] if self.test else self.choice([*templates[:held], *templates[held + 1 :]])

    def next_is_hard(self) -> bool:
        """Draw whether the next sum is a hard one."""
        return self.rng.random() < self.hard

    def unused_number(self) -> int:
        """Return a number for a figure that the question does not ask about."""
        return self.rng.randint(2, LARGEST if self.next_is_hard() else EASY)

    def sum(self, sign: str) -> Sum:
        """Return a sum of one sign."""
        return self.choice(sums_of_split(sign, self.next_is_hard(), self.test))

    def two_steps(self, first: str, second: str) -> tuple[Sum, Sum]:
        """Return two sums of these signs; the second starts from the result of the first.

        In a test row the first is held out and the second is not: few held-out sums share a left operand.
        """
        while True:
            start, hard = self.sum(first), self.next_is_hard()
            follow = sums_from(start.result, second, hard, False)
            if follow:
                return start, self.choice(follow)


def stream(name: str, *, core_only: bool = False, hard: float = 0.0, test: bool = False) -> Draw:
    """Return the random stream of a name: the same draws in every process."""
    return Draw(random.Random(name), core_only, hard, test)


@dataclass(frozen=True)
class Item:
    """One question.

    Attributes:
        task: The task's name without the prefix `finance_bench_`.
        row: The values that the task's prompt template is filled with.
        completion: The correct text after the prompt, with the delimiter that the task puts before it.
    """

    task: str
    row: JsonObject
    completion: str


@dataclass(frozen=True)
class Case:
    """One raw record of a dataset and the questions that the dataset's adapter makes of it.

    `record` lacks its id, which depends on its position (generated_rows.py adds it).
    """

    record: JsonObject
    items: tuple[Item, ...]
