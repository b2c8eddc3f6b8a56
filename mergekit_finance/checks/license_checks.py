"""Check that the licenses of the models allow sharing a merge. Not legal advice."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mergekit_finance.checks.findings import Finding, finding
from mergekit_finance.models.licenses import find_license, obstacles_to_sharing

if TYPE_CHECKING:
    from mergekit_finance.checks.merge_facts import MergeFacts


def check_licenses(merge: "MergeFacts") -> Iterator[Finding]:
    """The licenses should allow adapting the models, and one license should satisfy all of them.

    A model whose license nobody names is not reported: `card` and `share` ask for it.
    """
    licenses = {}
    for model in merge.models:
        in_study = [name for reference, name in sorted(merge.licenses) if reference == model.reference]
        of_model = map(find_license, [*model.licenses, *in_study])
        licenses[model.reference] = list({one.id: one for one in of_model}.values())
    for line in obstacles_to_sharing(licenses):
        yield finding("model.license", line)
