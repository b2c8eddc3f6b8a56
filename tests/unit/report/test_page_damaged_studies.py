"""Damaged or malicious study folders: one line, and nothing is written."""

import pytest
from helpers.report import damage, page_of, report, study

from mergekit_finance.report import figures

BAD = {
    "no such folder": (lambda out: out.rename(out.with_name("gone")), "no finished study here"),
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


@pytest.mark.parametrize("fault", BAD)
def test_bad_input_is_a_one_line_error_and_writes_nothing(tmp_path, fault):
    out = study(tmp_path / "out")
    spoil, message = BAD[fault]
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
def test_symbolic_links_are_refused(tmp_path, path, monkeypatch):
    """Otherwise a page that is shown to others could contain a file from outside the study."""
    # Drawing takes 2 s, and comes before the samples are read.
    monkeypatch.setattr(figures, "draw_all", lambda results: iter(()))
    out, elsewhere = study(tmp_path / "out"), tmp_path / "elsewhere"
    (next(out.glob("points/m0-*")) / "key.json").write_text("{}")
    place = next(out.glob(path))
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    done = report(out)
    assert done.exit_code == 1 and f"{place}: is a symbolic link" in done.output
    assert len(done.output.strip().splitlines()) == 1 and not (out / "report.html").exists()


DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000

FPB = "finance_bench_fpb"


def first(content):
    return next(iter(content.values()))


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
    "p of a set a word": lambda s: first(s["selected"])["sets"]["macro"].update(
        p_over_best_constituent="small"
    ),
    "optimism a number": lambda s: s["selection"].update(optimism=5),
    "an unknown task of its skills": lambda s: first(s["selected"])["sets"]["own"].update(tasks=["x"]),
    "a set of no task": lambda s: first(s["selected"])["sets"]["own"].update(tasks=[]),
    "a huge number": lambda s: s["ship"].update(macro=[10**400, 0.1, 0.2]),
}


def assert_one_line_error(out, place):
    done = report(out)
    assert done.exit_code == 1 and place in done.output and isinstance(done.exception, SystemExit)
    assert len(done.output.strip().splitlines()) == 1 and "run the study again" in done.output
    assert not (out / "report.html").exists() and not (out / "figures").exists()


@pytest.mark.parametrize("fault", OF_SCORES)
@pytest.mark.parametrize("model", ["m0", "m2"])
def test_damaged_scores_are_a_one_line_error(tmp_path, model, fault):
    out = study(tmp_path / "out")
    path = next(out.glob(f"points/{model}-*/scores.json"))
    damage(out, path.relative_to(out), lambda scores: OF_SCORES[fault](scores[FPB]))
    assert_one_line_error(out, str(path))


@pytest.mark.parametrize("fault", OF_SIMILARITY)
def test_a_damaged_similarity_is_a_one_line_error(tmp_path, fault):
    out = study(tmp_path / "out")
    damage(out, "similarity.json", OF_SIMILARITY[fault])
    assert_one_line_error(out, "similarity.json")


@pytest.mark.parametrize("fault", OF_SUMMARY)
def test_a_damaged_summary_is_a_one_line_error(tmp_path, fault):
    out = study(tmp_path / "out")
    damage(out, "summary.json", OF_SUMMARY[fault])
    assert_one_line_error(out, "summary.json")


@pytest.mark.parametrize("path", ["summary.json", "tasks.json", "similarity.json", "points/m0-*/scores.json"])
def test_deep_nesting_is_a_one_line_error(tmp_path, path):
    out = study(tmp_path / "out")
    next(out.glob(path)).write_text(DEEP)
    assert_one_line_error(out, "nested too deep")


@pytest.mark.parametrize(
    "damaged", [DEEP, "[1]", '{"truncated_prompts": [1], "task_hashes": [1], "versions": [1]}']
)
def test_damaged_optional_files_are_ignored(tmp_path, damaged):
    out = study(tmp_path / "out")
    folder = next(out.glob("points/m0-*"))
    for name in ("results.json", "key.json"):
        (folder / name).write_text(damaged)
    page = page_of(out)
    assert "did not fit" not in page and ", of the results" not in page


def test_results_of_run_are_refused_by_name(tmp_path):
    (tmp_path / "gain.json").write_text("{}")
    assert "mergekit-finance run" in report(tmp_path).output
