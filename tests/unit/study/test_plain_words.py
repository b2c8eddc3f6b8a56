"""Wrong values in every field of study.yml: one line in plain words, with the place, and no word of pydantic's."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest

from mergekit_finance.errors import RecipeError
from mergekit_finance.study.config import parse_study

STUDY: dict[str, Any] = {
    "base": "./base",
    "base_license": "mit",
    "name": "legal",
    "experts": {"finance": {"model": "./f", "skills": ["a"], "license": "mit"}, "math": {"model": "./m"}},
    "operators": {
        "task_arithmetic": {"lambda": [0.5], "weight": {"finance": [1.0]}},
        "ties": {"density": [0.5], "lambda": [[0.1, 0.2]], "start": {"density": 0.5}},
        "dare_ties": {"density": {"finance": [0.3]}, "seeds": [0]},
        "slerp": {"t": [0.5, [{"filter": "mlp", "value": [0.1, 0.2]}, {"value": 0.8}]]},
    },
    "semantics": "paper",
    "stages": [1, 2],
    "chain": "experts",
    "tasks": ["arc_easy", {"task": "b", "metric": "acc", "filter": "none", "skills": ["x"], "weight": 2}],
    "retention": ["r"],
    "probes": ["p"],
    "named": {"finance+math": ["b"]},
    "include_path": ["x"],
    "source": "lab",
    "data_dir": "d",
    "limit": 5,
    "selection": {"share": 0.3, "seed": 1, "same_items": False},
    "select": {"maximize": {"arc_easy": 1}, "subject_to": {"r": {"points": -2, "against": "base"}}},
    "search": {"method": "successive_rejects", "budget": 0.5, "seed": 1},
    "evaluation": {
        "device": "cpu",
        "dtype": "auto",
        "engine": "auto",
        "batch_size": 3,
        "parallelize": False,
        "max_memory_per_gpu": None,
        "max_gen_toks": 4,
        "threads": 1,
        "samples": "all",
        "apply_chat_template": True,
        "system_instruction": "x",
        "fewshot_as_multiturn": True,
    },
    "executor": "local",
    "workers": 1,
    "out_dtype": "bfloat16",
    "resamples": 200,
    "seed": 1,
}
WRONG = [
    None, "", "text", "x" * 5000, [], {}, 5, -1, 0, 10**30, 1e-320, 1.5, float("nan"), float("inf"), True,
    [None], [[]], [{}], ["x"], {"a": 1}, {"a": {}}, [{"filter": "mlp"}], [{"value": "x"}], [{"value": []}],
    [{"filter": 3, "value": 3}], [{"filter": "m", "value": [None]}], ["a"] * 1001, list(range(10001)),
    {f"e{i}": {} for i in range(60)},
]  # fmt: skip
PYDANTIC = re.compile(
    r"[Ii]nput should|[Ss]hould (be|have|match)|after validation|unable to (parse|interpret)|[Tt]uple|Dictionary"
    r"|Field required|Extra inputs|function-|constrained-|\|plain|\.(bool|str|int|float|list)\b|Value error"
    r"|\[[a-z]+\[|NoneType|ge=|finite_number"
)


def places(block: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key, value in block.items() if isinstance(block, dict) else ():
        yield from places(value, (*path, key))
    for i, value in enumerate(block if isinstance(block, list) else ()):
        yield from places(value, (*path, i))


def with_value(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    study = copy.deepcopy(STUDY)
    block: Any = study
    for key in path[:-1]:
        block = block[key]
    block[path[-1]] = value
    return study


def test_the_study_itself_is_right() -> None:
    parse_study(STUDY, "study.yml")


@pytest.mark.parametrize(
    "path", [path for path in places(STUDY) if path], ids=lambda path: ".".join(map(str, path))
)
def test_wrong_values_are_refused_in_plain_words(path: tuple[Any, ...]) -> None:
    for value in WRONG:
        try:
            parse_study(with_value(path, value), "study.yml")
        except RecipeError as error:
            line = str(error)
            assert line.startswith("study.yml: ")
            assert not PYDANTIC.search(line), line
            assert "\n" not in line and len(line) <= 2100


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("evaluation", "apply_chat_template"), 5, "evaluation.apply_chat_template: must be true, false, or the name of"),
        (("evaluation", "max_memory_per_gpu"), "much", "must be a number with KB, MB, GB, KiB, MiB or GiB, such as 40GiB"),
        (("evaluation", "parallelize"), "maybe", "evaluation.parallelize: must be true or false (given: 'maybe')"),
        (("operators", "slerp", "t"), [{"value": []}], "operators.slerp.t.0.0.value: must not be empty"),
        (("operators", "slerp", "t"), [{"value": [0, None]}], "operators.slerp.t.0.0.value.1: must be a number (given: nothing)"),
        (("operators", "ties", "lambda"), [], "operators.ties.lambda: must not be empty"),
        (("search", "method"), 5, "search.method: must be 'grid' or 'successive_rejects' (given: 5)"),
        (("selection", "share"), 1, "selection.share: must be less than 1 (given: 1)"),
        (("stages",), True, "stages.0: must be a number, not yes or no"),
        (("seed",), 1.5, "seed: must be a whole number (given: 1.5)"),
        (("named",), 5, "named: must be a mapping of keys (given: 5)"),
        (("experts", "math"), {}, "experts.math.model: is missing. Add it"),
    ],
)  # fmt: skip
def test_what_is_wrong_and_what_to_write(path: tuple[Any, ...], value: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        parse_study(with_value(path, value), "study.yml")
