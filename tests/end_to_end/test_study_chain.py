"""`chain: best`: each stage merges the selected models of the stage before."""

import shutil
from pathlib import Path

import pytest
import yaml
from helpers import study as helpers
from helpers.study import refused

from mergekit_finance.errors import RecipeError


@pytest.fixture(scope="module")
def chained(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("chained") / "out"
    grid = {"task_arithmetic": {"lambda": [0.4, 0.6]}}
    helpers.go(tiny, out, experts=helpers.EXPERTS, stages=[1, 2, 3], chain="best", operators=grid)
    return out


@pytest.mark.parametrize("damage", ["altered", "lost", "folder lost", "a file"])
def test_a_selected_merge_that_was_altered_or_lost_is_written_again(tiny, chained, tmp_path, damage, capfd):
    """`folder lost` is also what a kill between noting its fingerprint and renaming it leaves."""
    out = shutil.copytree(chained, tmp_path / "out")
    first, second = sorted((out / "selected").glob("stage1-*/model.safetensors"))[:2]
    if damage in ("folder lost", "a file"):
        shutil.rmtree(second.parent)
        (second.parent.touch if damage == "a file" else tuple)()
    else:
        second.write_bytes(first.read_bytes()) if damage == "altered" else second.unlink()
    grid = {"task_arithmetic": {"lambda": [0.4, 0.6]}}
    _, printed = helpers.go(
        tiny, out, experts=helpers.EXPERTS, stages=[1, 2, 3], chain="best", operators=grid
    )
    assert sum(text.startswith("writing ") for text in printed) == 1
    assert "merge:" not in capfd.readouterr().err  # quiet: no progress bar of mergekit
    assert second.read_bytes() == (chained / second.relative_to(out)).read_bytes()


def test_incomplete_files_of_a_killed_process_in_selected_are_removed(tiny, chained, tmp_path):
    out = shutil.copytree(chained, tmp_path / "out")
    lost = next((out / "selected").glob("stage1-*/config.json")).parent
    (out / "selected" / ".half").mkdir()
    lost.rename(out / "selected" / ".half" / lost.name)
    grid = {"task_arithmetic": {"lambda": [0.4, 0.6]}}
    helpers.go(tiny, out, experts=helpers.EXPERTS, stages=[1, 2, 3], chain="best", operators=grid)
    assert lost.is_dir() and not helpers.leftovers(out)


def test_chain_best_merges_the_selected_models_of_the_stage_before(chained):
    summary = helpers.summary_of(chained)
    selected = {c: row["selected"] for c, row in summary["combinations"].items()}
    pair = summary["points"][selected["finance+math"]]
    assert pair["constituents"] == [selected["finance"], selected["math"]]
    triple = summary["points"][selected["finance+math+japanese"]]
    assert triple["constituents"] == [
        selected["finance+math"],
        selected["finance+japanese"],
        selected["math+japanese"],
    ]
    raw = summary["selected"][selected["finance+math+japanese"]]["base_and_experts"]
    assert raw == ["base", "finance", "math", "japanese"]
    assert len(list((chained / "selected").glob("*/config.json"))) == 6
    assert not helpers.leftovers(chained)


def test_the_recipe_of_a_chained_point_names_checkpoints_in_selected(chained, tmp_path):
    from mergekit_finance.recipe import load as recipe

    place = next((chained / "points").glob("stage3-*"))
    checked = recipe.load_recipe(place / "recipe.yml")
    assert all(str(chained / "selected") in expert for expert in checked.experts)


def test_a_selected_checkpoint_has_the_bytes_of_its_point(chained, tiny, tmp_path):
    from safetensors.torch import load_file

    from mergekit_finance.merging.session import MergeSession

    folder = next((chained / "selected").glob("stage2-*/config.json")).parent
    text = yaml.safe_load((chained / "points" / folder.name / "recipe.yml").read_text())
    with MergeSession.open(text) as session:
        merged = dict(session.model.named_parameters())
        stored = load_file(folder / "model.safetensors")
        assert set(stored) <= set(merged) and all(
            tensor.equal(merged[name]) for name, tensor in stored.items()
        )


def test_a_resumed_chain_evaluates_and_writes_nothing(chained, tiny, tmp_path, evaluated):
    before = {p: p.stat().st_mtime_ns for p in (chained / "selected").rglob("*")}
    grid = {"task_arithmetic": {"lambda": [0.4, 0.6]}}
    helpers.go(tiny, chained, experts=helpers.EXPERTS, stages=[1, 2, 3], chain="best", operators=grid)
    assert evaluated == [] and {p: p.stat().st_mtime_ns for p in (chained / "selected").rglob("*")} == before


@pytest.mark.parametrize("name", ["fin+math", "out@1"])
def test_chain_best_refuses_a_folder_whose_name_mergekit_would_read_as_a_revision_or_adapter(
    tiny, tmp_path, name
):
    refused(
        tiny, tmp_path / name, RecipeError, "with `chain: best` the path must not contain [@+]", chain="best"
    )


def test_chain_best_runs_below_a_folder_of_any_name(tiny, tmp_path, monkeypatch):
    (tmp_path / "we@x +1").mkdir()
    monkeypatch.chdir(tmp_path / "we@x +1")
    summary, _ = helpers.go(tiny, Path("out"), chain="best")
    assert "finance+math" in summary["combinations"]
