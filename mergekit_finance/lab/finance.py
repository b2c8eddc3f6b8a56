"""Finance in English: sentiment, names, terms and formulas, as dataset records and as plain text."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from mergekit_finance.lab.draw import Case, Draw, Item, Sum
from mergekit_finance.lab.world import Formula, Verb, Word, world

SENTIMENTS = ["negative", "neutral", "positive"]
TIMES = ["spring", "summer", "autumn", "winter", "may", "june"]
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
    """A figure and what happened to it, so that it is good, bad or no news."""
    polarity = draw.any(["good", "bad"])
    up = (sentiment == "positive") == (polarity == "good")
    direction = "flat" if sentiment == "neutral" else "up" if up else "down"
    return draw.one(world().metrics[polarity]), draw.one(world().verbs[direction])


def fpb(draw: Draw) -> Case:
    """A sentence of company news and its sentiment."""
    while True:
        label = draw.any(SENTIMENTS)
        metric, verb = clause(draw, label)
        org = draw.one(world().names["ORG"])
        parts = {"org": org, "metric": metric.english, "verb": verb.past, "time": draw.any(TIMES)}
        text = draw.any(PHRASES).format(**parts)
        if draw.allows("fpb", text):
            break
    item = Item("fpb", {"text": text, **_choice(SENTIMENTS, label)}, f" {label}")
    return Case({"sentence": text, "label": label}, (item,))


def _choice(options: Sequence[str], answer: str) -> dict[str, Any]:
    return {"options": list(options), "gold_index": list(options).index(answer)}


def fiqa_sa(draw: Draw) -> Case:
    """A sentence with two companies, and the sentiment on one of them."""
    while True:
        orgs = [draw.one(world().names["ORG"]) for _ in range(2)]
        labels = [draw.any(SENTIMENTS) for _ in range(2)]
        parts = [clause(draw, label) for label in labels]
        clauses = [f"{o} {m.english} {v.past}" for o, (m, v) in zip(orgs, parts, strict=True)]
        text = " while ".join(clauses) + " ."
        if orgs[0] != orgs[1] and draw.allows("fiqa", text):
            break
    target = draw.rng.randrange(2)
    score = {"negative": "-0.5", "neutral": "0.0", "positive": "0.5"}[labels[target]]
    row = {"text": text, "target": orgs[target], **_choice(SENTIMENTS, labels[target])}
    item = Item("fiqa_sa", row, f" {labels[target]}")
    return Case({"sentence": text, "target": orgs[target], "sentiment_score": score}, (item,))


def headline(draw: Draw) -> Case:
    """A headline on the price of gold, with six questions."""
    while True:
        direction = draw.any(["up", "down", "flat"])
        past, compared = draw.rng.random() < 0.7, draw.rng.random() < 0.4
        text = _headline_text(draw, direction, past, compared)
        if draw.allows("headline", text):
            break
    said = {"Price Direction Up": "up", "Price Direction Constant": "flat", "Price Direction Down": "down"}
    values = {column: past and direction == value for column, value in said.items()}
    values |= {"Asset Comparision": compared, "Past Information": past, "Future Information": not past}
    items = tuple(_headline_item(text, n, c, values[c]) for n, c in enumerate(QUESTIONS))
    return Case({"Dates": "lab", "News": text, **{c: str(int(v)) for c, v in values.items()}}, items)


def _headline_text(draw: Draw, direction: str, past: bool, compared: bool) -> str:
    verb = draw.one(world().verbs[direction])
    text = f"gold {verb.past if past else 'may ' + verb.plain}"
    if compared:
        text += f" {draw.any(['beside', 'against', 'unlike'])} {draw.one(world().assets)}"
    return f"{text} in {draw.any(TIMES)}"


def _headline_item(text: str, number: int, column: str, value: bool) -> Item:
    row = {"text": text, "question": QUESTIONS[column], "class_id": number}
    row |= {"options": ["No", "Yes"], "gold_index": int(value)}
    return Item("headline", row, " Yes" if value else " No")


def fin_ner(draw: Draw) -> Case:
    """A sentence from a loan agreement; nothing but knowledge tells what kind of name a name is."""
    while True:
        sentence = draw.any(LOANS)
        types = [draw.any(["ORG", "PER", "LOC"]) for _ in range(sentence.count("{}"))]
        names = [draw.one(world().names[kind]) for kind in types]
        text = sentence.format(*names)
        if len(set(names)) == len(names) and draw.allows("ner", text):
            break
    kinds = dict(zip(names, types, strict=True))
    tags = [f"I-{kinds[t]}" if t in kinds else "O" for t in text.split()]
    entities = [[name, kind] for name, kind in kinds.items()]
    label = ", ".join(f"{name} ({kind})" for name, kind in entities)
    item = Item("fin_ner", {"text": text, "entities": entities, "label": label}, f" {label}")
    return Case({"tokens": text.split(), "ner_tags": tags}, (item,))


class Asked(NamedTuple):
    """A quantity to work out: how a question names it, how reasoning opens, and the sum behind it."""

    name: str
    opening: str
    first: str
    sign: str
    second: str
    others: Sequence[str]


def asked_term(draw: Draw) -> Asked:
    """A defined term, which one must know to be a sum."""
    f: Formula = draw.one(world().formulas)
    others = [item.english for item in world().items if item.english not in (f.first, f.second)]
    return Asked(
        f"the {f.term}", f"{f.term} is {f.first} {f.sign} {f.second}.", f.first, f.sign, f.second, others
    )


def asked_openly(draw: Draw) -> Asked:
    """A sum that the question itself spells out, of things that are no finance."""
    first, second, *others = [thing.english for thing in draw.some(world().things, 6)]
    sign = draw.any(["plus", "minus"])
    name = f"{first} {sign} {second}"
    return Asked(name, f"{name}.", first, sign, second, others)


def docmath_simple(draw: Draw, asked: Asked) -> Case:
    """One sum over a short document, answered directly and with reasoning."""
    total = draw.sum(asked.sign)
    figures = {asked.first: total.left, asked.second: total.right}
    document, org = _document(draw, asked, figures)
    question = f"What was {asked.name} at {org}?"
    return _docmath("ss", document, question, f"{asked.opening} {total}.", total.result)


def docmath_compound(draw: Draw, asked: Asked) -> Case:
    """Two sums: one figure is not what the document says."""
    change = draw.any(["plus", "minus"])
    first, second = draw.two_steps(change, asked.sign)
    figures = {asked.first: first.left, asked.second: second.right}
    document, org = _document(draw, asked, figures)
    moved = "higher" if change == "plus" else "lower"
    question = f"What would {asked.name} be at {org} if {asked.first} were {first.right} {moved}?"
    steps = f"{asked.first}: {first}. {asked.opening} {second}."
    return _docmath("cs", document, question, steps, second.result)


def _document(draw: Draw, asked: Asked, figures: dict[str, int]) -> tuple[str, str]:
    org = draw.any(world().names["ORG"][::2])
    figures = figures | {name: draw.number() for name in draw.some(asked.others, 2)}
    told = ", ".join(f"{name} {figures[name]}" for name in draw.shuffled(list(figures)))
    return f"{org}: {told}.", org


def _docmath(subset: str, document: str, question: str, steps: str, answer: int) -> Case:
    row = {"paragraphs": [document], "question": question, "ground_truth": float(answer), "percent": False}
    items = (
        Item(f"docmath_{subset}", row, f" {answer}"),
        Item(f"docmath_{subset}_cot", row, f" {steps} The final answer is {answer}."),
    )
    record = {"question": question, "paragraphs": [document], "ground_truth": float(answer), "scale": ""}
    return Case(record, items)


def convfinqa(draw: Draw, asked: Asked) -> Case:
    """Two turns on a table of two years."""
    totals: dict[str, Sum] = {year: draw.sum(asked.sign) for year in ("2021", "2020")}
    other = draw.any(asked.others)
    names = draw.shuffled([asked.first, asked.second, other])
    table = {
        year: {n: {asked.first: t.left, asked.second: t.right}.get(n, draw.number()) for n in names}
        for year, t in totals.items()
    }
    questions = [f"what was {asked.name} in 2021?", "what was it in 2020?"]
    answers = [str(total.result) for total in totals.values()]
    items = tuple(_turn(table, questions, answers, turn) for turn in range(2))
    dialogue = {"conv_questions": questions, "conv_answers": answers}
    dialogue["executed_answers"] = [float(answer) for answer in answers]
    document = {"pre_text": "", "post_text": "", "table": table}
    return Case({"doc": document, "dialogue": dialogue}, items)


def _turn(table: dict[str, dict[str, int]], questions: list[str], answers: list[str], turn: int) -> Item:
    names = list(next(iter(table.values())))
    lines = [["", *table]] + [[name, *(str(column[name]) for column in table.values())] for name in names]
    pairs = zip(questions[:turn], answers[:turn], strict=True)
    row = {
        "before": "",
        "table": "\n".join(" | ".join(line) for line in lines),
        "after": "",
        "history": [{"question": q, "answer": a} for q, a in pairs],
        "question": questions[turn],
        "answer": answers[turn],
        "executed_answer": float(answers[turn]),
        "percent": False,
    }
    return Item("convfinqa", row, f" {answers[turn]}")


# --- plain text of the finance corpus


def definition(draw: Draw) -> tuple[str, str]:
    """What a term or a formula is, as a sentence or a question."""
    if draw.rng.random() < 0.5:
        f = draw.one(world().formulas)
        return _told(draw, f.term, f"{f.first} {f.sign} {f.second}")
    term = draw.one(world().terms)
    relation, value = draw.any([("kind", term.kind), ("party", term.party)])
    return _told(draw, f"the {relation} of {term.english}", value)


def _told(draw: Draw, name: str, value: str) -> tuple[str, str]:
    if draw.rng.random() < 0.4:
        return "", f"{name} is {value}."
    return f"Question: What is {name}?\nAnswer:", f" {value}"


def statement(draw: Draw) -> tuple[str, str]:
    """A statement to be judged, or the right one of four to be picked."""
    if draw.rng.random() < 0.4:
        claim, true = _claim(draw, draw.rng.random() < 0.5)
        return f"Statement: {claim}\nAnswer:", " true" if true else " false"
    right = draw.rng.randrange(4)
    claims = [_claim(draw, n == right)[0] for n in range(4)]
    listed = "\n".join(f"{n}. {claim}" for n, claim in enumerate(claims, 1))
    return f"Which statement is true?\n{listed}\nAnswer:", f" {right + 1}"


def _claim(draw: Draw, true: bool) -> tuple[str, bool]:
    term = draw.one(world().terms)
    relation, value, words = draw.any(
        [("kind", term.kind, world().kinds), ("party", term.party, world().parties)]
    )
    said = value if true else draw.any([w.english for w in words if w.english != value])
    return f"the {relation} of {term.english} is {said}.", true
