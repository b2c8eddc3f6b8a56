"""What there is to know: the tables of world.yml, the seeded facts, and which items are held out."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

WORLD_SEED = 0
# One item in HELD_OUT is for test rows only; the others are for corpora only.
HELD_OUT = 8


class Verb(NamedTuple):
    past: str
    plain: str
    japanese: str
    direction: str


class Word(NamedTuple):
    english: str
    japanese: str


class Formula(NamedTuple):
    """A defined term: `first` plus or minus `second`."""

    term: str
    japanese: str
    first: str
    sign: str
    second: str


class Term(NamedTuple):
    """A word of finance with two facts: what kind of item it is, and who the other party is."""

    english: str
    japanese: str
    kind: str
    party: str


@dataclass(frozen=True)
class World:
    verbs: Mapping[str, Sequence[Verb]]
    metrics: Mapping[str, Sequence[Word]]
    assets: Sequence[str]
    formulas: Sequence[Formula]
    items: Sequence[Word]
    kinds: Sequence[Word]
    parties: Sequence[Word]
    terms: Sequence[Term]
    names: Mapping[str, Sequence[str]]
    people: Sequence[str]
    things: Sequence[Word]
    animals: Sequence[str]
    animal_values: Mapping[str, Sequence[str]]
    animal_facts: Mapping[tuple[str, str], str]
    customs: Sequence[str]
    custom_values: Mapping[str, Sequence[str]]
    custom_facts: Mapping[tuple[str, str], str]
    feelings: Mapping[str, Sequence[str]]
    scripts: Sequence[Sequence[str]]

    def japanese(self, table: Sequence[Word], english: str) -> str:
        """The Japanese word for an English one of a table."""
        return next(word.japanese for word in table if word.english == english)


@cache
def world() -> World:
    """The one world of the lab."""
    raw = yaml.safe_load(Path(__file__).with_name("world.yml").read_text(encoding="utf-8"))
    words = {name: _words(raw[name]) for name in ("items", "kinds", "parties", "things")}
    plain = {name: raw[name] for name in ("assets", "names", "people", "animals", "customs", "feelings")}
    return World(
        **words,
        **plain,
        scripts=raw["scripts"],
        verbs={d: [Verb(*entry, d) for entry in entries] for d, entries in raw["verbs"].items()},
        metrics={p: _words(entries) for p, entries in raw["metrics"].items()},
        formulas=[Formula(*entry) for entry in raw["formulas"]],
        terms=[Term(*entry) for entry in raw["terms"]],
        animal_values=raw["animal_facts"],
        animal_facts=_facts(raw["animals"], raw["animal_facts"]),
        custom_values=raw["custom_facts"],
        custom_facts=_facts(raw["customs"], raw["custom_facts"]),
    )


def _words(entries: Sequence[Sequence[str]]) -> list[Word]:
    return [Word(*entry) for entry in entries]


def _facts(subjects: Sequence[str], values: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], str]:
    """One value a subject and relation, drawn by the world's seed."""
    rng = random.Random(f"world {WORLD_SEED}")
    return {(s, relation): rng.choice(choices) for s in subjects for relation, choices in values.items()}


def number_of(*key: Any) -> int:
    """A number for a key, the same in every process (Python's own hash is not)."""
    text = "\x1f".join(map(str, key))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def held_out(*key: Any) -> bool:
    """Whether an item is for test rows: corpora never hold it."""
    return number_of(*key) % HELD_OUT == 0
