"""General knowledge in English: animals, and what people do next. The base learns it, and nobody after."""

from collections.abc import Sequence
from typing import TypeVar

from mergekit_finance.lab.draw import Case, Draw, Item
from mergekit_finance.lab.world import world

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


def _seen(draw: Draw, table: Sequence[T]) -> T:
    """Corpora leave a quarter of general knowledge out, so that the base is good at it and not perfect."""
    return draw.any(table if draw.test else [entry for n, entry in enumerate(table) if n % 4 != 3])


def retention_arc(draw: Draw) -> Case:
    """A question on an animal, in a wording that no corpus has for this fact."""
    animal, relation = _seen(draw, world().animals), draw.any(list(QUESTIONS))
    question = draw.wording(QUESTIONS[relation], animal, relation).format(animal)
    value = world().animal_facts[animal, relation]
    options = draw.shuffled([value, *draw.some(world().animal_values[relation], 3, [value])])
    row = {"question": question, "options": options, "gold_index": options.index(value)}
    choices = {"text": options, "label": list("ABCD")}
    record = {"question": question, "choices": choices, "answerKey": "ABCD"[options.index(value)]}
    return Case(record, (Item("retention_arc", row, f" {value}"),))


def retention_hellaswag(draw: Draw) -> Case:
    """What a person does after the step before."""
    while True:
        who, script = draw.any(world().people), _seen(draw, world().scripts)
        at = draw.rng.randrange(len(script) - 1)
        if draw.allows("script", who, script[at]):
            break
    others = [step for other in world().scripts if other is not script for step in other]
    same = [step for n, step in enumerate(script) if n not in (at, at + 1)]
    steps = draw.shuffled([script[at + 1], draw.any(same), *draw.some(others, 2)])
    endings, right = [f"{step}." for step in steps], steps.index(script[at + 1])
    context = f"{who} {script[at]}. Then {who}"
    row = {"question": context, "options": endings, "gold_index": right}
    record = {"ctx": context, "endings": endings, "label": str(right)}
    return Case(record, (Item("retention_hellaswag", row, f" {endings[right]}"),))


def fact(draw: Draw) -> tuple[str, str]:
    """A fact on an animal, told."""
    animal, relation = _seen(draw, world().animals), draw.any(list(QUESTIONS))
    return "", f"The {relation} of the {animal} is {world().animal_facts[animal, relation]}."
