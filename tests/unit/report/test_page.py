"""report.html: escaping, size, what text is in it, and what is refused."""

import errno
import json
import random
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.report import default_tasks, study

from mergekit_finance.cli import main
from mergekit_finance.plugins.api import Section
from mergekit_finance.plugins.hookspecs import hookimpl
from mergekit_finance.plugins.manager import manager
from mergekit_finance.report import items, tables
from mergekit_finance.report import page as html
from mergekit_finance.report.stored import load
from mergekit_finance.report.writing import build, contents

NASTY = "</script><script>alert(1)</script>{{ 7*7 }}{% raw %}</textarea><img src=x onerror=alert(1)>\u2028"


def page_of(out, with_text=False):
    """The page alone: figures take a second each."""
    return html.page(load(out, with_text), [])


def data_of(page):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found.group(1))


def report(*arguments):
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


def test_the_report_is_written_whole_and_twice_the_same(tmp_path):
    out = study(tmp_path / "out")
    done = report(out)
    assert done.exit_code == 0 and "report.html" in done.output
    again = contents(load(out))
    assert again == {name: (out / name).read_bytes() for name in again}
    names = sorted(path.name for path in (out / "figures").iterdir())
    assert len(names) == 14 and names[:2] == ["1-stages.png", "1-stages.svg"]
    assert not [path for path in out.rglob(".*") if path.is_file()]


def test_the_verdict_comes_first_and_nothing_is_loaded_from_elsewhere(tmp_path):
    page = page_of(study(tmp_path / "out"))
    assert page.index('id="verdict"') < page.index('id="figures"') < page.index('id="tables"')
    assert "it came back" in page and "few items" in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "default-src 'none'" in page and "unsafe" not in page
    assert not re.search(r"<[^>]+\son\w+=", page) and not re.search(r'<[^>]+\sstyle="', page)


def test_headings_of_the_verdict_promise_no_outcome(tmp_path):
    out = study(tmp_path / "out")
    found = [
        {"about": a, "text": f"{a}: they interfere"} for a in ("recovery", "complementarity", "emergence")
    ]
    damage(out, "summary.json", lambda s: s["verdict"].extend(found))
    headings = re.findall(r"<h3>(.*?stage \d\))</h3>", page_of(out))
    assert len(headings) == 3 and all("did not" in h or "interferes" in h for h in headings)


def test_untrusted_text_is_escaped_everywhere(tmp_path):
    out = study(tmp_path / "out", names={"math": NASTY}, text=NASTY, reply=NASTY, item=NASTY)
    page = page_of(out)
    assert page.count("<script") == 2 and page.count("</script>") == 2
    assert (
        "<img src=x" not in page and "</textarea>" not in page and "\u2028" not in page.split('id="data">')[1]
    )
    task = data_of(page)["tasks"][0]
    assert task["texts"][0]["prompt"] == f"{NASTY} 0" and task["items"][0] == f"{NASTY}-0"
    assert NASTY in task["texts"][0]["answers"][0]


def test_text_appears_only_where_it_may_be_shared(tmp_path):
    tasks = default_tasks()
    tasks["finance_bench_fpb"]["text_may_be_shared"] = False
    out = study(tmp_path / "out", tasks=tasks, text="SECRET", reply="SAID")
    shown = {task["label"]: task for task in data_of(page_of(out))["tasks"]}
    assert (
        shown["fpb"]["texts"] == []
        and shown["fpb"]["may"] is False
        and shown["fpb"]["hashes"][0] == "abc" * 4
    )
    assert len(shown["docmath_cs"]["texts"]) == 6
    page = page_of(out, with_text=True)
    assert "contains dataset text: do not share" in page
    assert all(task["texts"] for task in data_of(page)["tasks"])


def test_nothing_is_shared_when_nobody_says_that_it_may_be(tmp_path):
    tasks = default_tasks()
    tasks["finance_bench_fpb"]["text_may_be_shared"] = "yes"
    del tasks["finance_bench_docmath_cs"]["text_may_be_shared"]
    stored = load(study(tmp_path / "out", tasks=tasks))
    assert not stored.text_allowed("finance_bench_fpb")
    assert not stored.text_allowed("finance_bench_docmath_cs") and not stored.text_allowed("unheard of")


def test_a_page_of_long_texts_stays_under_5_mb(tmp_path):
    out = study(tmp_path / "out", items=240, text="問い" * 900, reply="答え" * 400)
    page = page_of(out)
    assert 3_000_000 < len(page.encode()) < 5_000_000
    counts = [len(task["texts"]) for task in data_of(page)["tasks"]]
    assert min(counts) > 20 and max(counts) - min(counts) <= 1


def test_a_page_of_210_merges_stays_under_5_mb(tmp_path):
    """As many points, tasks and items as the lab's study, with its figures."""
    rng = random.Random(0)
    kinds = [["finance"], ["finance", "math"], ["finance", "japanese"], ["math"]]
    tasks = {
        f"finance_bench_task_{i}": {**default_tasks()["finance_bench_fpb"], "skills": kinds[i % 4]}
        for i in range(22)
    } | {"finance_bench_retention_arc": default_tasks()["finance_bench_retention_arc"]}
    pairs = [("finance", "math"), ("finance", "japanese"), ("math", "japanese")]
    combinations = {
        1: [("finance",), ("math",), ("japanese",)],
        2: pairs,
        3: [("finance", "math", "japanese")],
    }
    grid = [i / 10 for i in range(1, 11)]
    operators = {"task_arithmetic": grid, "ties": grid, "dare_ties": grid}
    out = study(tmp_path / "out", tasks, combinations, operators, items=64, text="問い" * 200)
    damage(
        out,
        "summary.json",
        lambda s: [_vary(rng, task) for x in s["selected"].values() for task in x["tasks"].values()],
    )
    made = contents(load(out))
    assert len(load(out).points) == 210 and len(made["report.html"]) < 5_000_000
    assert len(made["figures/2-gain-and-og.png"]) < 1_500_000


def _vary(rng, task):
    """Cells of a heatmap that differ are what makes its picture large."""
    for key in ("gain", "og"):
        value = rng.gauss(0, 0.2)
        task[key] = [value, value - 0.1, value + 0.1]


def test_the_policy_names_the_very_script_and_style(tmp_path):
    page = page_of(study(tmp_path / "out"))
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)[0]
    style = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)[0]
    assert html.policy(style, script).replace("'", "'") in page


def damage(out, path, change):
    content = json.loads((out / path).read_text())
    change(content)
    (out / path).write_text(json.dumps(content))


BAD = {
    "no such folder": (lambda out: out.rename(out.with_name("gone")), "no study here"),
    "unfinished": (lambda out: (out / "summary.json").unlink(), "not finished"),
    "half a file": (lambda out: (out / "summary.json").write_text('{"format": 1, "mod'), "cannot be read"),
    "a list": (lambda out: (out / "summary.json").write_text("[]"), "not what a study writes"),
    "another format": (lambda out: damage(out, "summary.json", lambda s: s.update(format=9)), "format 9"),
    "no points": (lambda out: damage(out, "summary.json", lambda s: s.pop("points")), "points"),
    "a broken point": (lambda out: damage(out, "summary.json", lambda s: next(iter(s["points"].values())).pop("macro")), "macro"),
    "an unknown point": (lambda out: damage(out, "summary.json", lambda s: s["combinations"]["finance"].update(selected="x")), "'x'"),
    "a folder elsewhere": (lambda out: damage(out, "summary.json", lambda s: s["models"]["base"].update(folder="../../secret")), "is not a folder under points/"),
    "no number": (lambda out: damage(out, "summary.json", lambda s: s["ship"].update(extra=float("nan"))), "is not a finite number"),
    "too large a number": (lambda out: (out / "summary.json").write_text((out / "summary.json").read_text().replace("0.5", "1e999", 1)), "is not a finite number"),
    "no tasks.json": (lambda out: (out / "tasks.json").unlink(), "tasks.json"),
    "results gone": (lambda out: next(out.glob("points/m0-*/scores.json")).unlink(), "results are missing"),
    "half a scores.json": (lambda out: next(out.glob("points/m0-*/scores.json")).write_text("{}"), "no task"),
}  # fmt: skip


@pytest.mark.parametrize("how", BAD)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, how):
    out = study(tmp_path / "out")
    spoil, message = BAD[how]
    spoil(out)
    done = report(out)
    assert done.exit_code == 1 and message in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("report.html")) and not list(tmp_path.rglob("figures"))


@pytest.mark.parametrize(
    "path",
    [
        "points",
        "points/m1-*",
        "points/m0-*/scores.json",
        "points/m0-*/results.json",
        "points/m0-*/key.json",
        "points/m2-*/samples_finance_bench_fpb.jsonl",
        "points/stage1-finance-ta-lambda0.4-*/recipe.yml",
        "similarity.json",
        "summary.json",
        "tasks.json",
    ],
)
def test_links_are_not_followed_into_the_page(tmp_path, path):
    """Else the page that is shown to others holds a file from elsewhere."""
    out, elsewhere = study(tmp_path / "out"), tmp_path / "elsewhere"
    (next(out.glob("points/m0-*")) / "key.json").write_text("{}")
    place = next(out.glob(path))
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    done = report(out)
    assert done.exit_code == 1 and f"{place}: is a link" in done.output
    assert len(done.output.strip().splitlines()) == 1 and not (out / "report.html").exists()


DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000
FPB = "finance_bench_fpb"


def first(found):
    return next(iter(found.values()))


def expert(summary):
    return first(summary["study"]["experts"])


def effects(summary):
    return first(first(summary["selected"])["tasks"])


OF_SCORES = {
    "a word": lambda rows: rows.update(correct=["x"] * 6),
    "null": lambda rows: rows.update(correct=[None] * 6),
    "a huge number": lambda rows: rows.update(correct=[10**400] * 6),
    "one number": lambda rows: rows.update(correct=1.0),
    "NaN": lambda rows: rows.update(correct=[float("nan")] * 6),
    "no items": lambda rows: rows.update(items=None),
    "nothing asked": lambda rows: rows.update(items=[], clusters=[], correct=[]),
    "lists as clusters": lambda rows: rows.update(clusters=[[1]] * 6),
    "too few clusters": lambda rows: rows["clusters"].pop(),
}
OF_SIMILARITY = {
    "a list": lambda s: s.update(layers=[1]),
    "a number": lambda s: s["layers"].update({"0": 5}),
    "no models": lambda s: s.update(models=None),
    "a word": lambda s: s["layers"]["0"]["pairs"][0].update(l2="far"),
}
OF_SUMMARY = {
    "similarity a list": lambda s: s.update(similarity=[1]),
    "rho a word": lambda s: s["similarity"]["correlations"][0].update(rho="high"),
    "an unknown point": lambda s: s["similarity"]["combinations"][0].update(point="x"),
    "l2 a word": lambda s: s["similarity"]["combinations"][0].update(l2="far"),
    "stage a list": lambda s: s["similarity"]["combinations"][0].update(stage=[1]),
    "stage a list of a combination": lambda s: first(s["combinations"]).update(stage=[1]),
    "share a word": lambda s: s["study"].update(selection={"share": "some", "seed": "0"}),
    "selection of words": lambda s: s["study"].update(selection="some"),
    "skills a number": lambda s: s["tasks"][FPB].update(skills=7),
    "skills mixed": lambda s: s["tasks"][FPB].update(skills=["math", 7]),
    "skills of an expert": lambda s: expert(s).update(skills=7),
    "tasks a number": lambda s: s["study"].update(tasks=5),
    "operators a list": lambda s: s["study"].update(operators=["ties"]),
    "an operator a list": lambda s: s["study"]["operators"].update(ties=[0.1]),
    "probes a word": lambda s: first(s["models"]).update(probes="many"),
    "macro_gain a word": lambda s: first(s["points"]).update(macro_gain="some"),
    "p a word": lambda s: effects(s).update(p_og="small"),
    "q a word": lambda s: effects(s).update(q_og="small"),
    "p of a set a word": lambda s: first(s["selected"])["sets"]["macro"].update(p_over_best_parent="small"),
    "optimism a number": lambda s: s["selection"].update(
        optimism_of_choosing_and_reporting_on_the_same_items=5
    ),
    "an unknown task of its skills": lambda s: first(s["selected"])["sets"]["own"].update(tasks=["x"]),
    "a set of no task": lambda s: first(s["selected"])["sets"]["own"].update(tasks=[]),
    "a huge number": lambda s: s["ship"].update(macro=[10**400, 0.1, 0.2]),
}


def is_one_line(out, place):
    done = report(out)
    assert done.exit_code == 1 and place in done.output and isinstance(done.exception, SystemExit)
    assert len(done.output.strip().splitlines()) == 1 and "run the study again" in done.output
    assert not (out / "report.html").exists() and not (out / "figures").exists()


@pytest.mark.parametrize("how", OF_SCORES)
@pytest.mark.parametrize("model", ["m0", "m2"])
def test_damaged_scores_are_one_line(tmp_path, model, how):
    out = study(tmp_path / "out")
    path = next(out.glob(f"points/{model}-*/scores.json"))
    damage(out, path.relative_to(out), lambda scores: OF_SCORES[how](scores[FPB]))
    is_one_line(out, str(path))


@pytest.mark.parametrize("how", OF_SIMILARITY)
def test_a_damaged_similarity_is_one_line(tmp_path, how):
    out = study(tmp_path / "out")
    damage(out, "similarity.json", OF_SIMILARITY[how])
    is_one_line(out, "similarity.json")


@pytest.mark.parametrize("how", OF_SUMMARY)
def test_a_damaged_summary_is_one_line(tmp_path, how):
    out = study(tmp_path / "out")
    damage(out, "summary.json", OF_SUMMARY[how])
    is_one_line(out, "summary.json")


@pytest.mark.parametrize("path", ["summary.json", "tasks.json", "similarity.json", "points/m0-*/scores.json"])
def test_endless_nesting_is_one_line(tmp_path, path):
    out = study(tmp_path / "out")
    next(out.glob(path)).write_text(DEEP)
    is_one_line(out, "nested too deep")


@pytest.mark.parametrize(
    "damaged", [DEEP, "[1]", '{"truncated_prompts": [1], "task_hashes": [1], "versions": [1]}']
)
def test_what_the_page_can_do_without_is_left_out_where_it_is_damaged(tmp_path, damaged):
    out = study(tmp_path / "out")
    folder = next(out.glob("points/m0-*"))
    for name in ("results.json", "key.json"):
        (folder / name).write_text(damaged)
    page = page_of(out)
    assert "did not fit" not in page and ", of the results" not in page


@pytest.mark.parametrize(
    "line",
    [
        DEEP,
        '{"doc_id": 1e999, "filtered_resps": ["a"]}',
        '{"doc_id": 0, "filtered_resps": ' + "[" * 100_000,
        '{"doc_id": 0, "arguments": 5, "filtered_resps": ["a"]}',
        '{"doc_id": 0, "arguments": [5], "filtered_resps": ["a"]}',
    ],
    ids=["deep", "infinite", "deep replies", "no arguments", "odd arguments"],
)
def test_damaged_samples_cost_texts_not_the_report(tmp_path, line):
    out = study(tmp_path / "out")
    for path in out.glob(f"points/*/samples_{FPB}.jsonl"):
        path.write_text(line + "\n")
    shown = {task["label"]: task for task in data_of(page_of(out))["tasks"]}
    assert shown["fpb"]["texts"] == [] and shown["docmath_cs"]["texts"]


def test_results_of_run_are_refused_by_name(tmp_path):
    (tmp_path / "gain.json").write_text("{}")
    assert "mergekit-finance run" in report(tmp_path).output


def test_half_a_line_of_samples_costs_texts_not_the_report(tmp_path):
    out = study(tmp_path / "out")
    path = next(out.glob("points/m0-*/samples_finance_bench_fpb.jsonl"))
    path.write_text(path.read_text()[:-40])
    shown = {task["label"]: task for task in data_of(page_of(out))["tasks"]}
    assert shown["fpb"]["texts"] == [] and shown["docmath_cs"]["texts"]


def test_old_figures_go_when_the_study_has_no_results_for_them(tmp_path):
    out = study(tmp_path / "out")
    build(out)
    (out / "figures" / "mine.png").write_bytes(b"")
    (out / "similarity.json").unlink()
    build(out)
    left = {path.name for path in (out / "figures").iterdir()}
    assert "7-layers.png" not in left and {"mine.png", "1-stages.svg"} <= left


def test_replies_are_found_in_lines_that_try_to_hide_them(tmp_path):
    rows = [
        {"doc": {"x": '"filtered_resps": ["no"]'}, "doc_id": 1, "filtered_resps": ['say "filtered_resps": [1]'], "score": 1},
        {"doc_id": 0, "filtered_resps": [["-1.5", "True"], ["-0.5", "False"]]},
    ]  # fmt: skip
    (tmp_path / "samples_t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert items.replies_of(tmp_path, "t") == [row["filtered_resps"] for row in reversed(rows)]


def test_a_choice_is_shown_by_its_option():
    row = {
        "arguments": {"a": {"0": "Q", "1": " yes"}, "b": {"0": "Q", "1": " no"}},
        "doc": {"gold_index": 0},
        "target": "0",
    }
    assert items.answer(row, [["-1.5", "True"], ["-0.5", "False"]]).strip() == "no"
    assert items.target(row) == "yes"
    assert items.answer(row, []) == ""


def test_sections_of_plugins_stand_at_the_end_escaped(tmp_path):
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


def test_where_nothing_was_swept_all_items_are_reported(tmp_path):
    out = study(tmp_path / "out", operators={"task_arithmetic": [0.4]})
    damage(out, "summary.json", lambda s: s["selection"].update(split=False, share=None))
    page = page_of(out)
    assert all(set(task["chooses"]) == {"0"} for task in data_of(page)["tasks"])
    for words in (
        "other items",
        "selection items chose",
        "chose hyperparameters and",
        "items that chose",
        "of clusters, ",
    ):
        assert words not in page
    assert "nothing was swept" in page


def test_an_older_summary_without_split_still_splits(tmp_path):
    out = study(tmp_path / "out")
    assert load(out).splits and "numbers are of the other items" in page_of(out)
    damage(out, "summary.json", lambda s: s["selection"].update(same_items=True))
    assert not load(out).splits and "reported items themselves" in page_of(out)


def test_few_items_advise_nothing(tmp_path):
    out = study(tmp_path / "out")
    ship = {"merge_over_single": [0.03, 0.01, 0.05]}
    for clusters, kicker in ((99, "Too few items to advise"), (100, "What to ship")):
        damage(out, "summary.json", lambda s, n=clusters: s["ship"].update(ship, clusters=n))
        page = page_of(out)
        assert f'<p class="kicker">{kicker}</p>' in page
        assert ("<strong>(ship)</strong>" in page) is (clusters == 100)
    damage(out, "summary.json", lambda s: s["ship"].update(clusters="many"))
    assert report(out).exit_code == 1


def test_names_of_any_length_are_broken_where_they_are_shown(tmp_path):
    style = page_of(study(tmp_path / "out")).split("<style>")[1].split("</style>")[0]
    rules = re.findall(r"([^{}]+)\{([^{}]*)\}", re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL))
    broken = {
        s.strip() for names, rule in rules if "overflow-wrap: anywhere" in rule for s in names.split(",")
    }
    assert {"h1", "h2", "h3", "h4", "p", "li", "dt", "dd", "figcaption", "label"} <= broken


@pytest.mark.parametrize(
    ("split", "is_merge", "kicker", "look"),
    [
        (True, True, "What to ship", "yes"),
        (False, True, "What to ship, chosen and measured on the same items", "unclear"),
        (False, False, "What to ship", "unclear"),
        (True, False, "No clear advice", "unclear"),
    ],
)
def test_nothing_is_clear_on_the_items_that_chose(tmp_path, split, is_merge, kicker, look):
    out = study(tmp_path / "out")
    ship = {"merge_over_single": [0.03, 0.01, 0.05]} | (
        {} if is_merge else {"model": "base", "is_merge": False}
    )
    damage(out, "summary.json", lambda s: (s["selection"].update(split=split), s["ship"].update(ship)))
    page = page_of(out).split("</section>")[0]
    assert f'<div class="ship {look}">\n<p class="kicker">{kicker}</p>' in page and "clearly" not in page
    assert ("(<bdi>base</bdi>), chosen and measured on the same items</dt>" in page) is not split


def test_gain_and_og_are_explained_under_the_verdict(tmp_path):
    wanted = "Gain: merged less the mean of its constituents; OG: less the best of them."
    assert wanted in page_of(study(tmp_path / "out"))


@pytest.mark.parametrize("kind", ["link", "file"])
def test_figures_are_written_into_a_folder_only(tmp_path, kind):
    out, place = study(tmp_path / "out"), tmp_path / "elsewhere"
    place.mkdir()
    (out / "figures").symlink_to(place) if kind == "link" else (out / "figures").write_text("mine")
    done = report(out)
    assert done.exit_code == 1 and "link or no folder" in done.output
    assert len(done.output.strip().splitlines()) == 1 and not list(place.iterdir())


def test_a_folder_that_may_only_be_read_is_one_line(tmp_path, monkeypatch):
    """As a read-only mount does: nothing can be written, and taking away what is not there fails, too."""
    out = study(tmp_path / "out")

    def refuse(self, *args, **how):
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("mkdir", "write_bytes", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    done = report(out)
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit), done.exception
    assert "cannot be written" in done.output and len(done.output.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["report.html", "figures/1-stages.png", "figures/7-layers.svg"])
def test_a_folder_in_the_way_is_named_before_anything_is_written(tmp_path, name):
    out = study(tmp_path / "out")
    (out / name).mkdir(parents=True)
    before = sorted(out.rglob("*"))
    done = report(out)
    assert done.exit_code == 1 and f"{out / name}: is a folder" in done.output
    assert len(done.output.strip().splitlines()) == 1 and sorted(out.rglob("*")) == before


def test_text_is_shown_only_if_both_files_say_so(tmp_path):
    out = study(tmp_path / "out")
    damage(out, "summary.json", lambda s: s["tasks"]["finance_bench_fpb"].update(text_may_be_shared=False))
    assert not load(out).text_allowed("finance_bench_fpb") and load(out).text_allowed(
        "finance_bench_docmath_cs"
    )


def test_og_on_its_skills_is_of_the_set_own_or_says_macro(tmp_path):
    """`named` holds retention, too, of one expert."""
    table = tables.overview(load(study(tmp_path / "out")))
    column = table.columns.index("OG on its skills")
    shown = {row[1].text: row[column].text for row in table.rows}
    assert shown["base + finance"] == "+30.0 [+25.0, +35.0]"
    assert shown["base + math"] == "-2.0 [-7.0, +3.0] (macro)"  # no task needs math alone


TURN = "\u202e"  # right-to-left override


def test_a_name_that_turns_the_text_scrambles_not_even_its_own_cell(tmp_path):
    """Text of items stays as it is, and so does a recipe, which is copied."""
    out = study(tmp_path / "out", names={"math": f"ma{TURN}th"}, text=f"sai{TURN}d")
    (recipe,) = {next((out / "points").glob("stage1-finance-ta-lambda0.4-*")) / "recipe.yml"}
    recipe.write_text(f"merge_method: cpt # {TURN}")
    page = page_of(out)
    before, _, data = page.partition('id="data">')
    assert before.count(TURN) == 1 and f"merge_method: cpt # {TURN}</code>" in before
    found = data_of(page)
    assert TURN not in "".join(model["label"] + model["short"] for model in found["models"])
    assert "math" in [model["short"] for model in found["models"]] and "base + math" in before
    assert TURN in found["tasks"][0]["texts"][0]["prompt"] and data


def test_one_row_one_prompt_one_item(tmp_path):
    out = study(tmp_path / "out", combinations={1: [("finance",)]}, operators={"task_arithmetic": [0.4]})
    damage(out, "summary.json", lambda s: s.update(limit=1))
    damage(out, "points/m0-0123456789ab/results.json", lambda r: r["truncated_prompts"].update(a=1, b=2))
    page = page_of(out)
    assert "Only the first item of every task was asked" in page
    assert "a: 1 prompt did not fit the context and was cut" in page and "b: 2 prompts did" in page
    assert "3 rows<" in page and not re.search(r"\b1 (rows|items|prompts)\b", page)


def test_paper_shows_the_tables(tmp_path):
    page = page_of(study(tmp_path / "out"))
    printed = page.split("@media print")[1].split("</style>")[0]
    hidden = [line for line in printed.splitlines() if "display: none" in line]
    assert hidden and "#tables" not in "".join(hidden) and "beforeprint" in page
