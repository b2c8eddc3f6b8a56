"""Results of other lm-eval runs in a study: what is taken, what is refused, and what is said of it."""

import json
import shutil

import pytest
from click.testing import CliRunner
from helpers import study as helpers

from mergekit_finance.cli import import_results as import_command
from mergekit_finance.cli import main
from mergekit_finance.errors import DataError
from mergekit_finance.report.imported_table import imported_tables
from mergekit_finance.share.body import body_text
from mergekit_finance.share.card_tables import imported_models
from mergekit_finance.share.choice import choose_point
from mergekit_finance.share.facts import CardFacts
from mergekit_finance.share.ranked_results import read_results
from mergekit_finance.share.ranking import rank
from mergekit_finance.study.import_results import tasks_by_reason
from mergekit_finance.study.imported import read_imported
from mergekit_finance.study.results import load_results

FPB, DOCMATH = helpers.TASKS
DATE = "2026-01-02T03-04-05.678901"


@pytest.fixture(scope="module")
def study(tiny, tmp_path_factory):
    """A finished study of one expert."""
    out = tmp_path_factory.mktemp("study") / "out"
    helpers.go(tiny, out, experts=("finance",), stages=[1], limit=6)
    return out


@pytest.fixture
def out(study, tmp_path):
    shutil.copytree(study, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def theirs(out, tmp_path):
    """The results of the expert, as `lm_eval --log_samples --output_path theirs` names them."""
    place = load_results(out).place("finance")
    folder = tmp_path / "theirs" / "some__model"
    folder.mkdir(parents=True)
    shutil.copy(place / "results.json", folder / f"results_{DATE}.json")
    for task in helpers.TASKS:
        shutil.copy(place / f"samples_{task}.jsonl", folder / f"samples_{task}_{DATE}.jsonl")
    (folder / "results_2025-01-02T03-04-05.678901.json").write_text("{}")  # an older run
    return folder


def run(*arguments):
    return CliRunner().invoke(main, ["import", *map(str, arguments)])


def change(folder, task, **fields):
    """Change fields of the first sample of a task."""
    path = folder / f"samples_{task}_{DATE}.jsonl"
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(first) | fields), *others]))


def test_a_run_of_the_same_tasks_is_compared_with_the_studys_models(out, theirs):
    before = {path: path.read_bytes() for path in out.rglob("*.json")}
    result = run(f"mine={theirs.parent}", "--study", out)
    assert result.exit_code == 0 and "| mine" in result.output and "Not imported" not in result.output
    results = load_results(out)
    (imported,) = read_imported(results)
    assert imported.columns == results.columns("finance")
    assert (set(imported.file.tasks), imported.file.backend) == (set(helpers.TASKS), "hf")
    (table,) = imported_tables(results)
    expected = results.summary.models["finance"].macro
    assert table.rows[0][3].order == expected.value and table.rows[0][3].ends == (expected.low, expected.high)
    assert before == {path: path.read_bytes() for path in before}
    assert run(f"mine={theirs.parent}", "--study", out).exit_code == 0  # again


def test_the_table_fits_a_terminal_of_80_columns(out, theirs, monkeypatch):
    monkeypatch.setattr(import_command, "print_width", lambda: 80)
    lines = run(f"mine={theirs}", "--study", out).stdout.splitlines()
    prose = [line for line in lines if line.startswith("The report, the card and")]
    assert len(prose) == 1 and not any("|" in line for line in lines)
    assert max(len(line) for line in lines if line not in prose) <= 80
    assert any("not imported 0" in line for line in lines)  # the columns that do not fit follow below


def test_items_may_be_more_in_another_order_and_have_another_tokenizers_counts(out, theirs):
    path = theirs / f"samples_{FPB}_{DATE}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["doc"] = {**row["doc"], "option_tokens": [9, 9, 9]}
        row["doc_hash"] = "another"
    rows.append({**rows[0], "doc": {**rows[0]["doc"], "item_id": "more"}})
    path.write_text("\n".join(json.dumps(row | {"doc_id": k}) for k, row in enumerate(reversed(rows))))
    assert run(f"mine={theirs}", "--study", out).exit_code == 0
    results = load_results(out)
    assert read_imported(results)[0].columns == results.columns("finance")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"prompt_hash": "0"}, "the prompts of 1 of 6 rows differ (chat template, few-shot examples?)"),
        ({"target_hash": "0"}, "the targets of 1 of 6 rows differ"),
        ({"doc": {"item_id": "other"}}, "1 of 6 rows are missing or differ"),
        ({"doc": None, "doc_hash": "other"}, "1 of 6 rows are missing or differ"),
        ({"filter": "strict"}, "1 of 6 rows are missing or differ"),
        (
            {"score": {"a": 1}},
            "its samples are damaged (the metric 'score' has an impossible value)",
        ),
        (
            {"score": [1, 2, 3]},
            "its samples are damaged (the metric 'score' has an impossible value)",
        ),
        *(
            ({"score": score}, "its samples are damaged (the metric 'score' has an impossible value)")
            for score in ([5, "q"], [0, 7], [1, 7], [2, 7], [0, 1.5], [7, 0], "0")
        ),
        ({"correct": 7.0}, "its samples are damaged (the metric 'correct' has an impossible value)"),
    ],
)
def test_a_task_of_other_rows_prompts_or_targets_is_named(out, theirs, fields, reason):
    change(theirs, FPB, **fields)
    result = run(f"mine={theirs}", "--study", out)
    assert result.exit_code == 0 and f"Not imported: mine: {FPB}: {reason}" in result.output
    assert read_imported(load_results(out))[0].file.tasks == [DOCMATH]


def test_a_run_of_a_group_with_lm_eval_0_5_matches_though_its_names_and_targets_differ(out, theirs):
    """0.5 names a task of a group `group::task`, and writes the number of an option as target."""
    path = theirs / f"results_{DATE}.json"
    content = json.loads(path.read_text())
    change(theirs, FPB, target="1", target_hash="0")
    for task in helpers.TASKS:
        (theirs / f"samples_{task}_{DATE}.jsonl").rename(theirs / f"samples_group::{task}_{DATE}.jsonl")
    for key in ("results", "versions"):
        content[key] = {f"group::{task}": content[key][task] for task in helpers.TASKS}
    assert load_results(out).key("base").all_versions["lm-eval"]
    path.write_text(json.dumps(content | {"lm_eval_version": "9.5.0"}))
    assert run(f"mine={theirs}", "--study", out).exit_code == 0
    assert read_imported(load_results(out))[0].columns == load_results(out).columns("finance")


@pytest.mark.parametrize("model", ["my <model>", "two\nlines", "x" * 3000])
def test_a_backend_that_cannot_be_shown_is_unknown(out, theirs, model):
    path = theirs / f"results_{DATE}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"config": {"model": model}}))
    assert run(f"mine={theirs}", "--study", out).exit_code == 0
    assert read_imported(load_results(out))[0].file.backend == ""


@pytest.mark.parametrize("source", ["", "mine=", "="])
def test_an_empty_path_is_not_the_current_folder(out, source):
    result = run(source, "--study", out)
    assert result.exit_code == 1 and f"{source!r}: names no results." in result.output


def test_a_task_name_with_a_path_is_refused(out, theirs):
    path = theirs / f"results_{DATE}.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"results": {f"../x::{FPB}": {}, DOCMATH: {}}}))
    result = run(f"mine={theirs}", "--study", out)
    assert result.exit_code == 0 and f"Not imported: mine: {FPB}: samples cannot be read" in result.output


def test_another_version_and_missing_samples_are_named(out, theirs):
    path = theirs / f"results_{DATE}.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"versions": {FPB: 9.0}}))
    (theirs / f"samples_{DOCMATH}_{DATE}.jsonl").unlink()
    result = run(f"mine1={theirs}", "--study", out)
    assert result.exit_code == 1 and "no task matches those of the study" in result.output
    path.write_text(json.dumps(content | {"versions": {FPB: content["versions"][FPB]}}))
    result = run(f"mine2={theirs}", "--study", out)
    assert (
        result.exit_code == 0 and f"{DOCMATH}: no samples (run lm_eval with --log_samples)." in result.output
    )
    path.write_text(json.dumps(content | {"results": {FPB: content["results"][FPB]}}))
    result = run(f"mine3={theirs}", "--study", out)
    assert result.exit_code == 0 and f"{DOCMATH}: this run did not evaluate it." in result.output
    assert [*tasks_by_reason({"a": "x", "finance_bench_b": "y", "c": "x"})] == [
        "2 tasks (a, c): x",
        "finance_bench_b: y",
    ]
    path.write_text(json.dumps(content | {"versions": {FPB: 9.0, DOCMATH: 2.0}}))
    assert (
        f"version 9.0, and the study has {content['versions'][FPB]}"
        in run(f"mine4={theirs}", "--study", out).output
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "no results of lm-eval here"),
        ("out", "no results of lm-eval here"),
        ("a\nb=theirs", "cannot be shown"),
    ],
)
def test_what_holds_no_results_is_one_line(out, theirs, tmp_path, source, message):
    name, separator, path = source.rpartition("=")
    (tmp_path / "empty").mkdir()
    place = tmp_path / {"out": "empty"}.get(path, path)
    result = run(f"{name}{separator}{place}", "--study", out)
    assert result.exit_code == 1 and message in result.output and "Traceback" not in result.output
    assert not (out / "imported").exists()


def test_an_imported_file_that_was_edited_is_one_line(out, theirs):
    assert run(f"mine={theirs}", "--study", out).exit_code == 0
    path = out / "imported" / "mine" / "import.json"
    content = json.loads(path.read_text())
    scores = path.with_name("scores.json")
    for changed, message in (
        ({"name": "<b>"}, "not a valid name"),
        ({"tasks": ["x"]}, "not a task of this study"),
    ):
        path.write_text(json.dumps(content | changed))
        with pytest.raises(DataError, match=message):
            read_imported(load_results(out))
    path.write_text(json.dumps(content))
    columns = json.loads(scores.read_text())
    columns[FPB]["items"][0] = "other"
    scores.write_text(json.dumps(columns))
    with pytest.raises(DataError, match="has other items than the study"):
        read_imported(load_results(out))


@pytest.fixture
def vllm(theirs):
    """The same results as `lm_eval --model vllm` writes them: without what HFLM says of itself."""
    path = theirs / f"results_{DATE}.json"
    content = json.loads(path.read_text())
    arguments = "pretrained=./card,dtype=bfloat16,tensor_parallel_size=2,gpu_memory_utilization=0.9"
    content["config"] = {
        "model": "vllm",
        "model_args": arguments,
        "batch_size": "auto",
        "batch_sizes": [],
        "device": None,
        "use_cache": None,
        "limit": 6.0,
        "bootstrap_iters": 100000,
        "gen_kwargs": {},
        "random_seed": 0,
    }
    content |= {"model_source": "vllm", "model_name": "./card", "model_name_sanitized": ".__card"}
    path.write_text(json.dumps(content))
    return theirs


def test_results_of_vllm_are_in_the_leaderboard_and_in_the_card(out, vllm):
    result = run(f"in_vllm={vllm}", "--study", out)
    assert result.exit_code == 0 and "Selection, the verdict and figures are about" in result.output
    ranking = rank([read_results("out", out)])
    imported, expert = (next(r for r in ranking.rows if r.name == name) for name in ("in_vllm", "finance"))
    assert imported.how == "imported (vllm)" and imported.macro == expert.macro
    assert imported.rank == expert.rank and "in_vllm was imported: vllm answered" in " ".join(ranking.notes)
    shown = "\n".join(imported_models(load_results(out)))
    assert "| in_vllm" in shown and "vllm" in shown and shown.lstrip().startswith("Imported models. ")
    choice = choose_point(out, None, {})
    assert shown in body_text(choice, CardFacts(recipe="", versions={"mergekit-finance": "0"}))


def test_an_imported_model_without_some_task_is_named_and_not_ranked(out, theirs):
    change(theirs, FPB, prompt_hash="0")
    assert run(f"mine={theirs}", "--study", out).exit_code == 0
    ranking = rank([read_results("out", out)])
    assert "mine" not in [row.name for row in ranking.rows]
    assert ranking.refused == {"out: mine": "imported without task fpb"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["../x"], "'../x': cannot be the name of a folder"),
        (["a/b"], "'a/b': cannot be the name of a folder"),
        ([".."], "'..': cannot be the name of a folder"),
        (["n", "n"], "n: two runs have this name, the first in "),
        (
            ["finance"],
            "finance: is a model of the study itself. Give the imported one another name: NAME=RESULTS",
        ),
    ],
)
def test_a_name_that_would_be_written_elsewhere_or_twice(out, theirs, names, message):
    before = sorted(out.rglob("*"))
    result = run(*(f"{name}={theirs.parent}" for name in names), "--study", out)
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert message in result.output
    assert sorted(out.rglob("*")) == before


@pytest.mark.parametrize("kind", ["a file", "a link"])
def test_a_place_that_is_no_folder_stays_as_it_is(out, theirs, tmp_path, kind):
    place = out / "imported"
    if kind == "a file":
        place.write_text("mine")
    else:
        (tmp_path / "elsewhere").mkdir()
        place.symlink_to(tmp_path / "elsewhere")
    result = run(f"n={theirs.parent}", "--study", out)
    assert result.exit_code == 1
    assert "imported: is a link or not a folder" in result.output
    assert place.read_text() == "mine" if kind == "a file" else not list((tmp_path / "elsewhere").iterdir())


@pytest.fixture
def two_models(theirs):
    """The folder that two runs of lm-eval with one --output_path write: a folder of each model."""
    for folder, model in ((theirs, "some/model"), (theirs.with_name("other"), "./other")):
        if folder != theirs:
            shutil.copytree(theirs, folder)
        path = folder / f"results_{DATE}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"model_name": model}))
    return theirs.parent


def test_every_model_of_a_folder_is_imported_under_its_own_name(out, two_models):
    result = run(two_models, "--study", out)
    assert result.exit_code == 0
    assert [one.file.name for one in read_imported(load_results(out))] == ["model", "other"]
    sources = {one.file.source for one in read_imported(load_results(out))}
    assert sources == {str(path) for path in two_models.glob(f"*/results_{DATE}.json")}
    note = f"{two_models}: 2 runs of some/model, the newest is imported: results_{DATE}.json"
    assert note in result.stderr.splitlines()


def test_models_in_one_folder_are_several_models(out, two_models, theirs):
    path = theirs / "results_2025-01-02T03-04-05.678901.json"
    path.write_text((two_models / "other" / f"results_{DATE}.json").read_text())
    result = run(f"q={theirs}", "--study", out)
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert f"has results in 2 places: {theirs / f'results_{DATE}.json'}, {path}." in result.output


def test_one_name_for_several_models_is_refused(out, two_models):
    result = run(f"q={two_models}", "--study", out)
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    places = f"{two_models / 'other'}, {two_models / 'some__model'}"
    assert f"has results in 2 places: {places}. Name one: q={two_models / 'other'}, or" in result.output
    assert not (out / "imported").exists()


def test_another_run_of_an_imported_name_is_refused_and_the_same_run_is_not(out, theirs, tmp_path):
    assert run(f"mine={theirs}", "--study", out).exit_code == 0
    assert run(f"mine={theirs}", "--study", out).exit_code == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    other = shutil.copytree(theirs, tmp_path / "other") / f"results_{DATE}.json"
    other.write_text(other.read_text() + " ")
    result = run(f"new={theirs}", f"mine={other.parent}", "--study", out)
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert f"mine: is already imported, from {theirs / f'results_{DATE}.json'}. " in result.output
    assert f"or delete {out / 'imported' / 'mine'}." in result.output
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("names", [["mine", "Mine"], ["Mine", "mine"]])
@pytest.mark.parametrize("at_once", [True, False])
def test_names_that_differ_only_in_case_are_refused(out, theirs, names, at_once):
    sources = [f"{name}={theirs}" for name in names]
    if not at_once:
        assert run(sources.pop(0), "--study", out).exit_code == 0
    result = run(*sources, "--study", out)
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert f"{names[1]}: differs only in case from the imported model {names[0]}" in result.output


@pytest.mark.parametrize(
    ("score", "is_damage"), [([0, 0], True), (None, False)], ids=["another score", "the same score"]
)
def test_a_repeated_row_may_not_have_another_score(out, theirs, score, is_damage):
    path = theirs / f"samples_{FPB}_{DATE}.jsonl"
    first = json.loads(path.read_text().splitlines()[0])
    assert first["score"] != score
    with path.open("a") as file:
        file.write("\n" + json.dumps(first | ({"score": score} if score else {})))
    result = run(f"mine={theirs}", "--study", out)
    line = f"{FPB}: its samples are damaged (1 row repeated with another 'score')."
    assert result.exit_code == 0 and (line in result.output) == is_damage


def test_a_score_above_one_is_damage(out, theirs):
    change(theirs, DOCMATH, score=7)
    line = f"{DOCMATH}: its samples are damaged (the metric 'score' has an impossible value)."
    assert line in run(f"mine={theirs}", "--study", out).output


@pytest.mark.parametrize("damage", ["not JSON", "no task", "a score of 7"])
def test_a_damaged_import_is_repaired_by_importing_again(out, theirs, damage):
    assert run(f"mine={theirs}", "--study", out).exit_code == 0
    path = out / "imported" / "mine" / "scores.json"
    content = json.loads(path.read_text())
    if damage == "no task":
        del content[FPB]
    content[DOCMATH]["score"][0] = 7
    path.write_text("{" if damage == "not JSON" else json.dumps(content))
    end = f"Import it again, or delete {path.parent}."
    with pytest.raises(DataError) as caught:
        imported_tables(load_results(out))
    assert str(caught.value).endswith(end) and "study again" not in str(caught.value)
    result = run(f"other={theirs}", "--study", out)
    assert (result.exit_code, result.output.count("\n")) == (1, 1) and end in result.output
    assert not (out / "imported" / "other").exists()
    assert run(f"mine={theirs}", "--study", out).exit_code == 0
    assert imported_tables(load_results(out))
    path.with_name("import.json").write_text("{")
    assert run(f"mine={theirs}", "--study", out).exit_code == 0


def test_a_file_of_samples_and_an_empty_name_are_one_line(out, theirs):
    samples = theirs / f"samples_{FPB}_{DATE}.jsonl"
    for source, message in (
        (samples, "is a file of samples. Name the results_<date>.json beside it, or the folder."),
        (f"={theirs}", f"={theirs}: the name before = is empty."),
    ):
        result = run(source, "--study", out)
        assert (result.exit_code, result.output.count("\n")) == (1, 1) and message in result.output


def test_reasons_are_grouped_if_no_task_matches(out, theirs):
    change(theirs, FPB, prompt_hash="0")
    (theirs / f"samples_{DOCMATH}_{DATE}.jsonl").unlink()
    result = run(f"mine={theirs}", "--study", out)
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    reasons = f"{FPB}: the prompts of 1 of 6 rows differ (chat template, few-shot examples?); {DOCMATH}: no"
    other = f"{DOCMATH}: no samples (run lm_eval with --log_samples); {FPB}: the prompts"
    assert reasons in result.output or other in result.output


def test_the_best_merge_is_named_below_the_table(out, theirs):
    result = run(f"mine={theirs}", "--study", out)
    results = load_results(out)
    (table,) = imported_tables(results)
    assert table.columns[3:6] == ["macro average", "over base", "over best merge"]
    merge = results.summary.ship.best_merge
    assert f"Best merge: {merge}." in result.stdout.splitlines() and f"Best merge: {merge}." in table.note
    assert not any(merge in line for line in result.stdout.splitlines() if line.startswith("|"))


def test_the_note_says_how_much_of_the_macro_average_a_model_has(out, theirs):
    change(theirs, FPB, prompt_hash="0")
    assert run(f"mine={theirs}", "--study", out).exit_code == 0
    (table,) = imported_tables(load_results(out))
    assert "mine has 1 of the 2 tasks of the macro average." in table.note


@pytest.mark.parametrize(
    ("choice", "is_possible"), [(0, True), (2, True), (-1, True), (3, False), (-2, False), (True, False)]
)
def test_a_choice_is_an_option_or_none(out, theirs, choice, is_possible):
    gold = load_results(out).columns("base")[FPB].score[0][0]
    change(theirs, FPB, score=[gold, choice])
    assert ("Not imported" in run(f"mine={theirs}", "--study", out).output) != is_possible
