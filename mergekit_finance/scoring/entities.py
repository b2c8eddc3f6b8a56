"""Read named entities from model text or from tags, format them, and count matches.

FIN NER (Salinas Alvarado et al., ALTA 2015) uses IO tags: two adjacent entities of one type count as one.
Models write "Entity text (TYPE), Entity text (TYPE)", as in the prompts of BloombergGPT and AdaptLLM.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from mergekit_finance.scoring.answers import direct_text
from mergekit_finance.scoring.text import nfkc


class Entity(NamedTuple):
    """A mention; `type` is one of PER, ORG, LOC, MISC."""

    text: str
    type: str


_TYPES = {
    "per": "PER", "person": "PER", "people": "PER", "i-per": "PER",
    "org": "ORG", "organization": "ORG", "organisation": "ORG", "company": "ORG", "i-org": "ORG",
    "loc": "LOC", "location": "LOC", "place": "LOC", "i-loc": "LOC",
    "misc": "MISC", "miscellaneous": "MISC", "i-misc": "MISC",
}  # fmt: skip
_TYPED = re.compile(rf"\(\s?({'|'.join(sorted(_TYPES, key=len, reverse=True))})\s?\)", re.IGNORECASE)
# "and " between the last two mentions of a list. No name starts with it.
_AND = re.compile(r"^and\s+", re.IGNORECASE)


def entity_type(name: str) -> str:
    """Return PER, ORG, LOC or MISC for a known name ("person", "I-LOC"), or the name in upper case."""
    return _TYPES.get(name.strip().lower(), name.strip().upper())


def parse_entities(text: str) -> list[Entity]:
    """Return the mentions on the first line of an output, in order, including repeated ones.

    "Acme Bank (ORG), Paris (location)" -> [("Acme Bank", "ORG"), ("Paris", "LOC")]. A mention is all text
    between two "(TYPE)", so a name may contain commas and parentheses: "Acme (Holdings), Inc (ORG)" is one.
    Text without a known type is not a mention.
    """
    entities, position = [], 0
    line = direct_text(text) or ""
    for match in _TYPED.finditer(line):
        name = _AND.sub("", line[position : match.start()].strip(" ,;、\"'“”"))
        position = match.end()
        if name:
            entities.append(Entity(name, entity_type(match[1])))
    return entities


def format_entities(entities: Iterable[Sequence[str]]) -> str:
    """Return (text, type) pairs in the form that the prompts show: "Acme (ORG), Paris (LOC)"."""
    return ", ".join(f"{text} ({name})" for text, name in entities)


def tag_spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Return the (type, first token, last token) of each entity in IO or IOB tags, as seqeval reads them.

    ["I-PER", "I-PER", "O", "I-LOC"] -> [("PER", 0, 1), ("LOC", 3, 3)].
    """
    spans: list[tuple[str, int, int]] = []
    previous = "O"
    for index, tag in enumerate(tags):
        prefix, _, name = tag.partition("-")
        continues = prefix == "I" and previous != "O" and previous.partition("-")[2] == name
        if continues:
            spans[-1] = (name, spans[-1][1], index)
        elif tag != "O":
            spans.append((name, index, index))
        previous = tag
    return spans


def entities_from_tags(tokens: Sequence[str], tags: Sequence[str]) -> list[Entity]:
    """Return the mentions of a tagged sentence, their tokens joined by spaces."""
    return [Entity(" ".join(tokens[start : end + 1]), name) for name, start, end in tag_spans(tags)]


def mention_key(entity: Sequence[str]) -> tuple[str, str]:
    """Return the key that equal mentions share: the text without white space and case, and the type.

    White space is removed because tokenization changes it: ("ACME , INC", "org") -> ("acme,inc", "ORG"). Case
    is ignored because it changes nothing about which mention was found.
    """
    text, name = entity
    return re.sub(r"\s+", "", nfkc(str(text))).casefold(), entity_type(str(name))


def match_counts(gold: Iterable[Hashable], pred: Iterable[Hashable]) -> tuple[int, int, int]:
    """Return the numbers of right, predicted and gold mentions of a sentence.

    A repeated mention counts as right at most as often as it is in the gold: gold [a], prediction [a, a] ->
    (1, 2, 1).
    """
    golds, preds = Counter(gold), Counter(pred)
    return (golds & preds).total(), preds.total(), golds.total()


def adaptllm_entities(text: str) -> list[Entity]:
    r"""Return the entities that AdaptLLM's parser finds (microsoft/LMOps, adaptllm, `parse_ner`).

    That parser keeps only the last token before "(TYPE)" and drops repeats: "Acme Trust Bank (ORG)" ->
    [("Bank", "ORG")]. It finds all matches of `([^\s]+\s+)(\([^\s]+\))`, quadratic in long words; this
    function gives the same result in one pass over the words.
    """
    entities: list[Entity] = []
    name, name_end = "", -1
    for word in re.finditer(r"\S+", text):
        # The end of "(...)" at the start of the word: after its last ")"; 0 if there is none.
        type_end = word.group().rfind(")") + 1 if name and word.group().startswith("(") else 0
        type_end = type_end if type_end > 2 else 0
        if type_end:
            # The parser removes one character of the white space that ends the pattern's first group.
            entity = Entity(name + text[name_end : word.start() - 1], word.group()[1 : type_end - 1])
            if entity not in entities:
                entities.append(entity)
        name, name_end = word.group()[type_end:], word.end()
    return entities


def adaptllm_f1(gold: str, pred: str) -> float:
    """Return AdaptLLM's F1 of one sentence. AdaptLLM averages it over sentences, unlike a corpus F1.

    It is the score of nereval with every entity at position 0: each gold entity is compared with the first
    prediction of equal text or equal type, and text and type count one point each. "Acme (LOC)" scores 0.5
    against gold "Acme (ORG)".
    """
    golds, preds = adaptllm_entities(gold), adaptllm_entities(pred)
    points = 0
    for entity in golds:
        shared = ((other.text == entity.text) + (other.type == entity.type) for other in preds)
        points += next(filter(None, shared), 0)
    return points / (len(golds) + len(preds)) if points else 0.0
