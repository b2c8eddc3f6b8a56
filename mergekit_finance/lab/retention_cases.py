"""Rows of the lab's world for general datasets that no lab model was trained on.

They exist so that every task can be tried without downloads. The facts are those of `general_cases`; the forms
(a gap, a passage with a question, a last word) are in no corpus of the lab.
"""

from dataclasses import replace

from mergekit_finance.files import JsonObject
from mergekit_finance.lab import general_cases
from mergekit_finance.lab.arithmetic import probe_m
from mergekit_finance.lab.draw import Case, Draw, Item

LABELS = list("ABCD")


def arc_easy(draw: Draw) -> Case:
    """A question about an animal, as in ARC."""
    case = general_cases.retention_arc(draw)
    (item,) = case.items
    return Case(case.record, (replace(item, task="retention_arc_easy"),))


def openbookqa(draw: Draw) -> Case:
    """The beginning of a statement about an animal, and four ends."""
    animal, relation, value = _fact(draw)
    stem = f"The {relation} of the {animal} is"
    options = draw.shuffled([value, *draw.sample(draw.world.animal_values[relation], 3, [value])])
    gold = options.index(value)
    record: JsonObject = {
        "question_stem": stem, "choices": {"text": options, "label": LABELS}, "answerKey": LABELS[gold],
    }  # fmt: skip
    row: JsonObject = {"question": stem, "options": options, "gold_index": gold}
    return Case(record, (Item("retention_openbookqa", row, f" {value}"),))


def piqa(draw: Draw) -> Case:
    """What a person does next, with one right and one unrelated step."""
    case = general_cases.retention_hellaswag(draw)
    (item,) = case.items
    goal, endings, gold = (
        str(item.row["question"]),
        _texts(case.record["endings"]),
        int(str(case.record["label"])),
    )
    other = endings[(gold + 1) % len(endings)]
    options = draw.shuffled([endings[gold], other])
    label = options.index(endings[gold])
    record: JsonObject = {"goal": goal, "sol1": options[0], "sol2": options[1], "label": label}
    row: JsonObject = {"question": goal, "options": options, "gold_index": label}
    return Case(record, (Item("retention_piqa", row, f" {endings[gold]}"),))


def boolq(draw: Draw) -> Case:
    """Two facts and a yes-or-no question about one of them."""
    animal, relation, value = _fact(draw)
    passage = f"The {relation} of the {animal} is {value}. {general_cases.fact(draw)[1]}"
    is_true = draw.rng.random() < 0.5
    asked_value = value if is_true else draw.sample(draw.world.animal_values[relation], 1, [value])[0]
    question = f"is the {relation} of the {animal} {asked_value}"
    record: JsonObject = {"passage": passage, "question": question, "answer": is_true}
    row: JsonObject = {
        "passage": passage, "question": question, "options": ["no", "yes"], "gold_index": int(is_true),
    }  # fmt: skip
    return Case(record, (Item("retention_boolq", row, " yes" if is_true else " no"),))


def winogrande(draw: Draw) -> Case:
    """Two animals, of which one has a property."""
    first, relation, value = _fact(draw)
    second, _, _ = _fact(draw)
    while draw.world.animal_facts[second, relation] == value:
        second, _, _ = _fact(draw)
    other = draw.world.animal_facts[second, relation]
    before = f"The {relation} of the {first} is {value}, and that of the {second} is {other}. It is the "
    continuation = f"whose {relation} is {value}."
    names = draw.shuffled([first, second])
    gold = names.index(first)
    sentence = f"{before}_ {continuation}"
    record: JsonObject = {
        "sentence": sentence, "option1": names[0], "option2": names[1], "answer": str(gold + 1),
    }  # fmt: skip
    options = [before + name for name in names]
    row: JsonObject = {
        "sentence": sentence,
        "options": [*options],
        "gold_index": gold,
        "continuation": continuation,
    }
    return Case(record, (Item("retention_winogrande", row, f" {continuation}"),))


def lambada(draw: Draw) -> Case:
    """A fact stated twice, the second time without its last word."""
    animal, relation, value = _fact(draw)
    text = f"The {relation} of the {animal} is {value}. Everybody knows that the {relation} of the {animal} is {value}"
    context, word = text.rsplit(" ", 1)
    return Case({"text": text}, (Item("retention_lambada", {"context": context, "word": word}, f" {word}"),))


def svamp(draw: Draw) -> Case:
    """A word problem of one or two sums, split into its story and its question."""
    case = probe_m(draw)
    (item,) = case.items
    body, _, question = str(item.row["question"]).partition(". How")
    record: JsonObject = {
        "Body": f"{body}.",
        "Question": f"How{question}",
        "Answer": item.row["ground_truth"],
    }
    return Case(record, (replace(item, task="probe_svamp"),))


def _fact(draw: Draw) -> tuple[str, str, str]:
    """Return an animal, a relation and its value."""
    animal, relation = draw.choice(draw.world.animals), draw.choice(list(general_cases.QUESTIONS))
    return animal, relation, draw.world.animal_facts[animal, relation]


def _texts(values: object) -> list[str]:
    return [str(value) for value in values] if isinstance(values, list) else []
