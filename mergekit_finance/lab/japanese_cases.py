"""Japanese: a glossary, general knowledge of Japan, and cases for every Japanese dataset.

Every dataset's cases exist in two versions: about general knowledge (`finance=False`), for the Japanese
corpus, and about finance (`finance=True`), for test rows and, limited to the core, for the base's corpus.
"""

from collections.abc import Sequence

from mergekit_finance.files import JsonObject
from mergekit_finance.lab import arithmetic
from mergekit_finance.lab.draw import Case, Draw, Item, Sum
from mergekit_finance.lab.finance_cases import clause
from mergekit_finance.lab.world import Formula, Word, World

DIGITS = "１２３４"
STATEMENTS = "アイウエ"
PAIRS = ["アイ", "アウ", "アエ", "イウ", "イエ", "ウエ"]
# Wordings of a question about a fact.
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
    """A question about a fact of Japanese life, in a wording that no corpus uses for this fact."""
    subject, relation, value, values = _custom(draw)
    question = draw.wording(ASKED, subject, relation).format(s=subject, r=relation)
    options = draw.shuffled([value, *draw.sample(values, 4, [value])])
    gold = options.index(value)
    row: JsonObject = {"question": question, "options": options, "gold_index": gold}
    choices = {f"choice{n}": option for n, option in enumerate(options)}
    record: JsonObject = {"question": question, "label": gold, **choices}
    return Case(record, (Item("probe_j", row, value),))


Fact = tuple[str, str, str, Sequence[str]]  # subject, relation, value, all values of the relation


def _custom(draw: Draw) -> Fact:
    subject, relation = draw.choice_in_scope(draw.world.customs), draw.choice(list(draw.world.custom_values))
    return subject, relation, draw.world.custom_facts[subject, relation], draw.world.custom_values[relation]


def _term(draw: Draw) -> Fact:
    term = draw.choice_in_scope(draw.world.terms)
    relation, value, words = draw.choice(
        [("種類", term.kind, draw.world.kinds), ("相手", term.party, draw.world.parties)]
    )
    return term.japanese, relation, draw.world.japanese(words, value), [w.japanese for w in words]


def _fact(draw: Draw, finance: bool) -> Fact:
    return _term(draw) if finance else _custom(draw)


def _claim(draw: Draw, finance: bool, true: bool) -> str:
    subject, relation, value, values = _fact(draw, finance)
    claimed = value if true else draw.choice([v for v in values if v != value])
    return f"{subject}の{relation}は{claimed}である。"


def fact(draw: Draw) -> tuple[str, str]:
    """Return a statement about Japanese life, as plain text (no prompt)."""
    return "", _claim(draw, finance=False, true=True)


# --- glossary


def glossary_tables(w: World) -> list[list[Word]]:
    """Return the tables of English words with a Japanese translation; the core of each is at even indices."""
    verbs = [[Word(v.past, v.japanese) for v in table] for table in w.verbs.values()]
    metrics = [list(table) for table in w.metrics.values()]
    terms = [Word(t.english, t.japanese) for t in w.terms]
    formulas = [Word(f.term, f.japanese) for f in w.formulas]
    words = [list(table) for table in (w.items, w.kinds, w.parties, terms, formulas, w.things)]
    return [*verbs, *metrics, *words]


def glossary_words(w: World) -> list[Word]:
    """Return every English word that has a Japanese translation, with the core at even indices."""
    return [word for table in glossary_tables(w) for word in table]


def glossary(draw: Draw) -> tuple[str, str]:
    """Return a word in one language as prompt and in the other as completion."""
    tables = glossary_tables(draw.world)
    (words,) = draw.rng.choices(tables, [len(table) for table in tables])  # each has rare words of its own
    word = draw.choice_in_scope(words)
    return _pair(draw, word.english, word.japanese)


def _pair(draw: Draw, english: str, japanese: str) -> tuple[str, str]:
    if draw.rng.random() < 0.5:
        return f"英語：{english}\n日本語：", japanese
    return f"日本語：{japanese}\n英語：", english


def parallel(draw: Draw) -> tuple[str, str]:
    """Return a sentence in one language as prompt and in the other as completion.

    The sentences are drawn at random, so that they teach the language and no facts.
    """
    return draw.choice([_parallel_news, _parallel_claim, _parallel_question, _parallel_problem])(draw)


def _parallel_news(draw: Draw) -> tuple[str, str]:
    metric, verb = clause(draw, draw.choice(["positive", "negative", "neutral"]))
    return _pair(draw, f"{metric.english} {verb.past} .", f"{metric.japanese}は{verb.japanese}した。")


def _parallel_claim(draw: Draw) -> tuple[str, str]:
    term = draw.choice_in_scope(draw.world.terms)
    relation, in_japanese, words = draw.choice(
        [("kind", "種類", draw.world.kinds), ("party", "相手", draw.world.parties)]
    )
    value = draw.choice(words)
    english = f"the {relation} of {term.english} is {value.english}."
    return _pair(draw, english, f"{term.japanese}の{in_japanese}は{value.japanese}である。")


def _parallel_question(draw: Draw) -> tuple[str, str]:
    formula = draw.choice_in_scope(draw.world.formulas)
    return _pair(draw, f"What was the {formula.term}?", f"{formula.japanese}はいくらか。")


def _parallel_problem(draw: Draw) -> tuple[str, str]:
    sign, n, thing = (
        draw.choice(["plus", "minus"]),
        draw.rng.randrange(2),
        draw.choice_in_scope(draw.world.things),
    )
    who, a, b = draw.choice(draw.world.people), draw.unused_number(), draw.unused_number()
    english = arithmetic.PROBLEMS[sign][n].format(who=who, thing=thing.english, a=a, b=b)
    return _pair(draw, english, PROBLEMS[sign][n].format(thing=thing.japanese, a=a, b=b))


# --- examinations


def cma_basics(draw: Draw, finance: bool = True) -> Case:
    """Which of four values a relation has; the answer is a letter."""
    while True:
        subject, relation, value, values = _fact(draw, finance)
        choices = draw.shuffled([value, *draw.sample(values, 3, [value])])
        if draw.in_split("cma", subject, relation, *choices):
            break
    return _exam("cma_basics", f"{subject}の{relation}はどれか。", "", choices, choices.index(value))


def security_sales_1(draw: Draw, finance: bool = True) -> Case:
    """Return a case that asks whether a statement is true."""
    true = draw.rng.random() < 0.5
    claim = _claim(draw, finance, true)
    return _exam("security_sales_1", draw.wording(JUDGED, claim), claim, ["○", "×"], int(not true))


def _exam(task: str, question: str, context: str, choices: list[str], gold: int) -> Case:
    letters = list("ABCD"[: len(choices)])
    row: JsonObject = {
        "question": question,
        "context": context,
        "choices": choices,
        "options": letters,
        "gold_index": gold,
    }
    return Case(_exam_record(question, context, choices, gold), (Item(task, row, letters[gold]),))


def _exam_record(question: str, context: str, choices: Sequence[str], gold: int) -> JsonObject:
    listed: list[JsonObject] = [{"id": n, "text": text} for n, text in enumerate(choices)]
    return {"question": question, "context": context, "choices": listed, "answer": gold, "comment": ""}


def fp2(draw: Draw, finance: bool = True) -> Case:
    """Which of four statements is true; answered directly, and after reasoning."""
    while True:
        gold = draw.rng.randrange(4)
        claims = [_claim(draw, finance, n == gold) for n in range(4)]
        if len(set(claims)) == 4 and draw.in_split("fp2", *claims):
            break
    question = "正しいものはどれか。"
    context = "\n".join(f"{digit}．{claim}" for digit, claim in zip(DIGITS, claims, strict=True))
    row: JsonObject = {"question": question, "context": context, "options": list(DIGITS), "gold_index": gold}
    direct = Item("fp2", row, DIGITS[gold])
    reasoned = Item("fp2_cot", row, f"{claims[gold]}最終回答：{DIGITS[gold]}")
    return Case(_exam_record(question, context, DIGITS, gold), (direct, reasoned))


def cpa_audit(draw: Draw, finance: bool = True) -> Case:
    """Which two of four statements are true."""
    while True:
        pair = draw.choice(PAIRS)
        claims = {label: _claim(draw, finance, label in pair) for label in STATEMENTS}
        if len(set(claims.values())) == 4 and draw.in_split("cpa", *claims.values()):
            break
    question, gold = "正しいものの組合せはどれか。", PAIRS.index(pair)
    statements = [{"label": label, "text": text} for label, text in claims.items()]
    row: JsonObject = {
        "question": question,
        "statements": statements,
        "choices": PAIRS,
        "options": list("ABCDEF"),
        "gold_index": gold,
    }
    choices = {str(n): pair for n, pair in enumerate(PAIRS, 1)}
    record: JsonObject = {
        "key": "lab", "question": question, **claims, "オ": None, "カ": None, "a_no": gold + 1,
        **choices, "abnormal_flg": 0,
    }  # fmt: skip
    return Case(record, (Item("cpa_audit", row, "ABCDEF"[gold]),))


# --- sentiment


def chabsa(draw: Draw, finance: bool = True) -> Case:
    """A sentence with two opinions; the polarity of each is a question."""
    while True:
        labels = [draw.choice(["positive", "negative"]) for _ in range(2)]
        parts = [_opinion(draw, finance, label) for label in labels]
        sentence = _joined(parts, finance)
        if parts[0][0] != parts[1][0] and draw.in_split("chabsa", sentence):
            break
    targets = [target for target, _ in parts]
    items = tuple(_opinion_item(sentence, t, label) for t, label in zip(targets, labels, strict=True))
    opinions: list[JsonObject] = [
        {"target": t, "polarity": label, "from": sentence.index(t), "to": sentence.index(t) + len(t)}
        for t, label in zip(targets, labels, strict=True)
    ]
    return Case({"sentences": [{"sentence_id": 0, "sentence": sentence, "opinions": opinions}]}, items)


def _opinion(draw: Draw, finance: bool, label: str) -> tuple[str, str]:
    if not finance:
        return draw.choice_in_scope(draw.world.things).japanese, draw.choice_in_scope(
            draw.world.feelings[label]
        )
    metric, verb = clause(draw, label)
    return metric.japanese, verb.japanese


def _joined(parts: Sequence[tuple[str, str]], finance: bool) -> str:
    (first, opinion), (second, other) = parts
    if finance:
        return f"{first}は{opinion}し、{second}は{other}した。"
    return f"{first}は{opinion}で、{second}は{other}だ。"


def _opinion_item(sentence: str, target: str, label: str) -> Item:
    options = ["positive", "negative"]
    row: JsonObject = {
        "sentence": sentence,
        "target": target,
        "options": options,
        "gold_index": options.index(label),
    }
    return Item("chabsa", row, label)


# --- numbers


def probe_mj(draw: Draw) -> Case:
    """A word problem of one or two sums, with its solution."""
    two_steps = draw.rng.random() < arithmetic.LONGER
    steps, question = _two_step_problem(draw) if two_steps else _one_step_problem(draw)
    answer, solution = steps[-1].result, "".join(f"{step}。" for step in steps)
    row: JsonObject = {"question": question, "ground_truth": float(answer)}
    item = Item("probe_mj", row, f"{solution}最終回答：{answer}")
    return Case({"question": question, "answer_number": answer}, (item,))


def _one_step_problem(draw: Draw) -> tuple[list[Sum], str]:
    total = draw.sum(draw.choice(["plus", "minus"]))
    thing = draw.choice_in_scope(draw.world.things).japanese
    return [total], draw.choice(PROBLEMS[total.sign]).format(thing=thing, a=total.left, b=total.right)


def _two_step_problem(draw: Draw) -> tuple[list[Sum], str]:
    first, second = draw.two_steps(draw.choice(["plus", "minus"]), draw.choice(["plus", "minus"]))
    story, question, _ = draw.choice(PROBLEMS[first.sign]).split("。")
    text = f"{story}。{THEN[second.sign]}{question}。"
    thing = draw.choice_in_scope(draw.world.things).japanese
    return [first, second], text.format(thing=thing, a=first.left, b=first.right, c=second.right)


def _named_steps(f: Formula, first: str, second: str) -> str:
    """Return the reasoning before the sum: the term in English, its formula, and the formula's items in Japanese."""
    formula = f"{f.first} {f.sign} {f.second}"
    return f"{f.japanese}={f.term}。{f.term} is {formula}。{f.first}={first}、{f.second}={second}。"


class Quantity:
    """The quantity in a question about a table: a defined term, or a sum that the question spells out."""

    def __init__(self, draw: Draw, finance: bool) -> None:
        if finance:
            f = draw.choice_in_scope(draw.world.formulas)
            first, second = (draw.world.japanese(draw.world.items, name) for name in (f.first, f.second))
            self.name, self.sign = f.japanese, f.sign
            self.opening = _named_steps(f, first, second)
            other_names = [i.japanese for i in draw.world.items if i.japanese not in (first, second)]
        else:
            first, second, *other_names = [thing.japanese for thing in draw.sample(draw.world.things, 5)]
            self.sign = draw.choice(["plus", "minus"])
            self.name = f"{first}と{second}の{'和' if self.sign == 'plus' else '差'}"
            self.opening = ""
        self.first, self.second, self.other = first, second, draw.choice(other_names)

    def rows(self, draw: Draw, totals: Sequence[Sum]) -> list[list[str]]:
        """Return the table's rows in random order, one column per sum, with one row that is not asked about."""
        cells = {
            self.first: [t.left for t in totals],
            self.second: [t.right for t in totals],
            self.other: [draw.unused_number() for _ in totals],
        }
        return [[name, *map(str, cells[name])] for name in draw.shuffled(list(cells))]


def jfinqa_numerical(draw: Draw, finance: bool = True) -> Case:
    """The value of a quantity."""
    quantity = Quantity(draw, finance)
    total = draw.sum(quantity.sign)
    rows = quantity.rows(draw, [total])
    return _jfinqa(
        "numerical",
        ["", "当期"],
        rows,
        f"{quantity.name}はいくらか。",
        f"{quantity.opening}{total}",
        str(total.result),
    )


def jfinqa_consistency(draw: Draw, finance: bool = True) -> Case:
    """Return a case that asks whether a stated amount agrees with the table."""
    quantity = Quantity(draw, finance)
    total, agrees = draw.sum(quantity.sign), draw.rng.random() < 0.5
    stated = total.result if agrees else max(1, total.result + draw.choice([-10, -2, -1, 1, 2, 10]))
    agrees = stated == total.result
    question = f"{quantity.name}が{stated}というのは正しいか。"
    answer = "はい" if agrees else "いいえ"
    steps = f"{quantity.opening}{total}"
    return _jfinqa("consistency", ["", "当期"], quantity.rows(draw, [total]), question, steps, answer)


def jfinqa_temporal(draw: Draw, finance: bool = True) -> Case:
    """Return a case that asks whether a quantity rose or fell between two years."""
    quantity = Quantity(draw, finance)
    while True:
        before, after = draw.sum(quantity.sign), draw.sum(quantity.sign)
        if before.result != after.result:
            break
    question = f"{quantity.name}は増えたか減ったか。"
    answer = "増えた" if after.result > before.result else "減った"
    rows = quantity.rows(draw, [before, after])
    steps = f"{quantity.opening}{before} {after}"
    return _jfinqa("temporal", ["", "前期", "当期"], rows, question, steps, answer)


SUBTASKS = {
    "numerical": "numerical_reasoning",
    "consistency": "consistency_checking",
    "temporal": "temporal_reasoning",
}


def _jfinqa(
    name: str, headers: list[str], rows: list[list[str]], question: str, steps: str, answer: str
) -> Case:
    row: JsonObject = {
        "pre_text": [],
        "post_text": [],
        "table_headers": headers,
        "table_rows": rows,
        "question": question,
        "answer": answer,
    }
    item = Item(f"jfinqa_{name}", row, f" {steps}\n回答：{answer}")
    return Case({"subtask": SUBTASKS[name], "source_doc_id": "", **row}, (item,))
