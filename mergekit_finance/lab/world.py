"""The lab's world: the tables of world.yml, the facts drawn from them, and which items are held out."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from mergekit_finance.files import load_yaml

WORLD_SEED = 0
HELD_OUT = 8  # one item in so many is held out for test rows; the others are for training corpora


class Verb(NamedTuple):
    """A verb for the change of a figure; `direction` is "up", "down" or "flat"."""

    past: str
    plain: str
    japanese: str
    direction: str


class Word(NamedTuple):
    """An English word and its Japanese translation."""

    english: str
    japanese: str


class Formula(NamedTuple):
    """A defined term: `first` plus or minus `second`; `sign` is "plus" or "minus"."""

    term: str
    japanese: str
    first: str
    sign: str
    second: str


class GlossaryTerm(NamedTuple):
    """A finance term with two facts: what kind of item it is, and who the other party is."""

    english: str
    japanese: str
    kind: str
    party: str


FactKey = tuple[str, str]  # subject, relation


@dataclass(frozen=True)
class World:
    """Every table. In the finance and Japanese tables the entries at even indices are the core."""

    verbs: Mapping[str, Sequence[Verb]]
    metrics: Mapping[str, Sequence[Word]]
    assets: Sequence[str]
    formulas: Sequence[Formula]
    items: Sequence[Word]
    kinds: Sequence[Word]
    parties: Sequence[Word]
    terms: Sequence[GlossaryTerm]
    names: Mapping[str, Sequence[str]]
    people: Sequence[str]
    things: Sequence[Word]
    animals: Sequence[str]
    animal_values: Mapping[str, Sequence[str]]
    animal_facts: Mapping[FactKey, str]
    customs: Sequence[str]
    custom_values: Mapping[str, Sequence[str]]
    custom_facts: Mapping[FactKey, str]
    feelings: Mapping[str, Sequence[str]]
    scripts: Sequence[Sequence[str]]

    def japanese(self, table: Sequence[Word], english: str) -> str:
        """Return the Japanese translation of an English word of a table."""
        return next(word.japanese for word in table if word.english == english)


class _Tables(BaseModel):
    """The layout of world.yml."""

    model_config = ConfigDict(extra="forbid")

    verbs: dict[str, list[tuple[str, str, str]]]
    metrics: dict[str, list[tuple[str, str]]]
    assets: list[str]
    formulas: list[tuple[str, str, str, str, str]]
    items: list[tuple[str, str]]
    kinds: list[tuple[str, str]]
    parties: list[tuple[str, str]]
    terms: list[tuple[str, str, str, str]]
    names: dict[str, list[str]]
    people: list[str]
    things: list[tuple[str, str]]
    animals: list[str]
    animal_facts: dict[str, list[str]]
    customs: list[str]
    custom_facts: dict[str, list[str]]
    feelings: dict[str, list[str]]
    scripts: list[list[str]]


@cache
def world() -> World:
    """Return the lab's world; it is the same in every process."""
    text = Path(__file__).with_name("world.yml").read_text(encoding="utf-8")
    tables = _Tables.model_validate(load_yaml(text, "world.yml"))
    return World(
        verbs={d: [Verb(*forms, d) for forms in entries] for d, entries in tables.verbs.items()},
        metrics={polarity: _words(entries) for polarity, entries in tables.metrics.items()},
        assets=tables.assets,
        formulas=[Formula(*entry) for entry in tables.formulas],
        items=_words(tables.items),
        kinds=_words(tables.kinds),
        parties=_words(tables.parties),
        terms=[GlossaryTerm(*entry) for entry in tables.terms],
        names=tables.names,
        people=tables.people,
        things=_words(tables.things),
        animals=tables.animals,
        animal_values=tables.animal_facts,
        animal_facts=_draw_facts(tables.animals, tables.animal_facts),
        customs=tables.customs,
        custom_values=tables.custom_facts,
        custom_facts=_draw_facts(tables.customs, tables.custom_facts),
        feelings=tables.feelings,
        scripts=tables.scripts,
    )


def _words(entries: Sequence[tuple[str, str]]) -> list[Word]:
    return [Word(*entry) for entry in entries]


def _draw_facts(subjects: Sequence[str], values: Mapping[str, Sequence[str]]) -> dict[FactKey, str]:
    """Draw one value for every subject and relation, from the world's seed."""
    rng = random.Random(f"world {WORLD_SEED}")
    return {(s, relation): rng.choice(choices) for s in subjects for relation, choices in values.items()}


def stable_number(*key: str | int) -> int:
    """Return a number in [0, 2**32) for a key, the same in every process (Python's own hash is not)."""
    text = "\x1f".join(map(str, key))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def held_out(*key: str | int) -> bool:
    """Return whether the item of this key is for test rows only; training corpora never contain it."""
    return stable_number(*key) % HELD_OUT == 0
