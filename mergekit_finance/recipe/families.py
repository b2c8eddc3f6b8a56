"""The built-in families of models: a base and the experts that were continually pre-trained from it.

The paper does not say which experts it used; these are our choice.
"""

from collections.abc import Sequence

from mergekit_finance.plugins.api import Expert, Family


def builtin_families() -> Sequence[Family]:
    """Return the families that the bundled recipes use."""
    return (_lab(), _llama3(), _llama2())


def _lab() -> Family:
    """Return the family of the lab's models, which `mergekit-finance lab export` writes."""
    note = "trained on the lab's generated corpora"
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
                "float32 checkpoint, also trained on instructions",
            ),
            "math": Expert(
                "MathGenie/MathCoder2-Llama-3-8B",
                "apache-2.0",
                "its card's license conflicts with its base's",
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
                "placeholder: we know of no published finance expert of Llama-2-7B that fits",
            ),
            "math": Expert("gair-prox/Llama-2-7B-ProXMath", "unknown", "float32 checkpoint"),
            "japanese": Expert(
                "elyza/ELYZA-japanese-Llama-2-7b",
                "llama2",
                "rms_norm_eps 1e-6; a merge uses the base's",
            ),
        },
    )
