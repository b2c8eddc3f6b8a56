"""Math in English: sums, bare and in word problems, with worked steps."""

from mergekit_finance.lab.draw import Case, Draw, Item
from mergekit_finance.lab.world import world

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
    """A word problem of one or two sums, worked."""
    steps, question = _longer(draw) if draw.rng.random() < LONGER else _short(draw)
    answer = steps[-1].result
    worked = " ".join(f"{step}." for step in steps)
    row = {"question": question, "ground_truth": float(answer)}
    item = Item("probe_m", row, f" {worked} The final answer is {answer}.")
    return Case({"question": question, "answer": f"{worked}\n#### {answer}"}, (item,))


def _short(draw: Draw):
    total = draw.sum(draw.any(["plus", "minus"]))
    return [total], _fill(draw, draw.any(PROBLEMS[total.sign]), a=total.left, b=total.right)


def _longer(draw: Draw):
    first, second = draw.two_steps(draw.any(["plus", "minus"]), draw.any(["plus", "minus"]))
    story, question = draw.any(PROBLEMS[first.sign]).split(" How")
    text = f"{story} {THEN[second.sign]} How{question}"
    return [first, second], _fill(draw, text, a=first.left, b=first.right, c=second.right)


def _fill(draw: Draw, text: str, **numbers: int) -> str:
    return text.format(who=draw.any(world().people), thing=draw.any(world().things).english, **numbers)


def bare(draw: Draw) -> tuple[str, str]:
    """Sums in a row, one of them as a question."""
    shown = [draw.sum(draw.any(["plus", "minus"])) for _ in range(3)]
    if draw.rng.random() < 0.5:
        return "", " ".join(f"{s}." for s in shown)
    first = shown[0]
    return f"Question: What is {first.left} {first.sign} {first.right}?\nAnswer:", f" {first.result}"
