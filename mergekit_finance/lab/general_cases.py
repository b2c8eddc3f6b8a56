"""General knowledge in English: animals, and what people do next. Only the base is trained on it."""

from collections.abc import Sequence
from typing import TypeVar

from mergekit_finance.files import JsonObject
from mergekit_finance.lab.draw import Case, Draw, Item

T = TypeVar("T")
QUESTIONS = {
    "colour": [
        "What colour is the {}?",
        "What is the colour of the {}?",
        "The {} is of what colour?",
        "Name the colour of the {}.",
    ],
    "home": [
        "Where does the {} live?",
        "What is the home of the {}?",
        "The {} lives in what place?",
        "Name the home of the {}.",
    ],
    "food": [
        "What does the {} eat?",
        "What is the food of the {}?",
        "The {} feeds on what?",
        "Name the food of the {}.",
    ],
}


def _choice_in_split(draw: Draw, table: Sequence[T]) -> T:
    """Return an entry; in a corpus, never every fourth one, so that the base is good but not perfect."""
    return draw.choice(table if draw.test else [entry for n, entry in enumerate(table) if n % 4 != 3])


def retention_arc(draw: Draw) -> Case:
    """A question about an animal, in a wording that no corpus uses for this fact."""
    animal, relation = _choice_in_split(draw, draw.world.animals), draw.choice(list(QUESTIONS))
    question = draw.wording(QUESTIONS[relation], animal, relation).format(animal)
    value = draw.world.animal_facts[animal, relation]
    options = draw.shuffled([value, *draw.sample(draw.world.animal_values[relation], 3, [value])])
    gold = options.index(value)
    choices = {"text": options, "label": list("ABCD")}
    row: JsonObject = {"question": question, "options": options, "gold_index": gold}
    record: JsonObject = {"question": question, "choices": choices, "answerKey": "ABCD"[gold]}
    return Case(record, (Item("retention_arc", row, f" {value}"),))


def retention_hellaswag(draw: Draw) -> Case:
    """Return a case that asks for a person's next step in a script."""
    while True:
        who, script = draw.choice(draw.world.people), _choice_in_split(draw, draw.world.scripts)
        at = draw.rng.randrange(len(script) - 1)
        if draw.in_split("script", who, script[at]):
            break
    others = [step for other in draw.world.scripts if other is not script for step in other]
    same = [step for n, step in enumerate(script) if n not in (at, at + 1)]
    steps = draw.shuffled([script[at + 1], draw.choice(same), *draw.sample(others, 2)])
    endings, gold = [f"{step}." for step in steps], steps.index(script[at + 1])
    context = f"{who} {script[at]}. Then {who}"
    row: JsonObject = {"question": context, "options": endings, "gold_index": gold}
    record: JsonObject = {"ctx": context, "endings": endings, "label": str(gold)}
    return Case(record, (Item("retention_hellaswag", row, f" {endings[gold]}"),))


def fact(draw: Draw) -> tuple[str, str]:
    """Return a statement about an animal, as plain text (no prompt)."""
    animal, relation = _choice_in_split(draw, draw.world.animals), draw.choice(list(QUESTIONS))
    return "", f"The {relation} of the {animal} is {draw.world.animal_facts[animal, relation]}."
