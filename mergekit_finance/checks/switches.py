"""Check that a switch in config.json has the key that it needs. Without it, the switch has no effect."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mergekit_finance.checks.findings import Finding, finding

if TYPE_CHECKING:
    from mergekit_finance.checks.merge_facts import MergeFacts
    from mergekit_finance.files import Json

# A switch, and the keys of which it needs one.
PARTNERS = {
    "use_sliding_window": ("sliding_window",),
    "use_mtp": ("num_mtp_layers", "num_nextn_predict_layers"),
}
ROPE_BLOCKS = ("rope_parameters", "rope_scaling")
UNSCALED = ("default", None)  # rope types that do not use `factor`


def check_switches(merge: "MergeFacts") -> Iterator[Finding]:
    """A switch that is on needs its partner, and the factor of rotary positions a type."""
    for model in merge.models:
        for switch, partners in PARTNERS.items():
            if model.text.get(switch) is True and all(model.text.get(key) is None for key in partners):
                yield finding(
                    "model.config-switch",
                    f"{model.reference}: config.json has {switch} true, and no {' or '.join(partners)}",
                )
        for block in ROPE_BLOCKS:
            yield from _factor_without_type(model.reference, block, model.text.get(block))


def _factor_without_type(reference: str, block: str, settings: "Json") -> Iterator[Finding]:
    if not isinstance(settings, dict) or settings.get("factor") is None:
        return
    if settings.get("rope_type", settings.get("type")) in UNSCALED:
        yield finding(
            "model.config-switch",
            f"{reference}: {block} in config.json has factor {settings['factor']!r:.40}, and no rope_type "
            "that uses it",
            "Write the rope_type, such as linear, dynamic, yarn or llama3, or remove the factor.",
        )
