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
    return (_lab(), _llama3(), _llama2())


def _lab() -> Family:
    """The lab's models, as `mergekit-finance lab export` writes them."""
    note = "trained on the lab's world"
    experts = {
        skill: Expert(f"./lab/{skill}", "Apache-2.0", note) for skill in ("finance", "math", "japanese")
    }
    return Family("lab", "./lab/base", "Apache-2.0", experts)


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


def _llama2() -> Family:
    return Family(
        "llama2-7b",
        "meta-llama/Llama-2-7b-hf",
        "llama2",
        {
            "finance": Expert(
                "./finance-cpt-of-Llama-2-7b",
                "unknown",
                "to be replaced: we know of no finance continual pre-training of Llama-2-7B that fits",
            ),
            "math": Expert("gair-prox/Llama-2-7B-ProXMath", "unknown", "float32 checkpoint"),
            "japanese": Expert(
                "elyza/ELYZA-japanese-Llama-2-7b", "llama2", "rms_norm_eps 1e-6; a merge takes the base's"
            ),
        },
    )
