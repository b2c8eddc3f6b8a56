"""The model card (README.md) of each trained model."""

from collections.abc import Sequence
from dataclasses import asdict

from .packing import PROMPT_WEIGHT
from .plans import Plan

DESCRIPTIONS = {
    "base": "The base model: trained on basic documents of every domain of the lab.",
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

A Llama model of {parameters:,} parameters for experiments with model merging. It was trained on generated
text only and cannot be used for other text.

| | |
|---|---|
| seed | {seed} |
| steps | {steps}, {batch} rows of 256 tokens each |
| corpus | {documents:,} generated documents, {rows:,} rows |
{shared}| learning rate | {rate:g} at most, linear |
| hardware | {hardware} |
| training time | {seconds} s |
| final loss | {final:.4f} (mean of the last {count} logged; per token, prompts weighted {weight}) |

Made by `{command}` in recipes/lab of
mergekit-finance's repository; its losses are in loss.jsonl.
"""


def text(
    plan: Plan,
    *,
    rows: int,
    parameters: int,
    hardware: str,
    seconds: int,
    losses: Sequence[tuple[int, float]],
    command: str,
) -> str:
    """Return the Markdown of a model's card.

    Args:
        plan: The settings that the model was trained with.
        rows: Number of rows in the packed corpus.
        parameters: Number of parameters of the model.
        hardware: Name of the GPU or CPU.
        seconds: Training time.
        losses: (step, loss) as logged; the card has the mean of the last ten.
        command: That the model was made by.
    """
    last = [loss for _, loss in losses[-10:]]
    return TEXT.format(
        shared=f"| rows of the base's corpus | {plan.general:.0%} |\n" if plan.general else "",
        **asdict(plan),
        description=DESCRIPTIONS[plan.role],
        rows=rows,
        parameters=parameters,
        hardware=hardware,
        seconds=seconds,
        final=sum(last) / max(1, len(last)),
        count=len(last),
        weight=PROMPT_WEIGHT,
        command=command,
    )
