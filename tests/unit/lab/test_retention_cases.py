"""Generated items of retention tasks: the raw record becomes, by the dataset's adapter, the row of the prompt."""

import random

import pytest

from mergekit_finance.data.adapters import retention as adapters
from mergekit_finance.data.records import Record
from mergekit_finance.lab import retention_cases
from mergekit_finance.lab.draw import Draw


@pytest.mark.parametrize("name", ["openbookqa", "piqa", "boolq", "winogrande", "lambada"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_adapter_makes_the_row_of_the_prompt_from_the_record(name: str, seed: int) -> None:
    case = getattr(retention_cases, name)(Draw(random.Random(seed), test=True))
    (row,) = getattr(adapters, name)({"test": [Record({"id": "1", **case.record}, "test.jsonl", 1)]})
    (item,) = case.items
    expected = {
        key: value for key, value in item.row.items() if key != "sentence"
    }  # only winogrande's prompt has it
    assert {key: row.get(key) for key in expected} == expected
