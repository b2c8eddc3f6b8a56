"""Math in English: bare sums, and word problems of one or two steps with the steps written out."""

from mergekit_finance.files import JsonObject
from mergekit_finance.lab.draw import Case, Draw, Item, Sum

PROBLEMS = {
    "plus": [
        "{who} has {a} {thing} and gets {b} more. How many {thing} has {who}?",
        "There are {a} {thing}. {who} brings {b}. How many {thing} are there?",
        "{who} finds {a} {thing} and then {b}. How many in all?",
    ],
    "minus": [
        "{who} has {a} {thing} and loses {b}. How many are left?",
        "{who} has {a} {thing} and sells {b}. How many {thing} has {who}?",
        "There are {a} {thing}. {who} takes {b}. How many {thing} are there?",
    ],
}
THEN = {"plus": "{who} gets {c} more.", "minus": "{who} loses {c}."}
LONGER = 0.35  # share of problems with two steps


def probe_m(draw: Draw) -> Case:
    """A word problem of one or two sums, with its solution."""
    steps, question = _two_step_problem(draw) if draw.rng.random() < LONGER else _one_step_problem(draw)
    answer = steps[-1].result
    solution = " ".join(f"{step}." for step in steps)
    row: JsonObject = {"question": question, "ground_truth": float(answer)}
    item = Item("probe_m", row, f" {solution} The final answer is {answer}.")
    return Case({"question": question, "answer": f"{solution}\n#### {answer}"}, (item,))


def _one_step_problem(draw: Draw) -> tuple[list[Sum], str]:
    total = draw.sum(draw.choice(["plus", "minus"]))
    return [total], _fill(draw, draw.choice(PROBLEMS[total.sign]), a=total.left, b=total.right)


def _two_step_problem(draw: Draw) -> tuple[list[Sum], str]:
    first, second = draw.two_steps(draw.choice(["plus", "minus"]), draw.choice(["plus", "minus"]))
    story, question = draw.choice(PROBLEMS[first.sign]).split(" How")
    text = f"{story} {THEN[second.sign]} How{question}"
    return [first, second], _fill(draw, text, a=first.left, b=first.right, c=second.right)


def _fill(draw: Draw, text: str, **numbers: int) -> str:
    return text.format(
        who=draw.choice(draw.world.people), thing=draw.choice(draw.world.things).english, **numbers
    )


def bare(draw: Draw) -> tuple[str, str]:
    """Return a prompt and completion: one sum as a question, or three sums as plain text (no prompt)."""
    shown = [draw.sum(draw.choice(["plus", "minus"])) for _ in range(3)]
    if draw.rng.random() < 0.5:
        return "", " ".join(f"{s}." for s in shown)
    first = shown[0]
    return f"Question: What is {first.left} {first.sign} {first.right}?\nAnswer:", f" {first.result}"
