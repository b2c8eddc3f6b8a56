"""Check that the licenses on the models' cards allow sharing a merge. Not legal advice."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mergekit_finance.checks.findings import Finding, finding
from mergekit_finance.models.licenses import conflict, find_license

if TYPE_CHECKING:
    from mergekit_finance.checks.merge_facts import MergeFacts


def check_licenses(merge: "MergeFacts") -> Iterator[Finding]:
    """The licenses should allow adapting the models, and one license should satisfy all of them."""
    licenses = []
    for model in merge.models:
        for one in map(find_license, model.licenses):
            licenses.append(one)
            if one.kind == "no derivatives":
                text = f"{one.id}, the license of {model.reference}, forbids sharing a merge of it"
                yield finding("model.license", text)
    if reason := conflict(licenses):
        yield finding("model.license", f"the licenses of the models contradict each other: {reason}")
