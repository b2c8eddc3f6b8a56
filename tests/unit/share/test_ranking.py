"""Ranking: same items only, paired differences, and the reasons why results are not comparable."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from mergekit_finance.errors import DataError
from mergekit_finance.evaluation.columns import Columns
from mergekit_finance.share.ranked_results import RankedModel, RankedResults, difference
from mergekit_finance.share.ranking import rank
from mergekit_finance.share.ranking_text import FORMATS, terminal_text
from mergekit_finance.study.schema import Key, TaskInfo

TASK, RETENTION = "finance_bench_fpb", "finance_bench_retention_arc"
ITEMS = 400


def columns(share: float, seed: int, items: int = ITEMS, prefix: str = "i") -> Columns:
    right = (np.random.default_rng(seed).random(items) < share).astype(float).tolist()
    names = [f"{prefix}{n}" for n in range(items)]
    return Columns(items=names, clusters=names, score=right, correct=right, options=[2] * items)


def model(name: str, share: float, seed: int, **changes: object) -> RankedModel:
    tasks = {task: {"version": "1", "definition": "d", "data": "r"} for task in (TASK, RETENTION)}
    key = Key(**{"model": name, "engine": "hf", "dtype": "float32", "tasks": tasks} | changes)
    return RankedModel(name, "not merged", key, {task: columns(share, seed) for task in (TASK, RETENTION)})


def results(name: str, *models: RankedModel, reported: np.ndarray | None = None) -> RankedResults:
    tasks = {
        TASK: TaskInfo(kind="tasks", dataset="fpb", aggregation="mean", skills=["finance"]),
        RETENTION: TaskInfo(kind="retention", dataset="arc", aggregation="mean"),
    }
    items = len(models[0].columns[TASK].items)
    mask = np.ones(items, dtype=bool) if reported is None else reported
    return RankedResults(name, tasks, list(models), {task: mask for task in tasks}, False)


BASE, GOOD = model("base", 0.5, 1), model("good", 0.7, 2)


def test_models_of_two_sources_are_ranked_on_the_items_that_both_report() -> None:
    odd = np.arange(ITEMS) % 2 == 1
    ranking = rank([results("a", BASE), results("b", BASE, GOOD, reported=odd)])
    assert [(row.rank, row.name, row.sources) for row in ranking.rows] == [
        (1, "good", ["b"]),
        (2, "base", ["a", "b"]),
    ]
    good, base = (np.array(m.columns[TASK].score)[odd] for m in (GOOD, BASE))
    first, second = ranking.rows
    assert ranking.items[TASK] == 200 and any("only a reports" in note for note in ranking.notes)
    assert first.macro.value == pytest.approx(good.mean()) and first.below_first is None
    paired = stats.ttest_1samp(base - good, 0).confidence_interval()
    assert second.below_first is not None
    assert second.below_first.value == pytest.approx((base - good).mean(), abs=1e-6)
    assert second.below_first[1:] == pytest.approx((paired.low, paired.high), abs=0.02)
    assert first.retention is not None and first.retention.value == pytest.approx(good.mean())


def test_equal_scores_have_the_same_rank() -> None:
    twin = RankedModel("twin", "not merged", Key(**{**GOOD.key.as_json(), "model": "twin"}), GOOD.columns)
    ranks = [row.rank for row in rank([results("a", BASE, GOOD, twin)]).rows]
    assert ranks == [1, 1, 3]


def other_key(**changes: object) -> RankedResults:
    return results("b", model("good", 0.7, 2, **changes))


def other_task(part: str, value: str) -> RankedResults:
    tasks = {TASK: {"version": "1", "definition": "d", "data": "r", part: value}}
    return other_key(tasks=tasks | {RETENTION: GOOD.key.tasks[RETENTION]})


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (other_key(engine="compiled"), "another engine: compiled and hf"),
        (other_key(dtype="bfloat16"), "another dtype: bfloat16 and float32"),
        (other_key(score_code="new"), "another code that computes scores"),
        (other_key(request_code="new"), "another code that builds requests"),
        (other_task("version", "2"), "task fpb: another version: 2 and 1"),
        (other_task("definition", "x"), "task fpb: another definition (prompt or metric)"),
        (other_task("data", "x"), "task fpb: other rows of the dataset"),
        (other_key(tasks={}), "task fpb: another version: None and 1"),
        (replace(other_key(), tasks={RETENTION: results("b", GOOD).tasks[RETENTION]}), "lacks task fpb"),
        (replace(other_key(), models=[replace(GOOD, columns={TASK: columns(0.7, 2, 300)} | {RETENTION: GOOD.columns[RETENTION]})]), "task fpb: 300 items, not 400"),
        (replace(other_key(), models=[replace(GOOD, columns={TASK: columns(0.7, 2, prefix="j")} | {RETENTION: GOOD.columns[RETENTION]})]), "task fpb: other items"),
    ],
)  # fmt: skip
def test_results_that_cannot_be_compared_are_refused_with_the_reason(
    other: RankedResults, reason: str
) -> None:
    reference = results("a", BASE)
    assert difference(other, reference) == reason
    with pytest.raises(DataError) as caught:
        rank([reference, other])
    assert f"nothing can be compared with a. b: {reason}." in str(caught.value)
    ranking = rank([reference, results("c", GOOD), other])
    assert ranking.refused == {"b": reason} and {row.name for row in ranking.rows} == {"base", "good"}


def test_without_an_item_that_all_report_nothing_is_ranked() -> None:
    half = np.arange(ITEMS) < 200
    with pytest.raises(DataError, match="no item is reported by all"):
        rank([results("a", BASE, reported=half), results("b", GOOD, reported=~half)])


def test_other_devices_and_versions_are_noted() -> None:
    other = other_key(device="cuda", versions={"torch": "2"})
    notes = rank([results("a", BASE), other]).notes
    assert len([note for note in notes if "a few answers may differ" in note]) == 2


def test_the_terminal_table_has_at_most_80_columns() -> None:
    long = RankedModel("x" * 200, "TA λ 0.4", model("x", 0.6, 3).key, model("x", 0.6, 3).columns)
    text = terminal_text(rank([results("a" * 70, BASE, GOOD, long)]))
    assert max(map(len, text.splitlines())) <= 80 and "…" in text


HOSTILE = RankedModel("<script>alert(1)</script>|=1", "&", GOOD.key, GOOD.columns)


@pytest.mark.parametrize("name", FORMATS)
def test_names_are_escaped_in_every_format(name: str) -> None:
    ranking = rank([results("=cmd()", HOSTILE, BASE)])
    text = FORMATS[name](ranking)
    if name == "html":
        assert "<script" not in text and "&lt;script&gt;" in text and "default-src 'none'" in text
    if name == "csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        assert rows[0]["from"] == "'=cmd()" and float(rows[0]["mean"]) == ranking.rows[0].macro.value
        assert float(rows[1]["minus the first low"]) < float(rows[1]["minus the first"]) < 0
    if name == "json":
        assert json.loads(text) == ranking.as_json()
    if name == "markdown":
        assert (
            r"\|=1" in text
            and len({line.count(" | ") for line in text.splitlines() if line[:2] == "| "}) == 1
        )
