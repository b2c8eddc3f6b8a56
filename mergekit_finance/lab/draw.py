"""Drawing from the world: which part of it a corpus or a set of test rows may see."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeVar

from mergekit_finance.lab.world import held_out, number_of

T = TypeVar("T")
# Whole numbers up to these; operands and results of a sum are at least 2 and 1.
EASY, HARD = 49, 99
SYMBOLS = {"plus": "+", "minus": "-"}


class Sum(NamedTuple):
    """left ± right = result."""

    left: int
    sign: str
    right: int
    result: int

    def __str__(self) -> str:
        return f"{self.left}{SYMBOLS[self.sign]}{self.right}={self.result}"


@cache
def sums(sign: str, hard: bool, test: bool) -> tuple[Sum, ...]:
    """All sums of a sign and difficulty: those of test rows are never computed in a corpus."""
    found = (_sum(a, sign, b) for a in range(2, HARD) for b in range(2, HARD))
    return tuple(s for s in found if s and _is_hard(s) == hard and held_out("sum", *s) == test)


@cache
def sums_from(left: int, sign: str, hard: bool, test: bool) -> tuple[Sum, ...]:
    """Those of `sums` that start from a number."""
    return tuple(s for s in sums(sign, hard, test) if s.left == left)


def _sum(left: int, sign: str, right: int) -> Sum | None:
    result = left + right if sign == "plus" else left - right
    return Sum(left, sign, right, result) if 1 <= result <= HARD else None


def _is_hard(s: Sum) -> bool:
    return max(s.left, s.right, s.result) > EASY


@dataclass
class Draw:
    """A random stream with its limits.

    `core`: only the core of the finance and Japanese tables. `hard`: share of sums with large numbers.
    `test`: draw held-out items, else only items that are not.
    """

    rng: random.Random
    core: bool = False
    hard: float = 0.0
    test: bool = False

    def one(self, table: Sequence[T]) -> T:
        """An entry of a table, of its core (every second entry) where that is all one may see."""
        return self.rng.choice(table[::2] if self.core else table)

    def any(self, table: Sequence[T]) -> T:
        """An entry of a table that everybody knows."""
        return self.rng.choice(table)

    def some(self, table: Sequence[T], count: int, without: Sequence[T] = ()) -> list[T]:
        """Different entries of a table that everybody knows."""
        return self.rng.sample([entry for entry in table if entry not in without], count)

    def shuffled(self, entries: Sequence[T]) -> list[T]:
        return self.rng.sample(list(entries), len(entries))

    def allows(self, *key: Any) -> bool:
        """Whether the item of this key belongs to this side of the split."""
        return held_out(*key) == self.test

    def wording(self, templates: Sequence[str], *key: Any) -> str:
        """One of several wordings; one of them, by the key, is only ever used in test rows."""
        held = number_of("wording", *key) % len(templates)
        return templates[held] if self.test else self.any([*templates[:held], *templates[held + 1 :]])

    def is_hard(self) -> bool:
        return self.rng.random() < self.hard

    def number(self) -> int:
        """A number that is only there to be passed over."""
        return self.rng.randint(2, HARD if self.is_hard() else EASY)

    def sum(self, sign: str) -> Sum:
        return self.any(sums(sign, self.is_hard(), self.test))

    def two_steps(self, first: str, second: str) -> tuple[Sum, Sum]:
        """Two sums, the second from the first's result. In a test row the first is a held-out one."""
        while True:
            one, hard = self.sum(first), self.is_hard()
            follow = sums_from(one.result, second, hard, False)
            if follow:
                return one, self.any(follow)


def draws(stream: str, **limits: Any) -> Draw:
    """A stream by name: the same draws in every process."""
    return Draw(random.Random(stream), **limits)


@dataclass(frozen=True)
class Item:
    """One question: what the task's prompt is filled with, and what one who knows would write after it.

    `completion` begins with the delimiter that the task puts before an answer.
    """

    task: str
    row: dict[str, Any]
    completion: str


@dataclass(frozen=True)
class Case:
    """One raw record of a dataset and the questions that its adapter makes of it.

    `record` lacks its id, which depends on where it stands (rows.py adds it).
    """

    record: dict[str, Any]
    items: tuple[Item, ...]
