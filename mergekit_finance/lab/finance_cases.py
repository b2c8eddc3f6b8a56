"""Finance in English: sentiment, named entities, terms and formulas, as dataset records and as plain text."""

from collections.abc import Sequence
from typing import NamedTuple

from mergekit_finance.files import JsonObject
from mergekit_finance.lab.draw import Case, Draw, Item, Sum
from mergekit_finance.lab.world import Formula, Verb, Word

SENTIMENTS = ["negative", "neutral", "positive"]
TIMES = ["spring", "summer", "autumn", "winter", "may", "june"]
# The questions of data/adapters/english.py; tests/unit/lab/test_generated_rows.py compares the prompts.
QUESTIONS = {
    "Price Direction Up": "Does the headline say that the price of gold went up?",
    "Price Direction Constant": "Does the headline say that the price of gold stayed the same?",
    "Price Direction Down": "Does the headline say that the price of gold went down?",
    "Asset Comparision": "Does the headline compare gold with another asset?",
    "Past Information": "Does the headline speak of what happened in the past?",
    "Future Information": "Does the headline speak of what will happen in the future?",
}
PHRASES = ["{org} said {metric} {verb} .", "{metric} at {org} {verb} in {time} .", "{org} {metric} {verb} ."]
LOANS = [
    "{} signed with {} .",
    "The loan names {} and {} .",
    "{} asked {} for {} .",
    "{} replaced {} and {} .",
]


def clause(draw: Draw, sentiment: str) -> tuple[Word, Verb]:
    """Return a figure and what happened to it, such that the news has this sentiment."""
    polarity = draw.choice(["good", "bad"])
    up = (sentiment == "positive") == (polarity == "good")
    direction = "flat" if sentiment == "neutral" else "up" if up else "down"
    return draw.choice_in_scope(draw.world.metrics[polarity]), draw.choice_in_scope(
        draw.world.verbs[direction]
    )


def fpb(draw: Draw) -> Case:
    """A sentence of company news and its sentiment."""
    while True:
        label = draw.choice(SENTIMENTS)
        metric, verb = clause(draw, label)
        org = draw.choice_in_scope(draw.world.names["ORG"])
        parts = {"org": org, "metric": metric.english, "verb": verb.past, "time": draw.choice(TIMES)}
        text = draw.choice(PHRASES).format(**parts)
        if draw.in_split("fpb", text):
            break
    item = Item("fpb", {"text": text, **_choice(SENTIMENTS, label)}, f" {label}")
    return Case({"sentence": text, "label": label}, (item,))


def _choice(options: Sequence[str], answer: str) -> JsonObject:
    return {"options": list(options), "gold_index": list(options).index(answer)}


def fiqa_sa(draw: Draw) -> Case:
    """A sentence about two companies, and the sentiment towards one of them."""
    while True:
        orgs = [draw.choice_in_scope(draw.world.names["ORG"]) for _ in range(2)]
        labels = [draw.choice(SENTIMENTS) for _ in range(2)]
        parts = [clause(draw, label) for label in labels]
        clauses = [f"{o} {m.english} {v.past}" for o, (m, v) in zip(orgs, parts, strict=True)]
        text = " while ".join(clauses) + " ."
        if orgs[0] != orgs[1] and draw.in_split("fiqa", text):
            break
    target = draw.rng.randrange(2)
    score = {"negative": "-0.5", "neutral": "0.0", "positive": "0.5"}[labels[target]]
    row: JsonObject = {"text": text, "target": orgs[target], **_choice(SENTIMENTS, labels[target])}
    item = Item("fiqa_sa", row, f" {labels[target]}")
    return Case({"sentence": text, "target": orgs[target], "sentiment_score": score}, (item,))


def headline(draw: Draw) -> Case:
    """A headline about the price of gold, with six yes/no questions."""
    while True:
        direction = draw.choice(["up", "down", "flat"])
        past, compared = draw.rng.random() < 0.7, draw.rng.random() < 0.4
        text = _headline_text(draw, direction, past, compared)
        if draw.in_split("headline", text):
            break
    directions = {
        "Price Direction Up": "up",
        "Price Direction Constant": "flat",
        "Price Direction Down": "down",
    }
    values = {column: past and direction == value for column, value in directions.items()}
    values |= {"Asset Comparision": compared, "Past Information": past, "Future Information": not past}
    items = tuple(_headline_item(text, n, c, values[c]) for n, c in enumerate(QUESTIONS))
    return Case({"Dates": "lab", "News": text, **{c: str(int(v)) for c, v in values.items()}}, items)


def _headline_text(draw: Draw, direction: str, past: bool, compared: bool) -> str:
    verb = draw.choice_in_scope(draw.world.verbs[direction])
    text = f"gold {verb.past if past else 'may ' + verb.plain}"
    if compared:
        text += f" {draw.choice(['beside', 'against', 'unlike'])} {draw.choice_in_scope(draw.world.assets)}"
    return f"{text} in {draw.choice(TIMES)}"


def _headline_item(text: str, number: int, column: str, value: bool) -> Item:
    row: JsonObject = {
        "text": text,
        "question": QUESTIONS[column],
        "class_id": number,
        "options": ["No", "Yes"],
        "gold_index": int(value),
    }
    return Item("headline", row, " Yes" if value else " No")


def fin_ner(draw: Draw) -> Case:
    """A sentence from a loan agreement. The type of each name cannot be told from the sentence."""
    while True:
        sentence = draw.choice(LOANS)
        types = [draw.choice(["ORG", "PER", "LOC"]) for _ in range(sentence.count("{}"))]
        names = [draw.choice_in_scope(draw.world.names[kind]) for kind in types]
        text = sentence.format(*names)
        if len(set(names)) == len(names) and draw.in_split("ner", text):
            break
    kinds = dict(zip(names, types, strict=True))
    tags = [f"I-{kinds[t]}" if t in kinds else "O" for t in text.split()]
    entities = [[name, kind] for name, kind in kinds.items()]
    label = ", ".join(f"{name} ({kind})" for name, kind in entities)
    item = Item("fin_ner", {"text": text, "entities": entities, "label": label}, f" {label}")
    return Case({"tokens": text.split(), "ner_tags": tags}, (item,))


class AskedSum(NamedTuple):
    """A quantity to compute.

    Attributes:
        name: How a question names it.
        opening: The first sentence of the reasoning.
        first, sign, second: The sum that it is: `first` plus or minus `second`.
        others: Names for further figures of the document, which are not asked about.
    """

    name: str
    opening: str
    first: str
    sign: str
    second: str
    others: Sequence[str]


def defined_sum(draw: Draw) -> AskedSum:
    """Return a defined term, whose formula the question does not state."""
    f: Formula = draw.choice_in_scope(draw.world.formulas)
    others = [item.english for item in draw.world.items if item.english not in (f.first, f.second)]
    return AskedSum(
        f"the {f.term}", f"{f.term} is {f.first} {f.sign} {f.second}.", f.first, f.sign, f.second, others
    )


def spelled_out_sum(draw: Draw) -> AskedSum:
    """Return a sum that the question itself spells out, of things outside finance."""
    first, second, *others = [thing.english for thing in draw.sample(draw.world.things, 6)]
    sign = draw.choice(["plus", "minus"])
    name = f"{first} {sign} {second}"
    return AskedSum(name, f"{name}.", first, sign, second, others)


def docmath_simple(draw: Draw, quantity: AskedSum) -> Case:
    """One sum over a short document, answered directly and with reasoning."""
    total = draw.sum(quantity.sign)
    figures = {quantity.first: total.left, quantity.second: total.right}
    document, org = _document(draw, quantity, figures)
    question = f"What was {quantity.name} at {org}?"
    return _docmath("ss", document, question, f"{quantity.opening} {total}.", total.result)


def docmath_compound(draw: Draw, quantity: AskedSum) -> Case:
    """Two sums: the question changes one of the figures first."""
    change = draw.choice(["plus", "minus"])
    first, second = draw.two_steps(change, quantity.sign)
    figures = {quantity.first: first.left, quantity.second: second.right}
    document, org = _document(draw, quantity, figures)
    moved = "higher" if change == "plus" else "lower"
    question = f"What would {quantity.name} be at {org} if {quantity.first} were {first.right} {moved}?"
    steps = f"{quantity.first}: {first}. {quantity.opening} {second}."
    return _docmath("cs", document, question, steps, second.result)


def _document(draw: Draw, quantity: AskedSum, figures: dict[str, int]) -> tuple[str, str]:
    org = draw.choice(draw.world.names["ORG"][::2])
    figures = figures | {name: draw.unused_number() for name in draw.sample(quantity.others, 2)}
    listed = ", ".join(f"{name} {figures[name]}" for name in draw.shuffled(list(figures)))
    return f"{org}: {listed}.", org


def _docmath(subset: str, document: str, question: str, steps: str, answer: int) -> Case:
    row: JsonObject = {
        "paragraphs": [document],
        "question": question,
        "ground_truth": float(answer),
        "percent": False,
    }
    items = (
        Item(f"docmath_{subset}", row, f" {answer}"),
        Item(f"docmath_{subset}_cot", row, f" {steps} The final answer is {answer}."),
    )
    record: JsonObject = {
        "question": question,
        "paragraphs": [document],
        "ground_truth": float(answer),
        "scale": "",
    }
    return Case(record, items)


def convfinqa(draw: Draw, quantity: AskedSum) -> Case:
    """Two questions in turn about a table of two years."""
    totals: dict[str, Sum] = {year: draw.sum(quantity.sign) for year in ("2021", "2020")}
    other = draw.choice(quantity.others)
    names = draw.shuffled([quantity.first, quantity.second, other])
    table = {
        year: {
            n: {quantity.first: t.left, quantity.second: t.right}.get(n, draw.unused_number()) for n in names
        }
        for year, t in totals.items()
    }
    questions = [f"what was {quantity.name} in 2021?", "what was it in 2020?"]
    answers = [str(total.result) for total in totals.values()]
    items = tuple(_turn(table, questions, answers, turn) for turn in range(2))
    dialogue: JsonObject = {
        "conv_questions": questions,
        "conv_answers": answers,
        "executed_answers": [float(answer) for answer in answers],
    }
    document: JsonObject = {"pre_text": "", "post_text": "", "table": table}
    return Case({"doc": document, "dialogue": dialogue}, items)


def _turn(table: dict[str, dict[str, int]], questions: list[str], answers: list[str], turn: int) -> Item:
    names = list(next(iter(table.values())))
    lines = [["", *table]] + [[name, *(str(column[name]) for column in table.values())] for name in names]
    history = zip(questions[:turn], answers[:turn], strict=True)
    row: JsonObject = {
        "before": "",
        "table": "\n".join(" | ".join(line) for line in lines),
        "after": "",
        "history": [{"question": q, "answer": a} for q, a in history],
        "question": questions[turn],
        "answer": answers[turn],
        "executed_answer": float(answers[turn]),
        "percent": False,
    }
    return Item("convfinqa", row, f" {answers[turn]}")


# --- texts of the finance corpus: each function returns a prompt (or "") and its completion


def definition(draw: Draw) -> tuple[str, str]:
    """Return the definition of a term or formula, as a sentence or as a question with its answer."""
    if draw.rng.random() < 0.5:
        f = draw.choice_in_scope(draw.world.formulas)
        return _definition_text(draw, f.term, f"{f.first} {f.sign} {f.second}")
    term = draw.choice_in_scope(draw.world.terms)
    relation, value = draw.choice([("kind", term.kind), ("party", term.party)])
    return _definition_text(draw, f"the {relation} of {term.english}", value)


def _definition_text(draw: Draw, name: str, value: str) -> tuple[str, str]:
    if draw.rng.random() < 0.4:
        return "", f"{name} is {value}."
    return f"Question: What is {name}?\nAnswer:", f" {value}"


def statement(draw: Draw) -> tuple[str, str]:
    """Return a statement to judge as true or false, or four statements of which one is true."""
    if draw.rng.random() < 0.4:
        claim, true = _claim(draw, draw.rng.random() < 0.5)
        return f"Statement: {claim}\nAnswer:", " true" if true else " false"
    right = draw.rng.randrange(4)
    claims = [_claim(draw, n == right)[0] for n in range(4)]
    listed = "\n".join(f"{n}. {claim}" for n, claim in enumerate(claims, 1))
    return f"Which statement is true?\n{listed}\nAnswer:", f" {right + 1}"


def _claim(draw: Draw, true: bool) -> tuple[str, bool]:
    term = draw.choice_in_scope(draw.world.terms)
    relation, value, words = draw.choice(
        [("kind", term.kind, draw.world.kinds), ("party", term.party, draw.world.parties)]
    )
    stated_value = value if true else draw.choice([w.english for w in words if w.english != value])
    return f"the {relation} of {term.english} is {stated_value}.", true
