"""The card beside each model: what it is, and how it was made."""

from collections.abc import Mapping, Sequence
from typing import Any

WHAT = {
    "base": "The base: some of everything in the lab's world.",
    "finance": "The finance expert: the base, trained on finance in English.",
    "math": "The math expert: the base, trained on sums and word problems in English.",
    "japanese": "The Japanese expert: the base, trained on Japanese without finance.",
}
TEXT = """\
---
license: apache-2.0
language: [en, ja]
---
# mergekit-finance lab: {role}

{what}

A Llama of {parameters:,} parameters, trained for real on a generated world. It is a model organism for the
study of merging: it knows that world and nothing else, and is of no use outside it.

| | |
|---|---|
| seed | {seed} |
| steps | {steps}, {batch} rows of 256 tokens each |
| corpus | {documents:,} generated documents, {rows:,} rows |
| learning rate | {rate:g} at most, linear |
| hardware | {hardware} |
| training time | {seconds} s |
| final loss | {final:.4f} (mean of the last {count} logged; per token, prompts weighted {weight}) |

Made by `python -m mergekit_finance.lab.train --role {role} --seed {seed} --out DIR`; its losses are in
loss.jsonl.
"""


def text(plan: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """A card from the plan and what came of it."""
    from mergekit_finance.lab.packing import PROMPT_WEIGHT

    last: Sequence[float] = [loss for _, loss in facts["losses"][-10:]]
    mean = sum(last) / max(1, len(last))
    numbers = {"final": mean, "count": len(last), "weight": PROMPT_WEIGHT, "what": WHAT[plan["role"]]}
    return TEXT.format(**{**plan, **facts, **numbers})
