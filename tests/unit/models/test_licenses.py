"""The license of a merge, and the duties that it takes over from the licenses of its models."""

from dataclasses import asdict
from itertools import combinations

import pytest

from mergekit_finance.models.licenses import KNOWN, MergeLicense, conflict, find_license, license_of_merge
from mergekit_finance.share.source_models import SourceModel, obstacles


@pytest.mark.parametrize(
    ("written", "identifier"),
    [
        ("apache-2.0", "apache-2.0"), ("Apache-2.0", "apache-2.0"), ("Apache License 2.0", "apache-2.0"),
        ("MIT", "mit"), ("Llama 3", "llama3"), ("llama-3.1", "llama3.1"), ("CC-BY-NC-4.0", "cc-by-nc-4.0"),
        ("cc by nc 4.0", "cc-by-nc-4.0"), ("cc-by", None), (None, None), ("other", None), ("unknown", None), ("", None),
    ],
)  # fmt: skip
def test_licenses_are_found_by_common_spellings(written: str | None, identifier: str | None) -> None:
    license_ = find_license(written)
    assert (
        (license_.id == identifier) if identifier else (license_.kind == "unknown" and not license_.shareable)
    )


def test_every_known_license_but_cc0_has_duties_and_a_link() -> None:
    assert all(
        one.link.startswith("https://") and (one.duties or one.id == "cc0-1.0") for one in KNOWN.values()
    )
    assert {one.id for one in KNOWN.values() if not one.shareable} == {"cc-by-nd-4.0", "cc-by-nc-nd-4.0"}
    assert not find_license("cc-by-nc-4.0").commercial


@pytest.mark.parametrize(
    ("licenses", "expected"),
    [
        (["mit"], {"license": "mit"}),
        (["llama3", "llama3"], {"license": "llama3"}),
        (["mit", "cc0-1.0"], {"license": "mit"}),
        (["cc-by-4.0", "cc-by-nc-4.0"], {"license": "cc-by-nc-4.0"}),
        (["cc-by-sa-4.0", "apache-2.0"], {"license": "cc-by-sa-4.0"}),
        (["cc-by-nc-sa-4.0", "cc-by-nc-4.0"], {"license": "cc-by-nc-sa-4.0"}),
        (["cc-by-sa-4.0", "cc-by-4.0"], {"license": "cc-by-sa-4.0"}),
        ([], {"license": "unknown"}),
        (["apache-2.0", "mit"], {"license": "other", "license_name": "apache-2.0-and-mit", "license_link": "README.md#licenses-and-duties"}),
        (["cc-by-4.0", "apache-2.0"], {"license": "other", "license_name": "apache-2.0-and-cc-by-4.0", "license_link": "README.md#licenses-and-duties"}),
        (["apache-2.0", "llama3"], {"license": "other", "license_name": "apache-2.0-and-llama3", "license_link": "README.md#licenses-and-duties"}),
        (["my-own", "yours"], {"license": "other", "license_name": "my-own-and-yours", "license_link": "README.md#licenses-and-duties"}),
        (["llama3", "gemma"], {"license": "other", "license_name": "gemma-and-llama3", "license_link": "README.md#licenses-and-duties"}),
        (["apache-2.0", "My Own!"], {"license": "other", "license_name": "apache-2.0-and-my-own", "license_link": "README.md#licenses-and-duties"}),
    ],
)  # fmt: skip
def test_the_license_of_a_merge_covers_all_duties(licenses: list[str], expected: dict[str, str]) -> None:
    merged = license_of_merge(map(find_license, licenses))
    assert {key: value for key, value in asdict(merged).items() if value is not None} == expected


def test_a_license_that_covers_another_lists_all_its_duties() -> None:
    """No two known licenses have the same duties; otherwise each would cover the other."""
    assert len({one.duties for one in KNOWN.values()}) == len(KNOWN)
    for one in KNOWN.values():
        for other in (x for x in KNOWN.values() if one.covers(x)):
            assert license_of_merge([one, other]) == MergeLicense(one.id) and set(other.duties) < set(
                one.duties
            )


def test_share_alike_conflicts_with_other_terms() -> None:
    assert conflict(map(find_license, ["cc-by-sa-4.0", "apache-2.0"])) is None
    assert "cc-by-sa-4.0 requires the merge to be under cc-by-sa-4.0" in str(
        conflict(map(find_license, ["cc-by-sa-4.0", "llama3"]))
    )
    for fits in (["cc-by-nc-sa-4.0", "cc-by-nc-4.0"], ["cc-by-sa-4.0", "cc-by-4.0"]):
        assert conflict(map(find_license, fits)) is None
    for apart in (["cc-by-sa-4.0", "cc-by-nc-4.0"], ["cc-by-nc-sa-4.0", "cc-by-sa-4.0"]):
        assert conflict(map(find_license, apart))
    pair = [
        SourceModel("base", "a/b", "0", claims={"x": "cc-by-sa-4.0"}),
        SourceModel("x", "a/c", "0", claims={"x": "llama3"}),
    ]
    assert len(obstacles(pair)) == 1


def test_conflicting_licenses_give_other() -> None:
    for licenses_of_models in combinations(KNOWN.values(), 3):
        assert not conflict(licenses_of_models) or license_of_merge(licenses_of_models).license == "other", (
            licenses_of_models
        )
