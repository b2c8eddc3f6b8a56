"""The reader of a study folder: what it returns, and its one-line errors."""

import json
import os
import shutil
from dataclasses import replace

import pytest
from helpers.study import content, synthetic
from helpers.synthetic import MODELS, PAIR, POINTS, build, shares

from mergekit_finance.errors import DataError
from mergekit_finance.study import results as reader
from mergekit_finance.study.analysis.summary import summary
from mergekit_finance.study.results import load_results
from mergekit_finance.study.schema import Key
from mergekit_finance.study.store import write_study_file

TABLES = {
    "t": shares(40, base=10, finance=20, math=12, s1f=16, s1m=4, pair=24),
    "r": shares(20, base=18, finance=6, math=9),
}
TASKS = {"r": {"kind": "retention", "skills": []}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished study, to copy."""
    out = build(tmp_path_factory.mktemp("finished") / "out", TABLES, TASKS).folder
    write_study_file(out / "summary.json", summary(out).as_json())
    return out


@pytest.fixture
def folder(finished, tmp_path):
    """A finished study that a test may change."""
    return shutil.copytree(finished, tmp_path / "out")


def change(path, edit):
    data = json.loads(path.read_text("utf-8"))
    edit(data)
    path.write_text(json.dumps(data), "utf-8")


def one_line(caught, path):
    message = str(caught.value)
    assert "\n" not in message and str(path) in message, message
    return message


def test_tasks_within_skills_need_some_skill_and_no_other(folder):
    results = load_results(folder)
    skills = {"none": [], "finance": ["finance"], "both": ["finance", "math"], "math": ["math"]}
    tasks = {name: results.tasks["t"].model_copy(update={"skills": of}) for name, of in skills.items()}
    tasks["retention"] = tasks["finance"].model_copy(update={"kind": "retention"})
    results = replace(results, all_tasks=tasks)
    assert results.within(frozenset({"finance"})) == ["finance"]
    assert results.within(frozenset({"finance", "math"})) == ["finance", "both", "math"]


def test_a_finished_study_is_read(folder):
    results = load_results(folder)
    assert results.singles == ["base", "finance", "math"] and results.experts == ["finance", "math"]
    assert results.chosen == list(POINTS) and results.selected == list(POINTS)
    assert list(results.combinations) == ["finance", "math", "finance+math"]
    assert results.task_names == ["t", "r"] and results.macro == ["t"]
    assert results.constituents(PAIR) == ["finance", "math"]
    assert results.constituents(POINTS[0]) == ["base", "finance"]
    assert results.base_and_experts(PAIR) == ["base", "finance", "math"]
    assert results.correct("finance", "t") == [True] * 20 + [False] * 20
    assert results.items("t")[:2] == ["t 0000", "t 0001"]
    assert results.measured(PAIR).scores["t"] == 0.6 and results.measured("base").scores["t"] == 0.25
    assert results.tested("finance+math")[0] == "own"
    assert results.similarity.total.pairs and results.samples("t") == [] and results.key("base") == Key()
    results.require_results([*MODELS, *POINTS])


def test_the_items_that_select_are_those_of_the_statistics(tmp_path):
    operators = {"task_arithmetic": {"lambda": [0.2, 0.5]}}
    study = content(".", ("finance",), stages=[1], tasks=["t"], limit=None, operators=operators)
    names = ["base", "finance", "stage1-finance-ta-lambda0.2", "stage1-finance-ta-lambda0.5"]
    synthetic(tmp_path, study, {"t": {name: [1.0] * 20 for name in names}})
    write_study_file(tmp_path / "summary.json", summary(tmp_path).as_json())
    results = load_results(tmp_path)
    selecting = results.is_selection_item("t")
    assert sum(selecting) == 6 == results.selection["t"].count and results.report["t"].count == 14
    assert {f"t/{i}" for i, selects in zip(results.items("t"), selecting, strict=True) if selects} == set(
        results.selection["t"].names
    )


def test_text_is_allowed_only_if_both_files_allow_it(folder):
    assert load_results(folder).text_allowed("t") and not load_results(folder).text_allowed("unknown")
    change(folder / "summary.json", lambda c: c["tasks"]["t"].update(text_may_be_shared=False))
    assert not load_results(folder).text_allowed("t") and load_results(folder).text_allowed("r")
    assert load_results(folder, with_text=True).text_allowed("t")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "no finished study here. Run `mergekit-finance study study.yml -o"),
        (("gain.json",), "holds the results of `mergekit-finance run`, not of a study"),
        (("study.json",), "this study is not finished"),
        (("index.json",), "this study is not finished"),
    ],
)
def test_the_error_for_a_folder_without_a_finished_study_describes_the_folder(tmp_path, names, message):
    for name in names:
        (tmp_path / name).write_text("{}")
    with pytest.raises(DataError) as caught:
        load_results(tmp_path)
    assert message in one_line(caught, tmp_path)


DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000
FILES = [
    "study.json",
    "tasks.json",
    "index.json",
    "summary.json",
    "similarity.json",
    "points/base/scores.json",
]


def read_all(folder):
    results = load_results(folder)
    return [results.columns(name) for name in (*MODELS, *POINTS)], results.similarity


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("text", [DEEP, "[]", '{"a": NaN}', '{"a": 1e999}', "{", ""])
def test_a_damaged_file_is_named_in_one_line(folder, name, text):
    (folder / name).write_text(text)
    with pytest.raises(DataError) as caught:
        read_all(folder)
    assert "run the study again" in one_line(caught, folder / name)


@pytest.mark.parametrize("name", [*FILES, "points", "points/finance"])
def test_links_are_not_followed(folder, tmp_path, name):
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError) as caught:
        read_all(folder)
    assert "is a symbolic link" in one_line(caught, folder / name)


def test_a_pipe_is_not_waited_for(folder):
    (folder / "similarity.json").unlink()
    os.mkfifo(folder / "similarity.json")
    with pytest.raises(DataError) as caught:
        read_all(folder)
    assert "not a regular file" in one_line(caught, folder / "similarity.json")


@pytest.mark.parametrize("name", ["results.json", "key.json", "samples_t.jsonl", "recipe.yml"])
def test_links_are_not_followed_for_optional_files(folder, tmp_path, name):
    (tmp_path / "elsewhere").write_text("{}")
    (folder / "points" / "base" / name).symlink_to(tmp_path / "elsewhere")
    (folder / "points" / PAIR / name).symlink_to(tmp_path / "elsewhere")
    results = load_results(folder)
    with pytest.raises(DataError, match="symbolic link"):
        _ = results.host_results("base"), results.key("base"), results.samples("t"), results.recipe_text(PAIR)


def point(index):
    return index["points"][0]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c["models"].pop("base"), "no base"),
        (lambda c: c.update(points=[]), "points: must not be empty"),
        (lambda c: point(c).pop("recipe"), "points.0.recipe: is missing. Add it"),
        (lambda c: point(c).update(folder="../../secret"), "is not a folder under points/"),
        (lambda c: c["models"]["base"].update(folder=".."), "is not a folder under points/"),
        (lambda c: point(c).update(name="a\n# b"), "is not a"),
        (lambda c: c["models"]["base"].update(reference="<img>"), "is not a valid name"),
        (lambda c: point(c).update(combination=["nobody"]), "no model 'nobody'"),
        (lambda c: point(c).update(constituents=["./nowhere"]), "'./nowhere' is not a model of this study"),
    ],
)
def test_a_damaged_index_is_reported_in_one_line(folder, edit, message):
    change(folder / "index.json", edit)
    with pytest.raises(DataError) as caught:
        load_results(folder)
    assert message in one_line(caught, folder / "index.json")


def test_a_task_with_markup_in_its_name_is_refused(folder):
    change(folder / "tasks.json", lambda c: c.update({"<script>": c["t"]}))
    with pytest.raises(DataError) as caught:
        load_results(folder)
    assert "is not a valid name" in one_line(caught, folder / "tasks.json")


def test_a_summary_of_other_results_is_refused(folder):
    change(folder / "summary.json", lambda c: c["points"][PAIR].update(folder="other"))
    with pytest.raises(DataError) as caught:
        load_results(folder)
    assert f"{PAIR} belongs to other results than those in index.json" in one_line(
        caught, folder / "summary.json"
    )


def test_a_summary_of_a_later_format_is_refused(folder):
    change(folder / "summary.json", lambda c: c.update(format=9))
    with pytest.raises(DataError) as caught:
        load_results(folder)
    assert "has format 9, and this version reads 1 to 2" in one_line(caught, folder / "summary.json")


SCORES = {
    "a word": (lambda rows: rows["correct"].__setitem__(0, "x"), "t.correct.0"),
    "null": (lambda rows: rows["correct"].__setitem__(0, None), "t.correct.0"),
    "a huge number": (lambda rows: rows["correct"].__setitem__(0, 10**20), "t.correct.0"),
    "a number of 401 digits": (
        lambda rows: rows["correct"].__setitem__(0, 10**400),
        "a number of 401 characters",
    ),
    "one number": (lambda rows: rows.update(correct=1.0), "t.correct"),
    "no items": (lambda rows: rows.update(items=None), "t.items"),
    "nothing asked": (lambda rows: rows.update(dict.fromkeys(rows, [])), "t.items"),
    "lists as clusters": (lambda rows: rows["clusters"].__setitem__(0, [1]), "t.clusters.0"),
    "too few clusters": (lambda rows: rows["clusters"].pop(), "columns of different lengths"),
}


@pytest.mark.parametrize("fault", SCORES)
@pytest.mark.parametrize("model", ["base", PAIR])
def test_damaged_scores_are_reported_in_one_line(folder, model, fault):
    edit, message = SCORES[fault]
    path = folder / "points" / model / "scores.json"
    change(path, lambda scores: edit(scores["t"]))
    with pytest.raises(DataError) as caught:
        load_results(folder).columns(model)
    assert message in one_line(caught, path)


def test_scores_of_missing_tasks_models_and_items_are_named(folder):
    change(folder / "points" / "math" / "scores.json", lambda c: c.pop("r"))
    with pytest.raises(DataError, match="no task 'r'"):
        load_results(folder).require_results(["math"])
    change(folder / "points" / "finance" / "scores.json", lambda c: c["t"]["items"].__setitem__(0, "other"))
    with pytest.raises(DataError, match="was evaluated on other items than the base"):
        load_results(folder).require_results(["finance"])
    (folder / "points" / PAIR / "scores.json").unlink()
    with pytest.raises(DataError, match="results are missing"):
        load_results(folder).require_results([PAIR])


def test_samples_are_read_in_the_order_of_items_and_damaged_lines_are_skipped(folder):
    path = folder / "points" / "base" / "samples_t.jsonl"
    path.write_text(
        '{"doc_id": 1, "a": 2}\n{"doc_id": 0, "a": 1}\n{"doc_id": 1e999}\n[1]\n{"doc_id": ' + "[" * 99999
    )
    assert [row["a"] for row in load_results(folder).samples("t")] == [1, 2]


def test_damaged_optional_files_are_read_as_empty(folder):
    for name in ("results.json", "key.json"):
        (folder / "points" / "base" / name).write_text(DEEP)
    results = load_results(folder)
    assert results.host_results("base") == {} and results.key("base") == Key()


def test_a_recipe_that_is_gone_is_made_from_the_index(folder):
    assert "merge_method: cpt_task_arithmetic" in load_results(folder).recipe_text(PAIR)
    (folder / "points" / PAIR / "recipe.yml").write_text("# mine")
    assert load_results(folder).recipe_text(PAIR) == "# mine"


def test_only_regular_objects_are_read(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        reader.read_object(tmp_path)
    assert reader.optional_object(tmp_path / "none.json") == {}
