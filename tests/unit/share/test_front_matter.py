"""The words of a card's front matter; that the Hub reads all of it is tested end to end."""

import pytest

from mergekit_finance.share.front_matter import aggregation_in_words
from mergekit_finance.study.schema import TaskInfo


@pytest.mark.parametrize(
    ("aggregation", "words"),
    [("my_package.metrics:average", "average"), ("perplexity", "perplexity"), ("weighted_f1", "weighted F1")],
)
def test_an_aggregation_is_described_or_named_by_its_function(aggregation: str, words: str) -> None:
    task = TaskInfo(kind="tasks", dataset="fpb", aggregation=aggregation)
    assert aggregation_in_words(task) == words
