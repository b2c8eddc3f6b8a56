"""`mergekit-finance leaderboard`: studies and cards on disk, and damage in them."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from helpers.share import PAIR, changed, shared_study

from mergekit_finance.cli import main
from mergekit_finance.share import card

pytestmark = pytest.mark.usefixtures("figures_drawn_once")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_study(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def shared(out: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A card's folder, without figures."""
    folder = tmp_path_factory.mktemp("cards") / "card"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(card, "_write_figures", lambda results, folder: {})
        card.make(out, folder, PAIR, name="me/pair")
    return folder


def leaderboard(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["leaderboard", *map(str, arguments)])


def test_a_study_and_a_card_are_ranked_together(out: Path, shared: Path, tmp_path: Path) -> None:
    done = leaderboard(f"study={out}", f"card={shared}", "-o", tmp_path / "board.json")
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "board.json").read_text())["ranking"]
    summary = json.loads((out / "summary.json").read_text())
    scores = {row["model"]: row for row in rows}
    for name in ("base", "finance", "math"):
        assert scores[name]["macro"] == pytest.approx(summary["models"][name]["macro"], abs=2e-6)
    assert [row["macro"][0] for row in rows] == sorted((row["macro"][0] for row in rows), reverse=True)
    of_card = [row for row in rows if "card" in row["from"]]
    assert len(of_card) == 1
    assert of_card[0]["macro"][0] == pytest.approx(summary["points"][PAIR]["macro"][0], abs=2e-6)
    text = leaderboard(out, shared).output
    assert max(map(len, text.splitlines()[: len(rows) + 1])) <= 80 and "minus the first" in text


def test_results_on_other_items_are_named(out: Path, shared: Path, tmp_path: Path) -> None:
    """The card of a study with a smaller limit."""
    other = shutil.copytree(shared, tmp_path / "card")
    scores = json.loads((other / "results/scores.json").read_text())
    rows = scores["finance_bench_fpb"]
    scores["finance_bench_fpb"] = {name: values[:6] for name, values in rows.items()}
    (other / "results/scores.json").write_text(json.dumps(scores))
    assert "is not what `card` wrote" in leaderboard(out, other).output
    manifest = json.loads((other / "results/files.json").read_text())
    manifest["files"]["results/scores.json"] = card.sha256_file(other / "results/scores.json")
    (other / "results/files.json").write_text(json.dumps(manifest))
    done = leaderboard(out, other)
    assert done.exit_code == 1 and "task fpb: 6 items, not 8" in done.output
    done = leaderboard(out, shared, f"small={other}")
    assert done.exit_code == 0 and "Not ranked: small: task fpb: 6 items, not 8." in done.stderr


@pytest.mark.parametrize("name", ["results/summary.json", "results/scores.json", "results/key.json", "results/models.json", "results/files.json"])  # fmt: skip
@pytest.mark.parametrize("content", ["{", "[]", '{"files": {}}', '{"a": 1e999}'])
def test_damaged_cards_are_one_line(shared: Path, tmp_path: Path, name: str, content: str) -> None:
    folder = shutil.copytree(shared, tmp_path / "card")
    (folder / name).write_text(content)
    done = leaderboard(folder)
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit)
    assert len(done.output.strip().splitlines()) == 1 and str(folder) in done.output


def test_a_changed_study_is_one_line(out: Path, tmp_path: Path) -> None:
    folder = changed(out, tmp_path / "out", "index.json", lambda content: None)
    place = next(folder.glob("points/base-*"))
    (place / "scores.json").write_text((place / "scores.json").read_text().replace("1.0", "0.0"))
    done = leaderboard(folder)
    assert done.exit_code == 1 and "has changed since the study wrote it" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: does not exist"),
        (["a", "a"], "listed twice"),
        (["<b>"], "cannot be shown"),
        (["\x1b[2J"], "cannot be shown"),
        (["."], "no finished study here"),
    ],
)
def test_wrong_arguments_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = leaderboard(*arguments)
    assert done.exit_code == 1 and message in done.output and "\x1b" not in done.output
    assert len(done.output.strip().splitlines()) == 1


def test_help_has_examples() -> None:
    assert "Examples:" in leaderboard("--help").output
