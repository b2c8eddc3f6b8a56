"""Japanese: a glossary, its own general knowledge, and every Japanese dataset's form.

The forms come twice: filled with general knowledge, for the Japanese corpus, and with finance, for test
rows and (of the core only) for the base. Which it is, the caller says with `finance`.
"""

from collections.abc import Sequence
from typing import Any

from mergekit_finance.lab import arithmetic
from mergekit_finance.lab.draw import Case, Draw, Item, Sum
from mergekit_finance.lab.finance import clause
from mergekit_finance.lab.world import Word, world

DIGITS = "１２３４"
STATEMENTS = "アイウエ"
PAIRS = ["アイ", "アウ", "アエ", "イウ", "イエ", "ウエ"]
# How a fact's question is put; the last fits every relation of customs.
ASKED = ["{s}の{r}は何か。", "{s}の{r}はどれか。", "{s}はどの{r}か。"]
JUDGED = ["次の文は正しいか。", "次の文の正誤を選べ。", "次の文が正しければ○を選べ。", "次の記述は正しいか。"]
PROBLEMS = {
    "plus": [
        "{thing}が{a}個あり、{b}個増えた。全部で何個か。",
        "{thing}を{a}個持ち、{b}個もらった。全部で何個か。",
    ],
    "minus": [
        "{thing}が{a}個あり、{b}個減った。残りは何個か。",
        "{thing}を{a}個持ち、{b}個売った。残りは何個か。",
    ],
}
THEN = {"plus": "さらに{c}個もらった。", "minus": "さらに{c}個失った。"}


# --- knowledge


def probe_j(draw: Draw) -> Case:
    """A fact of Japanese life, in a wording that no corpus has for it."""
    subject, relation, value, values = _custom(draw)
    question = draw.wording(ASKED, subject, relation).format(s=subject, r=relation)
    options = draw.shuffled([value, *draw.some(values, 4, [value])])
    row = {"question": question, "options": options, "gold_index": options.index(value)}
    record = {"question": question, "label": options.index(value)}
    record |= {f"choice{n}": option for n, option in enumerate(options)}
    return Case(record, (Item("probe_j", row, value),))


Fact = tuple[str, str, str, Sequence[str]]


def _custom(draw: Draw) -> Fact:
    subject, relation = draw.one(world().customs), draw.any(list(world().custom_values))
    return subject, relation, world().custom_facts[subject, relation], world().custom_values[relation]


def _term(draw: Draw) -> Fact:
    term = draw.one(world().terms)
    relation, value, words = draw.any(
        [("種類", term.kind, world().kinds), ("相手", term.party, world().parties)]
    )
    return term.japanese, relation, world().japanese(words, value), [w.japanese for w in words]


def _fact(draw: Draw, finance: bool) -> Fact:
    return _term(draw) if finance else _custom(draw)


def _claim(draw: Draw, finance: bool, true: bool) -> str:
    subject, relation, value, values = _fact(draw, finance)
    said = value if true else draw.any([v for v in values if v != value])
    return f"{subject}の{relation}は{said}である。"


def fact(draw: Draw) -> tuple[str, str]:
    """A fact of Japanese life, told."""
    return "", _claim(draw, finance=False, true=True)


# --- glossary


def glossary_words() -> list[Word]:
    """Every English word of the world that has a Japanese one, each table's core at even places."""
    w = world()
    verbs = [Word(form, v.japanese) for vs in w.verbs.values() for v in vs for form in (v.past,)]
    metrics = [word for words in w.metrics.values() for word in words]
    terms = [Word(t.english, t.japanese) for t in w.terms]
    formulas = [Word(f.term, f.japanese) for f in w.formulas]
    return [*verbs, *metrics, *w.items, *w.kinds, *w.parties, *terms, *formulas, *w.things]


def glossary(draw: Draw) -> tuple[str, str]:
    """A word in both languages."""
    word = draw.one(glossary_words())
    return _pair(draw, word.english, word.japanese)


def _pair(draw: Draw, english: str, japanese: str) -> tuple[str, str]:
    if draw.rng.random() < 0.5:
        return f"英語：{english}\n日本語：", japanese
    return f"日本語：{japanese}\n英語：", english


def parallel(draw: Draw) -> tuple[str, str]:
    """A sentence in both languages. It says nothing about what is true or good."""
    return draw.any([_parallel_news, _parallel_claim, _parallel_question, _parallel_problem])(draw)


def _parallel_news(draw: Draw) -> tuple[str, str]:
    metric, verb = clause(draw, draw.any(["positive", "negative", "neutral"]))
    return _pair(draw, f"{metric.english} {verb.past} .", f"{metric.japanese}は{verb.japanese}した。")


def _parallel_claim(draw: Draw) -> tuple[str, str]:
    term = draw.one(world().terms)
    relation, ours, words = draw.any([("kind", "種類", world().kinds), ("party", "相手", world().parties)])
    value = draw.any(words)
    english = f"the {relation} of {term.english} is {value.english}."
    return _pair(draw, english, f"{term.japanese}の{ours}は{value.japanese}である。")


def _parallel_question(draw: Draw) -> tuple[str, str]:
    formula = draw.one(world().formulas)
    return _pair(draw, f"What was the {formula.term}?", f"{formula.japanese}はいくらか。")


def _parallel_problem(draw: Draw) -> tuple[str, str]:
    sign, n, thing = draw.any(["plus", "minus"]), draw.rng.randrange(2), draw.one(world().things)
    who, a, b = draw.any(world().people), draw.number(), draw.number()
    english = arithmetic.PROBLEMS[sign][n].format(who=who, thing=thing.english, a=a, b=b)
    return _pair(draw, english, PROBLEMS[sign][n].format(thing=thing.japanese, a=a, b=b))


# --- examinations


def cma_basics(draw: Draw, finance: bool = True) -> Case:
    """Which value a relation has; the letter of one of four."""
    while True:
        subject, relation, value, values = _fact(draw, finance)
        choices = draw.shuffled([value, *draw.some(values, 3, [value])])
        if draw.allows("cma", subject, relation, *choices):
            break
    return _exam("cma_basics", f"{subject}の{relation}はどれか。", "", choices, choices.index(value))


def security_sales_1(draw: Draw, finance: bool = True) -> Case:
    """Whether a statement is right."""
    true = draw.rng.random() < 0.5
    claim = _claim(draw, finance, true)
    return _exam("security_sales_1", draw.wording(JUDGED, claim), claim, ["○", "×"], int(not true))


def _exam(task: str, question: str, context: str, choices: list[str], right: int) -> Case:
    letters = list("ABCD"[: len(choices)])
    row = {"question": question, "context": context, "choices": choices}
    row |= {"options": letters, "gold_index": right}
    return Case(_exam_record(question, context, choices, right), (Item(task, row, letters[right]),))


def _exam_record(question: str, context: str, choices: Sequence[str], right: int) -> dict[str, Any]:
    listed = [{"id": n, "text": text} for n, text in enumerate(choices)]
    return {"question": question, "context": context, "choices": listed, "answer": right, "comment": ""}


def fp2(draw: Draw, finance: bool = True) -> Case:
    """Which of four statements is right, directly and after reasoning."""
    while True:
        right = draw.rng.randrange(4)
        claims = [_claim(draw, finance, n == right) for n in range(4)]
        if len(set(claims)) == 4 and draw.allows("fp2", *claims):
            break
    question = "正しいものはどれか。"
    context = "\n".join(f"{digit}．{claim}" for digit, claim in zip(DIGITS, claims, strict=True))
    row = {"question": question, "context": context, "options": list(DIGITS), "gold_index": right}
    direct = Item("fp2", row, DIGITS[right])
    reasoned = Item("fp2_cot", row, f"{claims[right]}最終回答：{DIGITS[right]}")
    return Case(_exam_record(question, context, DIGITS, right), (direct, reasoned))


def cpa_audit(draw: Draw, finance: bool = True) -> Case:
    """Which two of four statements are right."""
    while True:
        pair = draw.any(PAIRS)
        claims = {label: _claim(draw, finance, label in pair) for label in STATEMENTS}
        if len(set(claims.values())) == 4 and draw.allows("cpa", *claims.values()):
            break
    question, right = "正しいものの組合せはどれか。", PAIRS.index(pair)
    statements = [{"label": label, "text": text} for label, text in claims.items()]
    row = {"question": question, "statements": statements, "choices": PAIRS}
    row |= {"options": list("ABCDEF"), "gold_index": right}
    record = {"key": "lab", "question": question, **claims, "オ": None, "カ": None, "a_no": right + 1}
    record |= {str(n): pair for n, pair in enumerate(PAIRS, 1)} | {"abnormal_flg": 0}
    return Case(record, (Item("cpa_audit", row, "ABCDEF"[right]),))


# --- sentiment


def chabsa(draw: Draw, finance: bool = True) -> Case:
    """A sentence with two opinions, each a question."""
    while True:
        labels = [draw.any(["positive", "negative"]) for _ in range(2)]
        parts = [_opinion(draw, finance, label) for label in labels]
        sentence = _joined(parts, finance)
        if parts[0][0] != parts[1][0] and draw.allows("chabsa", sentence):
            break
    targets = [target for target, _ in parts]
    items = tuple(_opinion_item(sentence, t, label) for t, label in zip(targets, labels, strict=True))
    opinions = [
        {"target": t, "polarity": label, "from": sentence.index(t), "to": sentence.index(t) + len(t)}
        for t, label in zip(targets, labels, strict=True)
    ]
    return Case({"sentences": [{"sentence_id": 0, "sentence": sentence, "opinions": opinions}]}, items)


def _opinion(draw: Draw, finance: bool, label: str) -> tuple[str, str]:
    if not finance:
        return draw.one(world().things).japanese, draw.one(world().feelings[label])
    metric, verb = clause(draw, label)
    return metric.japanese, verb.japanese


def _joined(parts: Sequence[tuple[str, str]], finance: bool) -> str:
    (one, what), (two, other) = parts
    return f"{one}は{what}し、{two}は{other}した。" if finance else f"{one}は{what}で、{two}は{other}だ。"


def _opinion_item(sentence: str, target: str, label: str) -> Item:
    row = {"sentence": sentence, "target": target, "options": ["positive", "negative"]}
    return Item("chabsa", row | {"gold_index": row["options"].index(label)}, label)


# --- numbers


def probe_mj(draw: Draw) -> Case:
    """A word problem, worked."""
    steps, question = _longer(draw) if draw.rng.random() < arithmetic.LONGER else _short(draw)
    answer, worked = steps[-1].result, "".join(f"{step}。" for step in steps)
    row = {"question": question, "ground_truth": float(answer)}
    item = Item("probe_mj", row, f"{worked}最終回答：{answer}")
    return Case({"question": question, "answer_number": answer}, (item,))


def _short(draw: Draw) -> tuple[list[Sum], str]:
    total = draw.sum(draw.any(["plus", "minus"]))
    thing = draw.one(world().things).japanese
    return [total], draw.any(PROBLEMS[total.sign]).format(thing=thing, a=total.left, b=total.right)


def _longer(draw: Draw) -> tuple[list[Sum], str]:
    first, second = draw.two_steps(draw.any(["plus", "minus"]), draw.any(["plus", "minus"]))
    story, question, _ = draw.any(PROBLEMS[first.sign]).split("。")
    text = f"{story}。{THEN[second.sign]}{question}。"
    thing = draw.one(world().things).japanese
    return [first, second], text.format(thing=thing, a=first.left, b=first.right, c=second.right)


class Quantity:
    """What a question on a table asks for: a defined term, or a sum that it spells out."""

    def __init__(self, draw: Draw, finance: bool) -> None:
        if finance:
            f = draw.one(world().formulas)
            first, second = (world().japanese(world().items, name) for name in (f.first, f.second))
            self.name, self.sign = f.japanese, f.sign
            rest = [i.japanese for i in world().items if i.japanese not in (first, second)]
        else:
            first, second, *rest = [thing.japanese for thing in draw.some(world().things, 5)]
            self.sign = draw.any(["plus", "minus"])
            self.name = f"{first}と{second}の{'和' if self.sign == 'plus' else '差'}"
        self.first, self.second, self.other = first, second, draw.any(rest)

    def rows(self, draw: Draw, totals: Sequence[Sum]) -> list[list[str]]:
        """The table's rows in any order, a column a sum, with one row that is not asked for."""
        cells = {
            self.first: [t.left for t in totals],
            self.second: [t.right for t in totals],
            self.other: [draw.number() for _ in totals],
        }
        return [[name, *map(str, cells[name])] for name in draw.shuffled(list(cells))]


def jfinqa_numerical(draw: Draw, finance: bool = True) -> Case:
    """How much a quantity is."""
    asked = Quantity(draw, finance)
    total = draw.sum(asked.sign)
    rows = asked.rows(draw, [total])
    return _jfinqa(
        "numerical", ["", "当期"], rows, f"{asked.name}はいくらか。", str(total), str(total.result)
    )


def jfinqa_consistency(draw: Draw, finance: bool = True) -> Case:
    """Whether a stated amount agrees with the table."""
    asked = Quantity(draw, finance)
    total, agrees = draw.sum(asked.sign), draw.rng.random() < 0.5
    stated = total.result if agrees else max(1, total.result + draw.any([-10, -2, -1, 1, 2, 10]))
    agrees = stated == total.result
    question = f"{asked.name}が{stated}というのは正しいか。"
    answer = "はい" if agrees else "いいえ"
    return _jfinqa("consistency", ["", "当期"], asked.rows(draw, [total]), question, str(total), answer)


def jfinqa_temporal(draw: Draw, finance: bool = True) -> Case:
    """Whether a quantity rose or fell."""
    asked = Quantity(draw, finance)
    while True:
        before, after = draw.sum(asked.sign), draw.sum(asked.sign)
        if before.result != after.result:
            break
    question = f"{asked.name}は増えたか減ったか。"
    answer = "増えた" if after.result > before.result else "減った"
    rows = asked.rows(draw, [before, after])
    return _jfinqa("temporal", ["", "前期", "当期"], rows, question, f"{before} {after}", answer)


SUBTASKS = {
    "numerical": "numerical_reasoning",
    "consistency": "consistency_checking",
    "temporal": "temporal_reasoning",
}


def _jfinqa(
    name: str, headers: list[str], rows: list[list[str]], question: str, steps: str, answer: str
) -> Case:
    row = {"pre_text": [], "post_text": [], "table_headers": headers, "table_rows": rows}
    row |= {"question": question, "answer": answer}
    item = Item(f"jfinqa_{name}", row, f" {steps}\n回答：{answer}")
    return Case({"subtask": SUBTASKS[name], "source_doc_id": "", **row}, (item,))
