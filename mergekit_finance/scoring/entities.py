"""Named entities: read from model text or from tags, and compared mention by mention.

FIN NER (Salinas Alvarado et al., ALTA 2015) is tagged IO: two adjacent entities of one type are one. Models
write "Entity text (TYPE), Entity text (TYPE)", the form of BloombergGPT's and AdaptLLM's prompts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from mergekit_finance.scoring.answers import direct_text
from mergekit_finance.scoring.numbers import nfkc


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


def entity_type(name: str) -> str:
    """PER, ORG, LOC or MISC for the names in use (person, Organisation, I-LOC); others in upper case."""
    return _TYPES.get(name.strip().lower(), name.strip().upper())


def parse_entities(text: str) -> list[Entity]:
    """Mentions on the first line of a model's output, repeats kept, in order.

    A mention is all the text between the previous "(TYPE)" and its own, so names may hold commas and
    parentheses: "Acme (Holdings), Inc (ORG)" is one. Text without a known type is none.
    """
    entities, position = [], 0
    line = direct_text(text) or ""
    for match in _TYPED.finditer(line):
        name = line[position : match.start()].strip(" ,;、\"'“”")
        position = match.end()
        if name:
            entities.append(Entity(name, entity_type(match[1])))
    return entities


def tag_spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Spans (type, first token, last token) of IO or IOB tags, as seqeval reads them."""
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
    """The mentions of a tagged sentence, tokens joined by spaces."""
    return [Entity(" ".join(tokens[start : end + 1]), name) for name, start, end in tag_spans(tags)]


def mention_key(entity: Sequence[str]) -> tuple[str, str]:
    """What two mentions must share: type and text, without white space, which tokenising moves about."""
    text, name = entity
    return re.sub(r"\s+", "", nfkc(str(text))), entity_type(str(name))


def match_counts(gold: Iterable[Hashable], pred: Iterable[Hashable]) -> tuple[int, int, int]:
    """(right, predicted, gold) mentions; a mention given twice is right as often as gold has it."""
    golds, preds = Counter(gold), Counter(pred)
    return (golds & preds).total(), preds.total(), golds.total()


def adaptllm_entities(text: str) -> list[Entity]:
    """AdaptLLM's parser, quirk included: only the last token before "(TYPE)", repeats dropped.

    The same as every match of `([^\\s]+\\s+)(\\([^\\s]+\\))` (microsoft/LMOps, adaptllm, `parse_ner`), which
    on a long word is quadratic; this walks over the words once.
    """
    entities: list[Entity] = []
    name, name_end = "", -1
    for word in re.finditer(r"\S+", text):
        typed = _last_parenthesis(word.group()) if name else 0
        if typed:
            # Of the white space that ends the pattern's first group, the parser cuts one character.
            found = Entity(name + text[name_end : word.start() - 1], word.group()[1 : typed - 1])
            entities += [found] if found not in entities else []
        name, name_end = word.group()[typed:], word.end()
    return entities


def _last_parenthesis(word: str) -> int:
    """Where "(...)" at the front of a word ends, at its last ")"; 0 when it is none."""
    end = word.rfind(")") + 1
    return end if word.startswith("(") and end > 2 else 0


def adaptllm_f1(gold: str, pred: str) -> float:
    """AdaptLLM's F1 of one sentence, averaged over sentences there; not comparable with corpus F1.

    nereval's two-axis score with every entity at position 0: each gold entity takes the first prediction that
    shares its text or its type, and text and type count one point each.
    """
    golds, preds = adaptllm_entities(gold), adaptllm_entities(pred)
    points = 0
    for entity in golds:
        shared = ((other.text == entity.text) + (other.type == entity.type) for other in preds)
        points += next(filter(None, shared), 0)
    return points / (len(golds) + len(preds)) if points else 0.0


def format_entities(entities: Iterable[Sequence[str]]) -> str:
    """Entities in the form that the prompts show: "Acme (ORG), Paris (LOC)"."""
    return ", ".join(f"{text} ({name})" for text, name in entities)
