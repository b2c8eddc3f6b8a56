"""The folders that a card may be written to, and the files that it may delete."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from mergekit_finance.cli import main
from mergekit_finance.errors import DataError
from mergekit_finance.files import sha256_file
from mergekit_finance.share import card
from mergekit_finance.study.config import dump, parse_study


@pytest.mark.parametrize("inside", ["points", "points/x", "selected/x", ".locks", "figures/more/card"])
def test_a_card_cannot_be_written_into_the_studys_own_folders(tmp_path: Path, inside: str) -> None:
    with pytest.raises(DataError, match="belongs to the study"):
        card._check_target(tmp_path / "out" / inside, tmp_path / "out")
    card._check_target(tmp_path / "out" / "card", tmp_path / "out")


def test_a_manifest_cannot_delete_files_outside_the_folder(tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    (tmp_path / "mine").write_text("mine")
    for name in ("../mine", str(tmp_path / "mine")):
        card.remove_if_unchanged(tmp_path / "card", name, sha256_file(tmp_path / "mine"))
    assert (tmp_path / "mine").exists()


@pytest.mark.parametrize("command", ["card", "share"])
def test_help_has_examples(command: str) -> None:
    assert "Examples:" in CliRunner().invoke(main, [command, "--help"]).output


def test_links_are_looked_for_in_an_earlier_card_only(tmp_path: Path) -> None:
    """`-o /` is refused as what it is, without a walk through it and without the advice to remove a link."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "bin").symlink_to(tmp_path)
    with pytest.raises(DataError, match="mine: exists and is not a card. Choose another folder."):
        card._check_target(tmp_path / "mine", tmp_path / "out")
    (tmp_path / "mine" / "results").mkdir()
    (tmp_path / "mine" / "results" / "files.json").touch()
    with pytest.raises(DataError, match="mine/bin is a link to a folder, which is not followed. Remove it."):
        card._check_target(tmp_path / "mine", tmp_path / "out")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    with pytest.raises(
        DataError, match="link: is a link to a folder, which is not followed. Choose another folder."
    ):
        card._check_target(tmp_path / "link", tmp_path / "out")


def test_the_study_file_of_a_card_has_no_empty_settings_and_is_the_same_study() -> None:
    """An expert without skills has the skill of its name; an operator without hyperparameters stays."""
    content = {
        "base": "./base",
        "experts": {"legal": "./legal", "code": {"model": "./code", "skills": ["code"]}},
        "operators": {"slerp": {"t": 0.5}, "task_arithmetic": {"lambda": [0.4]}},
        "stages": [1, 2],
        "tasks": [{"task": "arc_easy", "metric": "acc_norm"}, "my_code"],
    }
    study = parse_study(content, "study.yml")
    settings = card.without_empty_settings(dump(study))
    assert settings["experts"] == {
        "legal": {"model": "./legal"},
        "code": {"model": "./code", "skills": ["code"]},
    }
    assert settings["operators"] == {"slerp": {"t": [0.5]}, "task_arithmetic": {"lambda": [0.4]}}
    assert not {"named", "probes", "retention"} & set(settings)
    assert parse_study(settings, "study.yml") == study
    assert card.without_empty_settings({"operators": {"plain": {"start": {}}}}) == {
        "operators": {"plain": {}}
    }


def test_the_study_file_of_a_card_lists_experts_as_its_merges_do() -> None:
    """A merge is called after its experts in the order of study.yml; study.json has them sorted by name."""
    pairs = [("math",), ("math", "finance"), ("math", "code"), ("finance", "code")]
    assert card.in_order_of(pairs, ["code", "finance", "math"]) == ["math", "finance", "code"]
    assert card.in_order_of([("math",)], ["code", "math"]) == ["code", "math"]
