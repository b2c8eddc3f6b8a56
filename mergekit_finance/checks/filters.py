"""Check that the filters of a recipe's parameters match tensors."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mergekit_finance.checks.findings import Finding, finding

if TYPE_CHECKING:
    from mergekit_finance.checks.merge_facts import MergeFacts


def filters_of(content: object) -> frozenset[str]:
    """Return all filters of parameters in a recipe."""
    if isinstance(content, Mapping):
        value = content.get("filter")
        inner = frozenset[str]().union(*map(filters_of, content.values()))
        return inner | {value} if isinstance(value, str) else inner
    if isinstance(content, list | tuple):
        return frozenset[str]().union(*map(filters_of, content))
    return frozenset()


def check_filters(merge: "MergeFacts") -> Iterator[Finding]:
    """A filter must match a tensor: mergekit uses a value where its filter is a part of the tensor's name."""
    names = merge.base.tensors
    for one in sorted(merge.filters - {"*"}):
        if names and not any(one in name for name in names):
            yield finding(
                "recipe.filter-unused",
                f"{merge.where + ': ' if merge.where else ''}filter {one!r:.80} matches no tensor of "
                f"{merge.base.reference}",
            )
