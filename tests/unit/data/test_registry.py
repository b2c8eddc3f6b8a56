"""The registry of datasets: its entries are complete and pinned, and wrong ones are reported."""

import pytest

from mergekit_finance.data import registry
from mergekit_finance.errors import DataError


def test_every_dataset_has_license_citation_and_whether_its_text_may_be_shared():
    for dataset in registry.datasets().values():
        assert dataset.license and dataset.citation and isinstance(dataset.text_may_be_shared, bool)
        assert dataset.adopts or dataset.sources


def test_urls_contain_the_pinned_revision():
    fpb, jfinqa = registry.dataset("fpb"), registry.dataset("jfinqa")
    hub, url = fpb.sources["hub"], jfinqa.sources["github"]
    assert hub.address(hub.files[0]) == f"hf://datasets/AdaptLLM/finance-tasks@{hub.revision}/FPB/test.json"
    assert f"/{url.revision}/" in url.address(url.files[0])
    assert len(hub.revision) == len(url.revision) == 40


def test_the_error_for_an_unknown_dataset_suggests_the_nearest_name():
    with pytest.raises(DataError, match="unknown dataset 'fbp'. Did you mean 'fpb'"):
        registry.dataset("fbp")


def test_an_entry_with_the_old_key_licence_has_a_license():
    text = "x: {title: X, homepage: h, licence: MIT, citation: c, text_may_be_shared: true}"
    (dataset,) = registry.parse_datasets(text, "extra.yml")
    assert dataset.license == dataset.licence == "MIT"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x: {title: X", "extra.yml, line 2: not valid YAML"),
        ("x: {title: X}\nx: {title: Y}", "extra.yml, line 2: not valid YAML .key 'x' appears twice"),
        ("- x", "extra.yml: must be a mapping of dataset names"),
        ("x: 3", "extra.yml: dataset 'x': must be a mapping of fields"),
    ],
)
def test_a_registry_that_is_not_a_mapping_of_datasets_is_reported_in_one_line(text, message):
    with pytest.raises(DataError, match=message):
        registry.parse_datasets(text, "extra.yml")


def test_a_wrong_registry_entry_is_reported_with_its_field():
    with pytest.raises(DataError, match="extra.yml: dataset 'x': license"):
        registry.parse_datasets(
            "x: {title: X, homepage: h, citation: c, text_may_be_shared: true}", "extra.yml"
        )
