"""The files of a study: written with current keys, read also with the keys of earlier versions."""

import json

import pytest
from helpers.synthetic import PAIR, POINTS, RETENTION, SAME, build, shares
from pydantic import ValidationError

from mergekit_finance.errors import first_problem
from mergekit_finance.study import schema
from mergekit_finance.study.analysis.summary import summary

RENAMED = {
    "constituents": "parents",
    "best_constituent": "best_parent",
    "over_best_constituent": "over_best_parent",
    "p_over_best_constituent": "p_over_best_parent",
    "p_over_all_constituents": "p_over_all_parents",
    "p_over_all_models": "p_over_everyone",
    "holm_over_all_models": "holm_over_everyone",
    "base_and_experts": "against_base_and_experts",
    "recovered": "back",
    "optimism": "optimism_of_choosing_and_reporting_on_the_same_items",
    "license": "licence",
    "base_license": "base_licence",
}
NEW_IN_FORMAT_2 = ("ranges", "advice", "effect", "retention_over_single", "groups")


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    tables = {
        "t": shares(200, base=40, finance=100, math=60, s1f=80, s1m=20, pair=120),
        "r": shares(200, base=90),
    }
    folder = tmp_path_factory.mktemp("schema")
    return summary(build(folder, tables, {"r": RETENTION}, selection=SAME).folder)


@pytest.fixture
def study_summary(computed):
    """A summary that a test may change."""
    return computed.model_copy(deep=True)


def as_format_1(content):
    """The same file as format 1 had it."""
    if isinstance(content, list):
        return [as_format_1(part) for part in content]
    if not isinstance(content, dict):
        return content
    remaining = {key: value for key, value in content.items() if key not in NEW_IN_FORMAT_2}
    return {RENAMED.get(key, key): as_format_1(value) for key, value in remaining.items()}


def test_what_is_written_is_read_back(study_summary):
    written = json.loads(json.dumps(study_summary.as_json()))
    # The number of workers is not stored.
    study = study_summary.study.model_copy(update={"workers": None})
    assert schema.Summary.model_validate(written) == study_summary.model_copy(update={"study": study})
    assert written["ship"]["macro"] == list(study_summary.ship.macro)  # an interval is a list of three


def test_a_summary_of_format_1_is_read_with_its_old_keys(study_summary):
    old = as_format_1(study_summary.as_json()) | {"format": 1}
    for point in old["points"].values():
        point["constituents"] = ["./a/reference"]  # format 1 had references there, and names in `parents`
    assert "parents" in old["points"][PAIR] and "best_parent" in old["selected"][PAIR]["sets"]["macro"]
    read = schema.Summary.model_validate(old)
    assert read.format == 2 and read.points[PAIR].constituents == ["finance", "math"]
    assert read.selected[PAIR].sets["macro"].best_constituent == "finance"
    assert read.selected[POINTS[0]].recovery == study_summary.selected[POINTS[0]].recovery.model_copy(
        update={"ranges": {}}
    )
    assert read.selection == study_summary.selection
    new = read.as_json()
    assert not set(RENAMED.values()) & keys(new)


def keys(content):
    if isinstance(content, list):
        return set().union(*map(keys, content))
    return set(content).union(*map(keys, content.values())) if isinstance(content, dict) else set()


def test_a_license_of_a_task_may_be_spelled_either_way():
    for key in ("license", "licence"):
        task = schema.TaskInfo.model_validate(
            {"kind": "tasks", "dataset": "d", "aggregation": "mean", key: "MIT"}
        )
        assert task.license == "MIT" and task.as_json()["license"] == "MIT"


@pytest.mark.parametrize("value", ["yes", 1, None, "true"])
def test_only_true_allows_text_to_be_shared(value):
    content = {"kind": "tasks", "dataset": "d", "aggregation": "mean", "text_may_be_shared": value}
    assert not schema.TaskInfo.model_validate(content).text_may_be_shared
    assert schema.TaskInfo.model_validate(content | {"text_may_be_shared": True}).text_may_be_shared


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["models"].pop("base"), "models: no base"),
        (lambda c: c.pop("ship"), "combinations and ship do not fit the tasks"),
        (lambda c: c["combinations"].clear(), "combinations and ship do not fit the tasks"),
        (lambda c: c["tasks"].clear(), "tasks: none"),
        (lambda c: c["models"]["base"].pop("macro"), "base: macro is missing"),
        (lambda c: c["combinations"]["finance"].update(selected="x"), "'x' is not a selected point"),
        (
            lambda c: c["combinations"]["finance"]["effect"].update(tested=""),
            "combinations.finance.effect.tested: '' is no set of tasks of the selected point",
        ),
        (lambda c: c["selected"][PAIR]["tasks"].pop("t"), f"selected.{PAIR}: tasks are missing"),
        (
            lambda c: c["selected"][PAIR]["tasks"]["t"]["constituents"].pop("math"),
            f"selected.{PAIR}: a score of constituent 'math' is missing",
        ),
        (
            lambda c: c["selected"][c["combinations"]["finance"]["selected"]]["sets"].pop("retention"),
            "recovery without the set of retention tasks",
        ),
        (
            lambda c: c["selected"][PAIR]["sets"]["macro"].update(tasks=["u"]),
            "'u' is not a task of the study",
        ),
        (
            lambda c: c["similarity"]["combinations"][0].update(point="x"),
            "similarity: 'x' is not a selected point",
        ),
        (lambda c: c["models"]["base"].update(scores={}), "base: scores are missing"),
        (lambda c: c["ship"].update(best_single="x"), "'x' is not a model of the study"),
        (lambda c: c["ship"].update(macro=[0.1, 0.2]), "ship.macro"),
        (lambda c: c["ship"].update(macro=[10**400, 0, 0]), "ship.macro"),
        (lambda c: c["study"].update(selection={"share": "some"}), "study.selection.share"),
    ],
)
def test_a_damaged_summary_is_reported_in_one_line_with_the_place(study_summary, change, message):
    content = json.loads(json.dumps(study_summary.as_json()))
    change(content)
    with pytest.raises(ValidationError) as caught:
        schema.Summary.model_validate(content)
    assert message in first_problem(caught.value) and "\n" not in first_problem(caught.value)


def test_a_number_that_rounds_to_zero_is_written_without_a_sign():
    assert json.dumps(schema.rounded([-1e-9, -0.1, 0.1])) == "[0.0, -0.1, 0.1]"


def test_seeds_stay_whole_numbers():
    """They are written into names of points, which are built again from the values."""
    entry = {
        "name": "p", "folder": "p", "stage": 1, "combination": ["a"], "operator": "dare_ties",
        "values": {"density": 0.5, "lambda": 1.0, "seed": 0}, "constituents": ["x"],
        "recipe": {"base_model": "b", "models": [{"model": "x", "parameters": {}}], "parameters": {"seed": 3}},
    }  # fmt: skip
    written = json.dumps(schema.PointEntry.model_validate(entry).as_json())
    assert '"values": {"density": 0.5, "lambda": 1.0, "seed": 0}' in written and '"seed": 3' in written
