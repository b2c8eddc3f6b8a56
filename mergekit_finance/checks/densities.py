"""Check that densities which are shares of whole task vectors keep something of them."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from math import prod
from typing import TYPE_CHECKING

from mergekit_finance.checks.findings import Finding, finding

if TYPE_CHECKING:
    from mergekit_finance.checks.merge_facts import MergeFacts

METHOD = "cpt_ties"  # in paper semantics, the method whose densities are shares of whole task vectors


def densities_of(content: Mapping[str, object]) -> frozenset[float]:
    """Return the densities of a recipe that are shares of whole task vectors."""
    shared, models = content.get("parameters"), content.get("models")
    shared = shared if isinstance(shared, Mapping) else {}
    if content.get("merge_method") != METHOD or shared.get("semantics", "paper") != "paper":
        return frozenset()
    entries = models if isinstance(models, list | tuple) else ()
    blocks = [shared, *(entry.get("parameters") for entry in entries if isinstance(entry, Mapping))]
    values = (_number(block.get("density")) for block in blocks if isinstance(block, Mapping))
    return frozenset(value for value in values if value is not None)


def _number(value: object) -> float | None:
    """Return a number, also one that YAML reads as text, such as 1e-7."""
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except ValueError:
        return None


def check_densities(merge: "MergeFacts") -> Iterator[Finding]:
    """The number of elements that a density keeps is rounded, so a small one keeps none: an error."""
    size = sum(prod(tensor.shape) for tensor in (merge.base.tensors or {}).values())
    for density in sorted(merge.densities) if size else ():
        if round(Fraction(repr(density)) * size) == 0:
            yield finding(
                "recipe.density",
                f"density {density:g} keeps none of the {size:,} elements of a task vector",
                f"Write more than {0.5 / size:.2g}.",
            )
