"""The tables at the top of the page, and tables as files."""

import csv
import io
import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from helpers.report import default_tasks, study

from mergekit_finance.cli import main
from mergekit_finance.report import leaderboard
from mergekit_finance.report.table_files import FORMATS, csv_text, latex_text, markdown_text
from mergekit_finance.report.tables import Cell, Table, all_points, interval_cell, text_cell
from mergekit_finance.study.results import load_results
from mergekit_finance.study.schema.values import Interval


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return load_results(study(tmp_path_factory.mktemp("study") / "out"))


def test_the_leaderboard_has_every_single_model_and_the_selected_merges_best_first(results):
    table = leaderboard.leaderboard(results)
    macro = [row[table.columns.index("macro")].order for row in table.rows]
    assert len(table.rows) == len(results.singles) + len(results.combinations)
    assert macro == sorted(macro, reverse=True)
    best = [row[0].text for row in table.rows if "best" in row[2].style.split()]
    assert best == [row[0].text for row in table.rows if row[2].order == max(macro)]
    base = next(row for row in table.rows if row[0].text == "base")
    assert base[3].text == base[4].text == ""  # a model that is not merged has no Gain


@pytest.mark.parametrize("table", [leaderboard.leaderboard, all_points])
def test_without_stored_flips_no_column_is_empty(results, table):
    summary = results.summary.model_copy(deep=True)
    for point in summary.points.values():
        point.flips_gain = point.flips_og = None
    shown = table(replace(results, partial_summary=summary))
    assert not {"items (Gain)", "items (OG)"} & {*shown.columns} and "Items: " not in shown.note
    assert {len(row) for row in shown.rows} == {len(shown.columns)}


@pytest.mark.parametrize("table", [leaderboard.leaderboard, all_points])
def test_flips_stand_beside_gain_and_og_of_merges(results, table):
    columns, rows = table(results).columns, table(results).rows
    for effect, flips in (("Gain", "+8 -5"), ("OG", "+4 -2")):
        place = columns.index(f"Macro-{effect}") + 1
        assert columns[place] == f"items ({effect})"
        merges = [row for row in rows if row[place - 1].text]
        assert merges and {row[place].text for row in merges} == {flips}
        assert {row[place].text for row in rows if not row[place - 1].text} == {""}


def test_the_note_on_effects_says_which_tasks_the_differences_are_on(results):
    """The row of one expert is tested on its skills and on retention, which is not a skill."""
    with_retention = results.summary.combinations["finance"]
    assert any("retention" in one for one in results.effects("finance").sets["named"].tasks)
    assert with_retention.stage == 1
    note = leaderboard.effects(results).note
    assert "on the tasks of the combination's skills (in stage 1 on the retention tasks, too" in note
    assert "the study names" not in note  # its file has no `named`


def test_the_note_on_shades_holds_in_dark_mode(results):
    assert "ark" not in leaderboard.scores_by_task(results).note


def test_a_model_without_retention_has_an_empty_cell(tmp_path):
    out = study(tmp_path / "out")
    summary = json.loads((out / "summary.json").read_text())
    summary["models"]["finance"]["retention"] = None
    (out / "summary.json").write_text(json.dumps(summary))
    table = leaderboard.leaderboard(load_results(out))
    assert {len(row) for row in table.rows} == {len(table.columns)}
    assert [row[0].text for row in table.rows if not row[-1].text] == ["finance"]


SAID_AS = {
    "macro-gain": "gain:", "macro-og": "og:", "items (gain)": "items:", "items (og)": "items:",
    "over base": "minus another model",
}  # fmt: skip


def test_the_notes_at_the_top_define_every_column_of_numbers(results):
    """A reader who sees the page for the first time has no other place at hand."""
    for table in (leaderboard.leaderboard(results), leaderboard.effects(results)):
        for column, cell in zip(table.columns, table.rows[-1], strict=True):
            name = column.lower()
            if "number" in cell.style.split() and column not in leaderboard.task_groups(results):
                words = SAID_AS.get(name, f"{name.removeprefix('over ')}:")
                assert words in table.note.lower(), column
    assert "Macro: the mean over all tasks but retention." in leaderboard.leaderboard(results).note


def test_macro_is_over_all_tasks_where_none_is_left_out(tmp_path):
    tasks = {name: task for name, task in default_tasks().items() if task["kind"] == "tasks"}
    note = leaderboard.leaderboard(load_results(study(tmp_path / "out", tasks=tasks))).note
    assert "Macro: the mean over all tasks. " in note


def test_skill_groups_are_means_over_their_tasks(results):
    assert leaderboard.task_groups(results) == {
        "finance": ["finance_bench_fpb"],
        "finance + math": ["finance_bench_docmath_cs"],
    }
    table = leaderboard.leaderboard(results)
    base = next(row for row in table.rows if row[0].text == "base")
    scores = results.summary.models["base"].scores
    assert base[table.columns.index("finance")].order == pytest.approx(scores["finance_bench_fpb"])


@pytest.fixture(scope="module")
def with_groups(tmp_path_factory):
    """A study whose summary has the intervals of skill groups, as those of older versions do not."""
    return load_results(study(tmp_path_factory.mktemp("groups") / "out", groups=True))


def test_skill_groups_have_intervals_for_base_experts_and_selected_merges(with_groups):
    table = leaderboard.leaderboard(with_groups)
    assert "They have no intervals" not in table.note
    for column, group in (("finance", "finance"), ("finance + math", "finance+math")):
        place = table.columns.index(column)
        stored = {
            name: with_groups.measured(name).groups[group]
            for name in (*with_groups.singles, *with_groups.chosen)
        }
        cells = {row[0].text: row[place] for row in table.rows}
        assert {(cell.order, *cell.ends) for cell in cells.values()} == {*map(tuple, stored.values())}
        value, low, high = (100 * number for number in stored["base"])
        assert cells["base"].text == f"{value:.1f} [{low:.1f}, {high:.1f}]"
        assert not any({"good", "bad"} & {*cell.style.split()} for cell in cells.values())  # no difference
        assert sum("best" in cell.style.split() for cell in cells.values()) == 1


def test_tables_as_files_have_the_intervals_of_skill_groups_in_columns(with_groups):
    table = leaderboard.leaderboard(with_groups)
    head, *rows = csv.reader(io.StringIO(csv_text(table)))
    place = head.index("finance + math")
    assert head[place + 1 : place + 3] == ["finance + math low", "finance + math high"]
    assert {row[0]: tuple(map(float, row[place : place + 3])) for row in rows}["base"] == tuple(
        with_groups.measured("base").groups["finance+math"]
    )
    shown = next(row for row in table.rows if row[0].text == "base")[table.columns.index("finance + math")]
    assert f" & {shown.text} & " in latex_text(table) and f" | {shown.text} | " in markdown_text(table)


def test_intervals_of_many_groups_are_in_the_csv_only(tmp_path):
    task = default_tasks()["finance_bench_fpb"]
    tasks = {f"finance_bench_{k}": {**task, "skills": [f"skill{k}"]} for k in range(9)}
    table = leaderboard.leaderboard(load_results(study(tmp_path / "out", tasks=tasks, groups=True)))
    assert "Their intervals are in the CSV only." in table.note
    places = [table.columns.index(f"skill{k}") for k in range(9)]
    assert all("[" not in row[place].text and row[place].ends for row in table.rows for place in places)
    assert "skill8 high" in csv_text(table).splitlines()[0]


def test_a_summary_of_an_older_version_has_means_of_skill_groups_and_the_note_says_why(results):
    table = leaderboard.leaderboard(results)
    cells = [row[table.columns.index("finance")] for row in table.rows]
    assert all(cell.ends is None and float(cell.text) == round(100 * cell.order, 1) for cell in cells)
    assert "They have no intervals, because an older version wrote summary.json" in table.note


def test_the_column_of_tasks_without_skills_is_explained_and_is_not_a_second_macro_average(tmp_path):
    tasks = default_tasks()
    tasks["finance_bench_docmath_cs"]["skills"] = []
    table = leaderboard.leaderboard(load_results(study(tmp_path / "some", tasks=tasks)))
    assert {"finance", "no skill"} <= {*table.columns} and "other" not in table.columns
    assert (
        "finance: the mean over the tasks that need these skills and no others. no skill: the mean over the "
        "tasks for" in table.note
    )
    tasks["finance_bench_fpb"]["skills"] = []
    table = leaderboard.leaderboard(load_results(study(tmp_path / "none", tasks=tasks)))
    assert "no skill" not in table.columns and "skill" not in table.note
    assert {len(row) for row in table.rows} == {len(table.columns)}


def test_one_row_per_combination_has_its_effect(results):
    table = leaderboard.effects(results)
    assert [row[1].text for row in table.rows] == [
        "base + finance", "base + math", "finance + math", "finance + math + japanese",
    ]  # fmt: skip
    assert all(row[2].text for row in table.rows)


def test_scores_are_shaded_from_worst_to_best_within_a_task(results):
    table = leaderboard.scores_by_task(results)
    for column in range(1, len(table.columns)):
        by_score = sorted((row[column].order, row[column].style) for row in table.rows)
        assert "shade-0" in by_score[0][1] and "shade-6 best" in by_score[-1][1]


TABLE = Table(
    "t", "T", "", ["model", "score"],
    [[text_cell("=a|b & 50%"), interval_cell(Interval(0.5, 0.25, 0.75))], [text_cell("c, λ"), Cell("", None, "number")]],
)  # fmt: skip


def test_csv_has_exact_numbers_and_the_ends_of_intervals():
    assert list(csv.reader(io.StringIO(csv_text(TABLE)))) == [
        ["model", "score", "score low", "score high"],
        ["'=a|b & 50%", "0.5", "0.25", "0.75"],  # a spreadsheet must not run it
        ["c, λ", "", "", ""],
    ]


def test_csv_has_both_counts_of_flips(results):
    """`+8 -5` as 3 would hide that 13 answers changed."""
    table = leaderboard.leaderboard(results)
    (head, *rows) = csv.reader(io.StringIO(csv_text(table)))
    place = head.index("items (Gain) became right")
    assert head[place + 1] == "items (Gain) became wrong" and "items (Gain)" not in head
    assert {(*row[place : place + 2],) for row in rows} == {("8", "5"), ("", "")}
    assert {len(row) for row in rows} == {len(head)}


def test_latex_and_markdown_are_escaped():
    assert latex_text(TABLE).splitlines() == [
        r"\begin{tabular}{lr}", r"\toprule", r"model & score \\", r"\midrule",
        r"=a|b \& 50\% & 50.0 [25.0, 75.0] \\", r"c, $\lambda$ &  \\", r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip
    assert r"=a\|b & 50%" in markdown_text(TABLE)


def test_the_command_writes_every_table_in_every_format(tmp_path):
    out = study(tmp_path / "out")
    done = CliRunner().invoke(main, ["report", str(out), "--format", "csv, latex,markdown"])
    assert done.exit_code == 0, done.output
    names = {path.stem for path in (out / "tables").iterdir()}
    assert {"leaderboard", "effects", "scores", "selected", "tasks", "points"} <= names
    assert len(list((out / "tables").iterdir())) == len(FORMATS) * len(names)


def test_an_unknown_format_is_one_line(tmp_path):
    done = CliRunner().invoke(main, ["report", str(tmp_path), "--format", "csv,excel"])
    assert done.exit_code == 1 or done.exit_code == 2
    assert "'excel' is no format. Choose from csv, latex, markdown." in done.output
