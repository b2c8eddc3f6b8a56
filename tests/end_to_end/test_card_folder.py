"""`mergekit-finance card`: where it writes, what it replaces and what it keeps."""

import shutil
from pathlib import Path

import pytest
from helpers.share import PAIR, changed, elsewhere, licensed, shared_study

from mergekit_finance.errors import MergekitFinanceError
from mergekit_finance.share.card import make

pytestmark = pytest.mark.usefixtures("figures_drawn_once")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_study(tmp_path_factory.getbasetemp())


def test_a_license_that_a_person_added_stays_when_the_card_is_made_again(out: Path, tmp_path: Path) -> None:
    make(out, tmp_path / "card", PAIR, weights=True)
    (tmp_path / "card" / "LICENSE").write_text("mine")
    make(out, tmp_path / "card", "stage1-math-ta-lambda0.4")
    assert (tmp_path / "card" / "LICENSE").read_text() == "mine"
    assert not (tmp_path / "card" / "model.safetensors").exists()  # of another point


def test_files_that_a_person_added_stay_when_the_card_is_made_again(out: Path, tmp_path: Path) -> None:
    card = tmp_path / "card"
    make(licensed(out, tmp_path / "out", "llama3"), card, PAIR)
    mine = ("figures/mine.png", "licenses/me/terms.txt", "LICENSE")
    for name in mine:
        (card / name).parent.mkdir(parents=True, exist_ok=True)
        (card / name).write_text("mine")
    make(out, card, PAIR)
    assert all((card / name).read_text() == "mine" for name in mine)
    assert not (card / "NOTICE").exists()  # written by `card`, and no longer required
    (card / "NOTICE").write_text("mine")
    make(out, card, PAIR)
    assert (card / "NOTICE").read_text() == "mine"
    with pytest.raises(MergekitFinanceError, match="NOTICE exists and was not written by `card`"):
        make(tmp_path / "out", card, PAIR)
    assert (card / "NOTICE").read_text() == "mine"


def test_weights_of_another_recipe_are_refused(out: Path, tmp_path: Path) -> None:
    card = tmp_path / "card"
    make(out, card, PAIR)
    (card / "model.safetensors").write_text("mine")
    make(out, card, PAIR)
    before = (card / "README.md").read_bytes()
    with pytest.raises(MergekitFinanceError, match=r"model.safetensors belongs to another recipe"):
        make(out, card, "stage1-math-ta-lambda0.4")
    assert (card / "README.md").read_bytes() == before and (card / "model.safetensors").exists()


def test_a_failed_write_leaves_the_earlier_card(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(out, tmp_path / "card", PAIR)
    before = {p: p.read_bytes() for p in (tmp_path / "card").rglob("*") if p.is_file()}

    def full(self: Path, target: Path) -> Path:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(MergekitFinanceError, match="no space left"):
        make(out, tmp_path / "card", "stage1-math-ta-lambda0.4")
    assert {p: p.read_bytes() for p in (tmp_path / "card").rglob("*") if p.is_file()} == before


def test_a_linked_folder_is_refused_and_permissions_are_kept(out: Path, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(MergekitFinanceError, match="link to a folder"):
        make(out, tmp_path / "link", PAIR)
    assert not list((tmp_path / "target").iterdir())
    (tmp_path / "target").chmod(0o700)
    make(out, tmp_path / "target", PAIR)
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o700


def test_wrong_arguments_are_a_one_line_error(out: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    unshareable = changed(
        out,
        tmp_path / "unshareable",
        "tasks.json",
        lambda c: c["finance_bench_fpb"].update(text_may_be_shared=False),
    )
    lab = shutil.copytree(out.parent / "lab" / "base", tmp_path / "edited-base")
    (lab / "config.json").write_text((lab / "config.json").read_text() + " ")
    edited = elsewhere(out, tmp_path / "edited", str(out.parent / "lab" / "base"), str(lab))
    card = tmp_path / "card"
    for call, message in [
        (lambda: make(out, card, "stage9"), "no point 'stage9'. `ls OUT/points` lists all"),
        (lambda: make(out, card, PAIR.replace("ties", "tie")), f"Did you mean '{PAIR}'"),
        (lambda: make(tmp_path, card), "no finished study here"),
        (lambda: make(out, tmp_path / "full"), "exists and is not a card"),
        (lambda: make(out, out), "the study's own folder"),
        (lambda: make(out, card, PAIR, {"bse": "a/b"}), "the study has no 'bse'. Did you mean 'base'"),
        (lambda: make(unshareable, card, PAIR, samples=True), "do not allow sharing their text"),
        (
            lambda: make(edited, card, PAIR, weights=True),
            "its files have changed since the study measured it",
        ),
    ]:
        with pytest.raises(MergekitFinanceError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value) and not card.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "edited",
        "edited-base",
        "full",
        "unshareable",
    ]  # no unfinished card


def test_a_failed_merge_names_the_point(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(configuration: object, folder: str, options: object) -> None:
        raise RuntimeError(f"{folder}/mergekit_config.yml is of no use")

    monkeypatch.setattr("mergekit.merge.run_merge", fail)
    with pytest.raises(MergekitFinanceError, match=f"the recipe of {PAIR} is of no use") as caught:
        make(out, tmp_path / "card", PAIR, weights=True)
    assert ".card." not in str(caught.value)
