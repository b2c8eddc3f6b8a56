"""`mergekit-finance recipes`: list, show, copy, and one plain recipe per point of a study."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from mergekit_finance import registration
from mergekit_finance.cli import main
from mergekit_finance.files import bundled
from mergekit_finance.recipe.load import load_recipe
from mergekit_finance.study.config import load_study
from mergekit_finance.study.points import points

registration.register()

RECIPES = bundled("recipes")
LAB = RECIPES / "lab" / "study.yml"


def call(*args: object) -> Result:
    return CliRunner().invoke(main, ["recipes", *map(str, args)])


def error_line(*args: object) -> str:
    done = call(*args)
    assert done.exit_code == 1 and done.output.startswith("Error: ") and done.output.count("\n") == 1, (
        done.output
    )
    return done.output


def test_list_shows_every_file_with_a_description() -> None:
    lines = call("list").output.splitlines()
    assert len(lines) == 4 * 22 and lines == call().output.splitlines()
    descriptions = dict(line.split(maxsplit=1) for line in lines)
    assert set(descriptions) == {str(p.relative_to(RECIPES).with_suffix("")) for p in RECIPES.glob("*/*.yml")}
    assert descriptions["lab/stage2-math-japanese-dare-ties"] == "stage 2: math + japanese, DARE-TIES"
    assert descriptions["llama3-8b/stage1-finance-ta"] == "stage 1: finance, Task Arithmetic"


def test_list_of_a_family() -> None:
    assert all(
        line.startswith("llama2-7b/") for line in call("list", "--family", "llama2-7b").output.splitlines()
    )
    assert "Did you mean 'lab'" in error_line("list", "--family", "labb")


@pytest.mark.parametrize(
    "name", ["lab/stage2-finance-math-ties", "lab/stage2-finance-math-ties.yml", "lab/study"]
)
def test_show_prints_the_file(name: str) -> None:
    assert call("show", name).output == (RECIPES / f"{name.removesuffix('.yml')}.yml").read_text("utf-8")


def test_show_of_a_family_lists_it_and_a_wrong_name_gets_a_hint() -> None:
    assert len(call("show", "lab").output.splitlines()) == 22
    assert "Did you mean 'lab/stage2-finance-math-ties'" in error_line("show", "lab/stage2-finance-mth-ties")
    assert "is in 4 families. Write one of: lab/" in error_line("show", "stage2-finance-math-ties")


def test_copy_a_recipe_to_a_folder_or_a_name_and_never_over_a_file(tmp_path: Path) -> None:
    assert call("copy", "lab/study.yml", tmp_path).exit_code == 0
    assert (tmp_path / "study.yml").read_bytes() == LAB.read_bytes()
    assert call("copy", "lab/stage1-math-ta", tmp_path / "new" / "mine.yml").exit_code == 0
    (tmp_path / "study.yml").write_text("mine")
    assert "exists already. Use --force" in error_line("copy", "lab/study", tmp_path)
    assert (tmp_path / "study.yml").read_text() == "mine"
    assert call("copy", "lab/study", tmp_path, "--force").exit_code == 0
    assert (tmp_path / "study.yml").read_bytes() == LAB.read_bytes()


def test_copy_a_family_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "lab" / "base").mkdir(parents=True)  # the models lie there, too
    assert call("copy", "lab", tmp_path).exit_code == 0
    names = {p.name for p in (tmp_path / "lab").glob("*.yml")}
    assert len(names) == 22 and "study.yml" in names
    (tmp_path / "lab" / "stage1-math-ta.yml").unlink()
    assert "exists already" in error_line("copy", "lab", tmp_path)
    assert not (tmp_path / "lab" / "stage1-math-ta.yml").exists()
    assert call("copy", "llama3-8b", tmp_path / "new" / "other").exit_code == 0  # makes both folders
    assert len(list((tmp_path / "new" / "other").glob("*.yml"))) == 22


def test_export_writes_every_point_as_the_study_would_merge_it(tmp_path: Path) -> None:
    assert call("export", LAB, "-o", tmp_path).exit_code == 0
    study = load_study(LAB)
    expected = {p.name: p for stage in study.stages for p in points(study, stage)}
    assert {p.stem for p in tmp_path.iterdir()} == set(expected) and len(expected) == 7 * 30
    for name in (
        "stage1-math-ta-lambda0.3",
        "stage3-finance-math-japanese-dare-ties-density0.1-lambda1.0-seed0",
    ):
        exported = load_recipe(tmp_path / f"{name}.yml")
        assert exported.merge == expected[name].recipe()
        assert (
            exported.finance.stage == expected[name].stage
            and exported.constituents == expected[name].constituents
        )
        assert "# A point of the grid of the study 'lab'" in exported.text and exported.finance.citation


def test_export_start_writes_start_values_and_the_leading_comments_of_the_study(tmp_path: Path) -> None:
    study = tmp_path / "study.yml"
    study.write_text(
        "# Ours.\n#  indented\n\n# not this\nbase: ./b\nexperts: {x: {model: ./x}, y: {model: ./y}}\n"
        "operators: {ties: {density: [0.3, 0.5, 0.7]}}\nstages: [1, 2]\ntasks: [finance_bench_f, my_task]\n"
    )
    assert call("export", study, "--start").exit_code == 0
    assert {p.name for p in tmp_path.iterdir()} == {
        "study.yml", "stage1-x-ties.yml", "stage1-y-ties.yml", "stage2-x-y-ties.yml",
    }  # fmt: skip
    text = (tmp_path / "stage2-x-y-ties.yml").read_text()
    head = [line for line in text.splitlines() if line.startswith("#")]
    assert head == [
        "# Stage 2, complementarity: two experts.", "# Ours.", "#  indented",
        "# Values to start with. A study can vary density and lambda.",
    ]  # fmt: skip
    exported = yaml.safe_load(text)
    assert exported["models"][0]["parameters"] == {"weight": 1.0, "density": 0.5, "mask_id": "x"}
    assert exported["finance"]["tasks"] == ["finance_bench_f", "my_task"]


def test_export_never_overwrites_a_file_with_other_content(tmp_path: Path) -> None:
    call("copy", "lab/study", tmp_path)
    assert call("export", tmp_path / "study.yml", "--start").exit_code == 0
    assert call("export", tmp_path / "study.yml", "--start").exit_code == 0  # the same again
    mine = tmp_path / "stage2-finance-math-ta.yml"
    mine.write_text("mine")
    assert "exists with other content. --force" in error_line("export", tmp_path / "study.yml", "--start")
    assert mine.read_text() == "mine"
    assert call("export", tmp_path / "study.yml", "--start", "--force").exit_code == 0
    assert mine.read_bytes() == (RECIPES / "lab" / mine.name).read_bytes()


def test_export_of_a_study_that_cannot_be_exported_is_refused_in_one_line(tmp_path: Path) -> None:
    best = tmp_path / "best.yml"
    best.write_text(LAB.read_text("utf-8") + "chain: best\n")
    assert "the study itself selects" in error_line("export", best)
    assert "no such study" in error_line("export", tmp_path / "none.yml")
    best.write_text("base: ./b\n")
    assert "experts" in error_line("export", best)


@pytest.mark.parametrize("command", ["", "list", "show", "copy", "export"])
def test_help_has_examples(command: str) -> None:
    assert "Examples:" in call(*command.split(), "--help").output
