"""BibTeX of the card: one entry for every merge method and dataset that has a paper."""

import re

from mergekit_finance.data.registry import builtin_datasets
from mergekit_finance.operators import OPERATORS
from mergekit_finance.plugins.api import Dataset
from mergekit_finance.share import bibliography

FIELD = re.compile(r"  \w+ = \{.*\},?")


def test_every_dataset_of_the_package_has_an_entry() -> None:
    assert {dataset.name for dataset in builtin_datasets()} == set(bibliography.DATASETS)
    assert {key for keys in bibliography.DATASETS.values() for key in keys} <= set(bibliography.entries())


def test_every_entry_is_valid_bibtex() -> None:
    text = bibliography.Path(bibliography.__file__).with_name("references.bib").read_text("utf-8")
    assert len(bibliography.entries()) == text.count("\n@")
    for entry in bibliography.entries().values():
        first, *fields, last = entry.splitlines()
        assert (
            re.fullmatch(r"@[a-z]+\{[\w-]+,", first) and last == "}" and entry.count("{") == entry.count("}")
        )
        assert all(FIELD.fullmatch(line) for line in fields) and all(x.endswith(",") for x in fields[:-1])
        assert {"title", "author", "year"} <= {line.split()[0] for line in fields}


def test_each_paper_is_cited_once() -> None:
    names = ("cma_basics", "fp2", "cpa_audit", "arc")
    datasets = [dataset for dataset in builtin_datasets() if dataset.name in names]
    text = bibliography.bibtex(OPERATORS["dare_ties"].citation, datasets)
    keys = re.findall(r"^@\w+\{(.*),$", text, re.M)
    assert sorted(keys) == sorted(
        ["ueda2025merging", "yu2024language", "yadav2023ties", "goddard2024mergekit", "eval-harness",
         "hirano2024construction", "masuda2023can", "clark2018think"]
    )  # fmt: skip


def test_text_of_a_plugin_cannot_end_the_entry_or_the_code_block() -> None:
    fields = {"homepage": "https://x", "license": "mit", "text_may_be_shared": True}
    dataset = Dataset(name="a}b", title="T}\n```\n# x", citation="me {2020}\\", **fields)
    text = bibliography.bibtex("New method: arXiv 2601.13572", [dataset])
    assert "@misc{ab,\n  title = {T # x},\n  note = {me 2020},\n  url = {https://x}\n}" in text
    assert "`" not in text and "@misc{arxiv2601.13572," in text
