"""BibTeX of a card: the merge method, the hosts, the datasets and the study's paper."""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from mergekit_finance.plugins.api import Dataset

ENTRY = re.compile(r"^@\w+\{([\w-]+),$.*?^\}$", re.M | re.S)
ARXIV = re.compile(r"arXiv (\d{4}\.\d{5})")
HOSTS = ("goddard2024mergekit", "eval-harness")
STUDY = "ueda2025merging"
ADAPT_LLM = "cheng2024adapting"  # their repository holds the rows of five datasets
DATASETS: Mapping[str, tuple[str, ...]] = {
    "fpb": ("malo2014good", ADAPT_LLM),
    "fiqa_sa": ("maia2018open", ADAPT_LLM),
    "headline": ("sinha2021impact", ADAPT_LLM),
    "fin_ner": ("salinas2015domain", ADAPT_LLM),
    "convfinqa": ("chen2022convfinqa", ADAPT_LLM),
    "docmath": ("zhao2024docmath",),
    "chabsa": ("kubo2018chabsa",),
    "cma_basics": ("hirano2024construction",),
    "fp2": ("hirano2024construction",),
    "security_sales_1": ("hirano2024construction",),
    "cpa_audit": ("masuda2023can", "hirano2024construction"),
    "jfinqa": ("ogawa2025jfinqa",),
    "tatqa": ("zhu2021tatqa",),
    "fomc": ("shah2023trillion",),
    "financemath": ("zhao2024financemath",),
    "arc": ("clark2018think",),
    "arc_easy": ("clark2018think",),
    "hellaswag": ("zellers2019hellaswag",),
    "piqa": ("bisk2020piqa",),
    "boolq": ("clark2019boolq",),
    "winogrande": ("sakaguchi2020winogrande",),
    "lambada": ("paperno2016lambada",),
    "openbookqa": ("mihaylov2018can",),
    "gsm8k": ("cobbe2021training",),
    "svamp": ("patel2021nlp",),
    "mgsm_ja": ("shi2023language",),
    "jcommonsenseqa": ("kurihara2022jglue",),
}


@cache
def entries() -> dict[str, str]:
    """Return the BibTeX entries of references.bib by key."""
    text = Path(__file__).with_name("references.bib").read_text(encoding="utf-8")
    return {match[1]: match[0] for match in ENTRY.finditer(text)}


def bibtex(citation: str, datasets: Iterable[Dataset]) -> str:
    """Return BibTeX entries, each once.

    Args:
        citation: of the merge method, as `operators.Operator` has it.
        datasets: whose rows the scores are on.
    """
    cited = {STUDY: entries()[STUDY]}
    cited |= _of_method(citation) | {key: entries()[key] for key in HOSTS}
    for dataset in datasets:
        cited |= _of_dataset(dataset)
    return "\n\n".join(cited.values())


def _of_method(citation: str) -> dict[str, str]:
    """Return the entries of the arXiv papers that a citation names."""
    by_number = {number: key for key, text in entries().items() for number in _arxiv_numbers(text)}
    papers = {}
    for number in ARXIV.findall(citation):
        key = by_number.get(number, f"arxiv{number}")
        papers[key] = entries().get(key) or _misc(
            key,
            citation,
            {"eprint": number, "archivePrefix": "arXiv", "url": f"https://arxiv.org/abs/{number}"},
        )
    return papers


def _arxiv_numbers(entry: str) -> list[str]:
    return re.findall(r"eprint = \{(.*?)\}", entry)


def _of_dataset(dataset: Dataset) -> dict[str, str]:
    """Return the entries of a dataset; one of a plugin's is made from its title and citation."""
    if keys := DATASETS.get(dataset.name):
        return {key: entries()[key] for key in keys}
    key = re.sub(r"[^\w-]", "", dataset.name)
    return {key: _misc(key, dataset.title, {"note": dataset.citation, "url": dataset.homepage})}


def _misc(key: str, title: str, fields: Mapping[str, str]) -> str:
    """Return an entry whose values, which may be a plugin's, cannot end a field or the code block."""
    lines = [f"  {name} = {{{_plain(value)}}}" for name, value in {"title": title, **fields}.items()]
    return "\n".join([f"@misc{{{key},", ",\n".join(lines), "}"])


def _plain(text: str) -> str:
    return " ".join(text.translate(dict.fromkeys(map(ord, "{}`\\"))).split())
