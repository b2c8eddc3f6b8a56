"""The stored scores, and the command that computes every table of FINDINGS.md from them."""

import json
import lzma

import numpy as np
import pytest
from helpers.smollm2_scores import columns, info, right, similarity, study
from helpers.smollm2_study import FOLDER, data, findings, operators, points, predictors, tables

from mergekit_finance.study.export import export_recipes


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A folder of results with random scores."""
    folder, scores = tmp_path_factory.mktemp("results"), study()
    data.write(scores, folder / data.SCORES)
    names = [name for name, model in scores.models.items() if not model.is_merge and name != "base"]
    text = json.dumps(similarity(names).as_json())
    (folder / "similarity.json.xz").write_bytes(lzma.compress(text.encode()))
    losses = {"finance": 3.2, "math": 2.0}
    record = {
        "name": "math_a", "plan": {"rate": 5e-4, "seed": 0}, "tokens": 25_000_000, "passes": 1.9,
        "held_out_before": losses, "held_out_after": {name: loss - 1 for name, loss in losses.items()},
        "tokens_per_second": 150000, "seconds": 160.5, "peak_memory": 2**34, "device": "GPU", "sha256": "f" * 64,
    }  # fmt: skip
    (folder / "training.json").write_text(json.dumps([record]))
    (folder / "steps.json").write_text(
        json.dumps([{"step": "train", "seconds": 9.5, "gib": 1.5, "devices": "2 x GPU"}])
    )
    counts = ("documents", "questions", "train_tokens", "held_out_documents", "held_out_tokens")
    (folder / "tokens.json").write_text(json.dumps({"math": dict.fromkeys(counts, 7)}))
    return folder


def test_scores_are_read_as_they_were_written_without_ids_of_rows(results):
    scores, again = study(), data.read(results / data.SCORES)
    text = lzma.decompress((results / data.SCORES).read_bytes()).decode()
    assert '"i0"' not in text and "item_id" not in text
    assert list(again.models) == list(scores.models) and again.models["math_a"] == scores.models["math_a"]
    names = list(scores.models)
    for task in scores.columns:
        for part in ("report", "select", "all"):
            one, other = scores.table(task, names, part), again.table(task, names, part)
            np.testing.assert_allclose(
                [one.score(n) for n in names], [other.score(n) for n in names], atol=1e-4
            )
            assert all((one.correct[n] == other.correct[n]).all() for n in names)
    assert again.settings["math"][0] == "task_arithmetic"


def test_chance_is_the_better_of_guessing_and_of_one_constant_answer():
    scores = data.Scores(tasks={task: info(task) for task in ("finance_bench_fpb", "finance_bench_probe_j")})
    pairs = [["a", "b"], ["a", "a"], ["a", "b"], ["b", "b"]]
    task_columns = {
        "finance_bench_fpb": columns(pairs, [0, 1, 0, 1], 3),
        "finance_bench_probe_j": right([1, 0], 4),
    }
    scores.add(data.Model("base"), task_columns)
    assert scores.chance("finance_bench_probe_j") == 0.25
    assert scores.chance("finance_bench_fpb") == pytest.approx(
        3 / 4 * 6 / 7
    )  # always "a": F1 6/7 of three in four


def test_chance_of_written_answers_is_what_one_constant_answer_scores():
    scores = data.Scores(tasks={"finance_bench_convfinqa": info("finance_bench_convfinqa")})
    scores.add(data.Model("base"), {"finance_bench_convfinqa": right([1, 0])})
    assert scores.chance("finance_bench_convfinqa") == 0.0
    scores.constants = {"finance_bench_convfinqa": 0.03}
    assert scores.chance("finance_bench_convfinqa") == 0.03


def test_published_chance_levels_of_written_answers_are_read_from_the_results():
    scores = findings.load(FOLDER / "results").scores
    assert scores.chance("finance_bench_jfinqa_temporal") == 0.25


def test_other_items_are_refused():
    scores = data.Scores(tasks={"t": info("finance_bench_probe_m")})
    scores.add(data.Model("base"), {"t": right([1, 0])})
    with pytest.raises(ValueError, match="x: other items of t"):
        scores.add(data.Model("x"), {"t": right([1, 0, 1])})


def test_every_table_of_the_page_is_computed_from_the_stored_results(results, tmp_path):
    page = (FOLDER / "FINDINGS.md").read_text(encoding="utf-8")
    copy = tmp_path / "FINDINGS.md"
    copy.write_text(page, encoding="utf-8")
    findings.main([str(results), "--write", str(copy)])
    text = copy.read_text(encoding="utf-8")
    written = {mark[1]: mark[0].strip().split("\n\n")[1] for mark in findings.MARK.finditer(text)}
    assert list(written) == findings.MARK.findall(page) and len(written) == 15
    for table in written.values():
        rows = table.splitlines()
        assert len(rows) >= 2 and len({line.count("|") for line in rows}) == 1
    assert (
        "| math_a | GPU | ffffffffffff | 0.0005 | 0 | 25.0 M | 1.9 | 3.200 → 2.200 |" in written["training"]
    )
    assert "| train | 2 x GPU | 9.5 | 1.5 |" in written["steps"]
    assert "| math | 7 | 7 | 7 | 7 | 7 |" in written["corpora"]
    assert findings.filled(text, written) == text and findings.MARK.sub("", text) == findings.MARK.sub(
        "", page
    )


def test_the_recipes_are_those_of_the_study_file():
    exported = {recipe.name: recipe.text for recipe in export_recipes(FOLDER / "study.yml", start=True)}
    files = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("stage*.yml")}
    assert exported == files and len(files) == 21


def test_the_tables_are_printed_by_name(results, capsys, monkeypatch):
    monkeypatch.setattr(findings, "all_tables", lambda results: {"models": "| a |", "steps": "| b |"})
    findings.main([str(results)])
    assert capsys.readouterr().out == "## models\n\n| a |\n\n## steps\n\n| b |\n\n"


def test_a_page_without_a_mark_is_refused(results):
    with pytest.raises(SystemExit, match=r"^Error: tables and marks differ: a, b\.$"):
        findings.filled("<!-- table: a -->\n<!-- end -->", {"b": ""})
    with pytest.raises(SystemExit, match=r"has no scores.json.xz"):
        findings.load(results / "nowhere")


def test_effects_of_all_kinds_have_their_numbers_of_merges(results):
    scores = data.read(results / data.SCORES)
    rows = [
        line.split(" | ")
        for line in tables.effect_rows(scores, tables.effects(scores), bits=False).splitlines()[2:]
    ]
    assert [row[3] for row in rows] == ["3"] * 6 + ["9"] * 9 + ["27"] * 4
    assert [row[7] for row in rows[-4:]] == ["finance expert", "math expert", "japanese expert", "base"]


def test_similarity_is_tested_with_all_exchanges_of_experts(results):
    loaded = findings.load(results)
    found = predictors.predictions(loaded.scores, loaded.similarity)
    by_stage = {stage: [one for one in found if one.stage == stage] for stage in (1, 2, 3)}
    assert {one.orders for one in found} == {216} and {one.experts for one in found} == {9}
    assert [of[0].merges for of in by_stage.values()] == [9, 27, 27]
    assert {one.predictor for one in by_stage[1]} == {
        "l2",
        "cosine",
        "vector_norm",
        "constituents",
        "headroom",
    }
    assert len(by_stage[2]) == len(by_stage[3]) == 14
    assert all(one.p >= 1 / 216 and one.p_holm >= one.p for one in found)
    assert all((one.by_layer is None) == (one.predictor in predictors.WITHOUT_LAYERS) for one in found)


def test_a_measure_of_a_merge_is_the_mean_over_its_pairs_of_constituents():
    entry = similarity(["finance_a", "math_a", "japanese_a"]).total
    l2 = {frozenset((p.a, p.b)): p.l2 for p in entry.pairs}
    triple = ("finance_a", "math_a", "japanese_a")
    expected = np.mean([l2[frozenset(p)] for p in (triple[:2], triple[1:], triple[::2])])
    values = predictors.of_entry(entry, "l2", [triple, ("math_a",)])
    assert values == pytest.approx({triple: expected, ("math_a",): l2[frozenset(("base", "math_a"))]})
    assert predictors.of_entry(entry, "sign_conflicts", [("math_a",)]) == {}


def test_the_sensitivity_of_an_operator_is_over_the_cells_that_all_kinds_have(results):
    scores = data.read(results / data.SCORES)
    found = {one.operator: one for one in operators.sensitivities(scores)}
    assert found["task_arithmetic"].cells == 5 and found["task_arithmetic"].kinds == 7
    cells = {kind: [] for kind in points.KINDS}
    for one in operators.grid_points(scores):
        cells[one.kind] += [one.score] if one.cell[0] == "task_arithmetic" else []
    spread = np.mean([max(values) - min(values) for values in cells.values()])
    assert found["task_arithmetic"].spread.value == pytest.approx(spread)
    assert found["task_arithmetic"].best.value == pytest.approx(np.mean([max(v) for v in cells.values()]))
    assert "ties" not in found and "dare_ties" not in found  # one cell each
    dare = [one.seeds for one in operators.grid_points(scores) if one.cell[0] == "dare_ties"]
    assert dare == [3] * 7
