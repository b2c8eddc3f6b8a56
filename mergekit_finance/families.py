"""Families of checkpoints: a base and the experts that were continually pre-trained from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Expert:
    """A continually pre-trained model and what its use asks for."""

    model: str
    licence: str
    note: str = ""


@dataclass(frozen=True)
class Family:
    """A base and its experts by skill. Which experts the paper used is not known: ours are our choice."""

    name: str
    base: str
    licence: str
    experts: Mapping[str, Expert]


def builtin_families() -> Sequence[Family]:
    return (_tiny(), _llama3())


def _tiny() -> Family:
    experts = {
        skill: Expert(f"./tiny/{skill}", "Apache-2.0", "random weights")
        for skill in ("finance", "math", "japanese")
    }
    return Family("tiny", "./tiny/base", "Apache-2.0", experts)


def _llama3() -> Family:
    return Family(
        "llama3-8b",
        "meta-llama/Meta-Llama-3-8B",
        "llama3",
        {
            "finance": Expert(
                "instruction-pretrain/finance-Llama3-8B",
                "llama3",
                "float32 checkpoint, trained on instructions too",
            ),
            "math": Expert(
                "MathGenie/MathCoder2-Llama-3-8B",
                "apache-2.0",
                "its card's licence conflicts with its base's",
            ),
            "japanese": Expert("tokyotech-llm/Llama-3-Swallow-8B-v0.1", "llama3"),
        },
    )
