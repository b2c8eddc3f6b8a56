"""report.html: its content and wording."""

import re

import pytest
from helpers.report import damage, data_of, page_of, report, study

from mergekit_finance.plugins.api import Section
from mergekit_finance.plugins.hookspecs import hookimpl
from mergekit_finance.plugins.manager import manager
from mergekit_finance.report import leaderboard, page_text
from mergekit_finance.report import page as html
from mergekit_finance.report.table_files import table_files
from mergekit_finance.report.unit_page import unit_page
from mergekit_finance.report.writing import report_files
from mergekit_finance.study.results import load_results
from mergekit_finance.study.times import TimeLog


def test_the_report_is_complete_and_deterministic(tmp_path):
    out = study(tmp_path / "out")
    done = report(out)
    assert done.exit_code == 0 and "report.html" in done.output
    again = report_files(load_results(out))
    assert again == {name: (out / name).read_bytes() for name in again}
    names = sorted(path.name for path in (out / "figures").iterdir())
    assert len(names) == 14 and names[:2] == ["1-stages.png", "1-stages.svg"]
    assert not [path for path in out.rglob(".*") if path.is_file()]


def test_the_verdict_comes_first_and_nothing_is_loaded_from_the_network(tmp_path):
    page = page_of(study(tmp_path / "out"))
    assert page.index('id="verdict"') < page.index('id="figures"') < page.index('id="tables"')
    assert "it came back" in page and "few items" in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "default-src 'none'" in page and "unsafe" not in page
    assert not re.search(r"<[^>]+\son\w+=", page) and not re.search(r'<[^>]+\sstyle="', page)


def test_headings_of_the_verdict_are_neutral(tmp_path):
    out = study(tmp_path / "out")
    page_headings = [
        {"about": a, "text": f"{a}: they interfere"} for a in ("recovery", "complementarity", "emergence")
    ]
    damage(out, "summary.json", lambda s: s["verdict"].extend(page_headings))
    headings = re.findall(r"<h3>(.*?stage \d\))</h3>", page_of(out))
    assert len(headings) == 3 and all("does not" in h or "interfere" in h for h in headings)


def test_sections_of_plugins_are_escaped_and_a_failing_one_is_named(tmp_path):
    class Plugin:
        @hookimpl
        def finance_report_sections(self):
            broken = Section("b", "Broken", lambda gain: "", lambda summary: 1 / 0)
            return [
                Section("a", "<b>Mine", lambda gain: "", lambda summary: f"<i>{summary['format']}"),
                broken,
            ]

    plugin = Plugin()
    manager().register(plugin, "sections")
    try:
        page = page_of(study(tmp_path / "out"))
    finally:
        manager().unregister(plugin)
    assert "&lt;b&gt;Mine" in page and "&lt;i&gt;2" in page and "ZeroDivisionError" in page


def test_without_a_sweep_all_items_are_reported(tmp_path):
    out = study(tmp_path / "out", operators={"task_arithmetic": [0.4]})
    damage(out, "summary.json", lambda s: s["selection"].update(split=False, share=None))
    page = page_of(out)
    assert all(set(task["chooses"]) == {"0"} for task in data_of(page)["tasks"])
    for words in (
        "other items",
        "selected on the selection items",
        "selected hyperparameters and",
        "items not used for selection",
        "of clusters, ",
    ):
        assert words not in page
    assert "nothing was swept" in page


def test_an_older_summary_without_the_key_split_is_read(tmp_path):
    out = study(tmp_path / "out")
    damage(out, "summary.json", lambda s: s["selection"].pop("split"))
    assert "its numbers are from the other items" in page_of(out)
    damage(out, "summary.json", lambda s: s["selection"].update(same_items=True))
    assert "its numbers are from the same items" in page_of(
        out
    ) and "selected on the reported items" in page_of(out)


def decided_again(out, split=True, **ship):
    """Change the numbers that the advice depends on, and remove the stored advice."""

    def change(summary):
        summary["selection"]["split"] = split
        del summary["ship"]["advice"]
        summary["ship"] |= {"merge_over_single": [0.03, 0.01, 0.05]} | ship

    damage(out, "summary.json", change)
    return page_of(out).split("</section>")[0]


def test_the_box_shows_the_stored_advice(tmp_path):
    out = study(tmp_path / "out")
    damage(out, "summary.json", lambda s: s["ship"].update(advice={"kind": "ship at a cost"}))
    page = page_of(out)
    assert '<div class="ship unclear">\n<p class="big">Ship base + finance' in page
    assert "<strong>(selected)</strong>" in page and "(recommended)" not in page


@pytest.mark.parametrize("clusters", [99, 100])
def test_with_few_items_there_is_no_recommendation(tmp_path, clusters):
    out = study(tmp_path / "out")
    box = decided_again(out, clusters=clusters)
    assert ("independent items are too few to tell whether base + finance is better" in box) is (
        clusters == 99
    )
    assert ('<div class="ship yes">\n<p class="big">Ship base + finance: ' in box) is (clusters == 100)
    assert ("<strong>(recommended)</strong>" in page_of(out)) is (clusters == 100)


def test_a_number_of_clusters_that_is_text_is_refused(tmp_path):
    out = study(tmp_path / "out")
    damage(out, "summary.json", lambda s: s["ship"].update(clusters="many"))
    assert report(out).exit_code == 1


@pytest.mark.parametrize(
    ("split", "is_merge", "answer", "style"),
    [
        (True, True, "Ship base + finance: it gains 3.0 points over your base", "yes"),
        (
            False,
            True,
            "Ship base + finance: it gains 3.0 points over your base, measured on the items",
            "unclear",
        ),
        (False, False, "Keep your base, the best model", "no"),
        (True, False, "Keep your base for now: it was selected", "no"),
    ],
)
def test_a_comparison_on_the_selection_items_is_marked_optimistic(tmp_path, split, is_merge, answer, style):
    model = {} if is_merge else {"model": "base", "is_merge": False}
    box = decided_again(study(tmp_path / "out"), split=split, **model)
    assert f'<div class="ship {style}">\n<p class="big">{answer}' in box  # the answer is the first text
    assert ("Selected and evaluated on the same items (optimistic)." in box) is not split


def test_every_combination_has_a_sentence_on_demand(tmp_path):
    page = page_of(study(tmp_path / "out"))
    rows = re.findall(
        r'<details class="in-words"><summary><bdi>(.*?)</bdi>: (.*?)</summary><p>(.*?)</p>', page
    )
    assert [label for label, _, _ in rows] == [
        "base + finance", "base + math", "finance + math", "finance + math + japanese",
    ]  # fmt: skip
    assert all(label in sentence and sentence.endswith(".") for label, _, sentence in rows)


def test_gain_and_og_are_explained_under_the_verdict(tmp_path):
    explanation = "Gain: the merge minus the mean of its constituents. OG: the merge minus the best constituent of each task."
    assert explanation in page_of(study(tmp_path / "out"))


def test_counts_of_one_are_singular(tmp_path):
    out = study(tmp_path / "out", combinations={1: [("finance",)]}, operators={"task_arithmetic": [0.4]})
    damage(out, "summary.json", lambda s: s.update(limit=1))
    damage(out, "points/m0-0123456789ab/results.json", lambda r: r["truncated_prompts"].update(a=1, b=2))
    page = page_of(out)
    assert "Only the first item of every task was evaluated" in page
    assert "a: 1 prompt did not fit the context and was cut" in page and "b: 2 prompts did" in page
    assert "3 rows<" in page and not re.search(r"\b1 (rows|items|prompts)\b", page)


def test_settings_that_are_not_set_say_what_that_means(tmp_path):
    results = load_results(study(tmp_path / "out"))
    (results.place("base") / "key.json").write_text('{"max_gen_toks": null, "limit": null, "dtype": "auto"}')
    pairs = dict(page_text.stored_versions(results))
    assert pairs["max_gen_toks (results)"] == "as each task says" and pairs["limit (results)"] == "all items"
    assert pairs["dtype (results)"] == "auto" and "None" not in pairs.values()


def test_long_names_are_broken(tmp_path):
    style = page_of(study(tmp_path / "out")).split("<style>")[1].split("</style>")[0]
    rules = re.findall(r"([^{}]+)\{([^{}]*)\}", re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL))
    broken = {
        s.strip() for names, rule in rules if "overflow-wrap: anywhere" in rule for s in names.split(",")
    }
    assert {"h1", "h2", "h3", "h4", "p", "li", "dt", "dd", "figcaption", "label"} <= broken


def test_printing_shows_the_tables(tmp_path):
    page = page_of(study(tmp_path / "out"))
    printed = page.split("@media print")[1].split("</style>")[0]
    hidden = [line for line in printed.splitlines() if "display: none" in line]
    assert hidden and "#tables" not in "".join(hidden) and "beforeprint" in page


def test_og_on_its_skills_uses_the_set_own_or_is_marked_macro(tmp_path):
    """The set `named` will not do: for one expert it includes retention tasks."""
    table = leaderboard.effects(load_results(study(tmp_path / "out")))
    column = table.columns.index("OG on its skills")
    shown = {row[1].text: row[column].text for row in table.rows}
    assert shown["base + finance"] == "+30.0 [+25.0, +35.0]"
    assert shown["base + math"] == "-2.0 [-7.0, +3.0] (macro)"  # no task needs math alone


def test_the_security_policy_has_the_hashes_of_script_and_style(tmp_path):
    page = page_of(study(tmp_path / "out"))
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)[0]
    style = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)[0]
    assert html.policy(style, script) in page


def test_every_table_of_a_page_has_buttons_that_copy_it_and_is_written_as_a_file(tmp_path):
    out = study(tmp_path / "out")
    log = TimeLog(out, "cpu", 3)
    log.add("generate", 300.0)
    log.write()
    results = load_results(out)
    for page in (html.page(results), unit_page(results)):
        tables = re.findall(r"<table(?: id=\"([\w-]+)\")?", page)
        assert sorted(tables) == sorted(re.findall(r'class="exports" data-for="([\w-]+)"', page))
        script, style = re.findall(r"<script>(.*?)</script>|<style>(.*?)</style>", page, re.DOTALL)[::-1]
        assert html.policy(style[1], script[0]) in page
    shown = {name.removeprefix("table-") for name in tables} | {"times", "leaderboard", "effects", "scores"}
    assert {name for name in table_files(results, ["csv"])} == {f"tables/{name}.csv" for name in shown}
    assert (
        table_files(results, ["csv"])["tables/times.csv"].decode().splitlines()[1]
        == "generated answers,300.0,1.0"
    )
