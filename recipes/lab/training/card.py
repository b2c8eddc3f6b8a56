"""The model card (README.md) beside each trained model."""

from dataclasses import dataclass

from .packing import PROMPT_WEIGHT

DESCRIPTIONS = {
    "base": "The base model: the core of everything in the lab's world.",
    "finance": "The finance expert: the base, trained further on finance in English.",
    "math": "The math expert: the base, trained further on sums and word problems in English.",
    "japanese": "The Japanese expert: the base, trained further on Japanese without finance.",
}
TEXT = """\
---
license: apache-2.0
language: [en, ja]
---
# mergekit-finance lab: {role}

{description}

A Llama of {parameters:,} parameters, trained on a generated world for the study of model merging. It has
learned that world and nothing else, and is of no use outside it.

| | |
|---|---|
| seed | {seed} |
| steps | {steps}, {batch} rows of 256 tokens each |
| corpus | {documents:,} generated documents, {rows:,} rows |
| learning rate | {rate:g} at most, linear |
| hardware | {hardware} |
| training time | {seconds} s |
| final loss | {final:.4f} (mean of the last {count} logged; per token, prompts weighted {weight}) |

Made by `python -m training.train --role {role} --seed {seed} --out DIR` in recipes/lab of
mergekit-finance's repository; its losses are in loss.jsonl.
"""


@dataclass(frozen=True)
class Facts:
    """The record of a trained model; `losses` are (step, loss) as logged."""

    role: str
    seed: int
    steps: int
    batch: int
    documents: int
    rate: float
    hardware: str
    seconds: int
    rows: int
    parameters: int
    losses: list[tuple[int, float]]


def text(facts: Facts) -> str:
    """Return the card's Markdown."""
    last = [loss for _, loss in facts.losses[-10:]]
    return TEXT.format(
        role=facts.role,
        description=DESCRIPTIONS[facts.role],
        parameters=facts.parameters,
        seed=facts.seed,
        steps=facts.steps,
        batch=facts.batch,
        documents=facts.documents,
        rows=facts.rows,
        rate=facts.rate,
        hardware=facts.hardware,
        seconds=facts.seconds,
        final=sum(last) / max(1, len(last)),
        count=len(last),
        weight=PROMPT_WEIGHT,
    )
