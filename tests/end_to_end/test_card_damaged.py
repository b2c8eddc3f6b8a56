"""`mergekit-finance card` of a study whose files are damaged, linked or changed."""

import json
import os
import shutil
from pathlib import Path

import pytest
from helpers.share import PAIR, changed, shared_study

from mergekit_finance.errors import MergekitFinanceError
from mergekit_finance.share.card import make

pytestmark = pytest.mark.usefixtures("figures_drawn_once")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_study(tmp_path_factory.getbasetemp())


DEEP = '{"a": ' * 3000 + "1" + "}" * 3000

COLUMN = '{"finance_bench_fpb": 1}'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *((name, text) for name in ("key.json", "scores.json") for text in (None, "{", DEEP)),
        ("scores.json", COLUMN),
    ],
)
def test_a_damaged_point_is_a_one_line_error(out: Path, tmp_path: Path, name: str, text: str | None) -> None:
    folder = shutil.copytree(out, tmp_path / "out")
    (path,) = folder.glob(f"points/{PAIR}-*/{name}")
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(MergekitFinanceError, match="To repair it, run the study again") as caught:
        make(folder, tmp_path / "card", PAIR)
    assert "\n" not in str(caught.value) and not (tmp_path / "card").exists()


def test_missing_results_are_a_one_line_error(out: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(out, tmp_path / "out")
    shutil.rmtree(folder / "points")
    with pytest.raises(MergekitFinanceError, match="cannot be read|results are missing"):
        make(folder, tmp_path / "card", PAIR)
    folder = shutil.copytree(out, tmp_path / "other")
    shutil.rmtree(next(folder.glob("points/base-*")))
    summary = json.loads((folder / "summary.json").read_text())
    by_hand = next(point for point in summary["points"] if point not in summary["selected"])
    with pytest.raises(MergekitFinanceError, match="cannot be read|results are missing"):
        make(folder, tmp_path / "card", by_hand)


def first(content: dict) -> dict:
    return content["points"][0]


TRAPS = {
    "no ship": ("summary.json", lambda c: c.pop("ship"), "combinations and ship do not fit the tasks"),
    "ship null": ("summary.json", lambda c: c.update(ship=None), "combinations and ship do not fit the tasks"),
    "no score of the base": ("summary.json", lambda c: c["models"]["base"].update(scores={"a": "b"}), "models.base.scores.a: must be a number"),
    "no number": ("summary.json", lambda c: c["ship"].update(macro=float("inf")), "not a finite number"),
    "no points": ("index.json", lambda c: c.pop("points"), "points: is missing. Add it"),
    "points of another kind": ("index.json", lambda c: c.update(points={}), "points: must be a list"),
    "no base": ("index.json", lambda c: c["models"].pop("base"), "no base"),
    "no recipe": ("index.json", lambda c: first(c).pop("recipe"), "points.0.recipe: is missing. Add it"),
    "a folder elsewhere": ("index.json", lambda c: first(c).update(folder="../../secret"), "not a folder under points/"),
    "a model elsewhere": ("index.json", lambda c: c["models"]["base"].update(folder=".."), "not a folder under points/"),
    "a name of two lines": ("index.json", lambda c: first(c).update(name="a\n# b"), "not a folder|not a valid name"),
    "markup in a reference": ("index.json", lambda c: c["models"]["base"].update(reference="<img>"), "not a valid name"),
}  # fmt: skip


@pytest.mark.parametrize("trap", TRAPS)
def test_a_damaged_study_is_a_one_line_error(out: Path, tmp_path: Path, trap: str) -> None:
    name, change, message = TRAPS[trap]
    damaged = changed(out, tmp_path / "out", name, change)
    with pytest.raises(MergekitFinanceError, match=message) as caught:
        make(damaged, tmp_path / "card")
    assert "\n" not in str(caught.value) and not (tmp_path / "card").exists()


def test_symbolic_links_are_not_followed(out: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(out, tmp_path / "out")
    (tmp_path / "secret").write_text("secret")
    (folder / "figures").mkdir()
    for name in ("2-gain-and-og.png", "4-hyperparameters.png"):
        (folder / "figures" / name).symlink_to(tmp_path / "secret")
    make(folder, tmp_path / "card", PAIR)
    assert not any(b"secret" == p.read_bytes() for p in (tmp_path / "card").rglob("*") if p.is_file())
    shutil.rmtree(tmp_path / "card" / "figures")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "card" / "figures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MergekitFinanceError, match="link to a folder"):
        make(folder, tmp_path / "card", PAIR)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_samples_require_true_in_both_files(out: Path, tmp_path: Path) -> None:
    for i, (name, value) in enumerate([("tasks.json", "yes"), ("summary.json", False)]):

        def change(content: dict, permission: object = value) -> None:
            content.get("tasks", content)["finance_bench_fpb"]["text_may_be_shared"] = permission

        folder = changed(out, tmp_path / f"out{i}", name, change)
        with pytest.raises(MergekitFinanceError, match="do not allow"):
            make(folder, tmp_path / "card", PAIR, samples=True)


def of_pair(content: dict) -> dict:
    return next(point for point in content["points"] if point["name"] == PAIR)


def swapped(content: dict) -> None:
    mine, other = of_pair(content), first(content)
    mine["folder"], other["folder"] = other["folder"], mine["folder"]


OTHERS = {
    "lambda": lambda c: of_pair(c)["recipe"]["parameters"].update({"lambda": 0.9}),
    "values": lambda c: of_pair(c)["values"].update({"lambda": 0.9}),
    "weight": lambda c: of_pair(c)["recipe"]["models"][0]["parameters"].update(weight=0.5),
    "semantics": lambda c: of_pair(c)["recipe"]["parameters"].update(semantics="mergekit"),
    "a key too many": lambda c: of_pair(c)["recipe"].update(slices=[1]),
    "a tokenizer": lambda c: of_pair(c)["recipe"].update(tokenizer_source="evil/repo"),
    "a model": lambda c: of_pair(c)["recipe"]["models"][0].update(model="evil/repo"),
    "bytes": lambda c: c["models"]["base"].update(fingerprint="0"),
    "constituents": lambda c: of_pair(c).update(constituents=of_pair(c)["constituents"][:1]),
    "results": swapped,
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_recipe_that_is_not_the_measured_one_is_refused(out: Path, tmp_path: Path, case: str) -> None:
    folder = changed(out, tmp_path / "out", "index.json", OTHERS[case])
    for older in (False, True):
        for path in folder.glob("points/*/files.json") if older else ():
            path.unlink()
        with pytest.raises(MergekitFinanceError, match="To repair it, run the study again") as caught:
            make(folder, tmp_path / "card", PAIR)
        assert "\n" not in str(caught.value) and not (tmp_path / "card").exists()


def test_a_recipe_that_was_changed_with_its_name_is_refused(out: Path, tmp_path: Path) -> None:
    name = PAIR.replace("lambda1.0", "lambda0.9")

    def change(content: dict) -> None:
        point = of_pair(content)
        point["recipe"]["parameters"]["lambda"] = point["values"]["lambda"] = 0.9
        folder = point["folder"].replace(PAIR, name)
        (tmp_path / "out" / "points" / point["folder"]).rename(tmp_path / "out" / "points" / folder)
        point |= {"name": name, "folder": folder}

    folder = changed(out, tmp_path / "out", "index.json", change)
    summary = folder / "summary.json"
    summary.write_text(summary.read_text().replace(PAIR, name))
    with pytest.raises(MergekitFinanceError, match="is not the one that was measured"):
        make(folder, tmp_path / "card", name)


def test_edited_scores_are_refused(out: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(out, tmp_path / "out")
    (path,) = folder.glob(f"points/{PAIR}-*/scores.json")
    path.write_text(path.read_text().replace("0.0", "1.0"))
    with pytest.raises(MergekitFinanceError, match=r"scores.json: has changed since the study wrote it"):
        make(folder, tmp_path / "card", PAIR)
    (path.parent / "files.json").unlink()  # of a study before there were such sums
    make(folder, tmp_path / "card", PAIR)


@pytest.mark.parametrize("name", ["study.json", "tasks.json", "summary.json", "key.json", "files.json"])
def test_links_and_pipes_are_a_one_line_error(out: Path, tmp_path: Path, name: str) -> None:
    for kind in ("link", "pipe"):
        folder = shutil.copytree(out, tmp_path / kind)
        (path,) = folder.glob(name) if (folder / name).exists() else folder.glob(f"points/{PAIR}-*/{name}")
        moved = path.rename(tmp_path / f"{kind}.json")
        path.symlink_to(moved) if kind == "link" else os.mkfifo(path)
        with pytest.raises(
            MergekitFinanceError,
            match="symbolic link, which is not followed|not a regular file|this study is not finished",
        ):
            make(folder, tmp_path / "card", PAIR)
