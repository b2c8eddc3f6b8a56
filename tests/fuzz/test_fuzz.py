"""Damaged input of every kind: each case works or ends with one line, in seconds, and writes nothing elsewhere.

`make test` runs 2,000 cases, always the same; `make fuzz`, which is part of `make test-full`, 30,000 of a seed that
it prints (FUZZ_CASES and FUZZ_SEED here). Hypothesis prints the smallest case that fails.
"""

import os
import time
from random import Random

import pytest
from helpers import fuzz_results, fuzz_targets
from helpers.fuzz_inputs import Inputs
from helpers.fuzz_targets import Target
from helpers.mutations import Damage
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st

SHORT = 2_000  # cases of `make test`, over all targets
LONG = int(os.environ.get("FUZZ_CASES", 30_000))
SEED = os.environ.get("FUZZ_SEED") or str(int(time.time()))
PART = 500  # cases of one long test: so that two processes share the work evenly

# Target -> its share of the cases.
TARGETS: dict[str, tuple[Target, int]] = {
    "recipe": (fuzz_targets.recipe, 300),
    "plain recipe": (fuzz_targets.plain_recipe, 100),
    "override": (fuzz_targets.override, 150),
    "study": (fuzz_targets.study_file, 220),
    "study plan": (fuzz_targets.study_plan, 20),
    "manifest": (fuzz_targets.manifest, 120),
    "rows": (fuzz_targets.rows, 150),
    "files of rows": (fuzz_targets.row_files, 60),
    "config": (fuzz_targets.model_config, 90),
    "tokenizer": (fuzz_targets.tokenizer, 80),
    "chat template": (fuzz_targets.template, 50),
    "index of shards": (fuzz_targets.shards, 40),
    "header": (fuzz_targets.header, 90),
    "pickle": (fuzz_targets.pickled, 70),
    "merge": (fuzz_targets.merged_models, 20),
    "study folder": (fuzz_results.study_folder, 90),
    "summary": (fuzz_results.summary, 70),
    "stored results": (fuzz_results.store, 50),
    "stored answers": (fuzz_results.answers, 30),
    "card": (fuzz_results.written_card, 30),
    "shared card": (fuzz_results.shared_card, 40),
    "answer": (fuzz_results.answer, 90),
    "likelihoods": (fuzz_results.likelihoods, 30),
    "aggregation": (fuzz_results.scores_of_items, 10),
}
assert sum(share for _, share in TARGETS.values()) == SHORT
RELAXED = settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))


def parts() -> list[tuple[str, int, int]]:
    """Return (target, number of the part, cases) of every long test."""
    divided = []
    for name, (_, share) in TARGETS.items():
        cases = LONG * share // SHORT
        divided += [(name, n, min(PART, cases - n * PART)) for n in range(-(-cases // PART))]
    return divided


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return Inputs(tmp_path_factory.mktemp("fuzz"))


def run(inputs: Inputs, name: str, cases: settings, start: str | None = None) -> dict[str, float]:
    """Run cases of a target. Returns their number, how many were refused, and the most CPU seconds of one."""
    target, _ = TARGETS[name]
    statistics = {"cases": 0, "refused": 0, "slowest": 0.0}

    @given(st.randoms(use_true_random=False))
    def one(random: Random) -> None:
        case = target(inputs, Damage(random))
        note(str(case))
        outcome = case.run(inputs.out)
        statistics["cases"] += 1
        statistics["refused"] += outcome.refused
        statistics["slowest"] = max(statistics["slowest"], outcome.seconds)

    target(inputs, Damage(Random(0), harmless=True))  # makes the inputs that it needs
    before = inputs.digest()
    settings(cases)(seed(start)(one) if start else one)()
    assert inputs.digest() == before, "an input was changed"
    return statistics


@pytest.mark.parametrize("name", TARGETS)
def test_valid_input_is_read_without_an_error(inputs: Inputs, name: str) -> None:
    """Otherwise tests of damaged input would prove nothing."""
    target, _ = TARGETS[name]
    for pick in range(5):
        case = target(inputs, Damage(Random(pick), harmless=True))
        assert not case.run(inputs.out).refused, str(case)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_works_or_is_reported_in_one_line(inputs: Inputs, name: str, record_property) -> None:
    cases = settings(RELAXED, max_examples=TARGETS[name][1], derandomize=True)
    record_property("fuzz", {"target": name, **run(inputs, name, cases)})


@pytest.mark.fuzz
@pytest.mark.parametrize(("name", "part", "cases"), parts())
def test_more_damaged_input(inputs: Inputs, name: str, part: int, cases: int, record_property) -> None:
    print(f"FUZZ_SEED={SEED}")
    examples = settings(RELAXED, max_examples=cases)
    record_property("fuzz", {"target": name, **run(inputs, name, examples, f"{SEED} {name} {part}")})
