"""`mergekit-finance card`: a folder that the Hub takes, that says what a reader must know, and that merges."""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from helpers import commands
from helpers.share import changed, finished_study, licensed
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results

from mergekit_finance import registration as integration
from mergekit_finance.errors import MergekitFinanceError
from mergekit_finance.recipe.load import load
from mergekit_finance.share.card import make
from mergekit_finance.study.config import load as load_study

integration.register()

PAIR = "stage2-finance-math-ties-density0.5-lambda1.0"
HUB_IDS = {"base": "meta-llama/Meta-Llama-3-8B", "finance": "me/finance"}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = finished_study(tmp_path_factory.mktemp("study"))
    for path in found.parent.glob("lab/*/LICENSE"):
        path.unlink()  # not part of a fingerprint; a model without the text of its license is the harder case
    return found


def elsewhere(out: Path, to: Path, reference: str, now: str) -> Path:
    """A copy of a study that was run again after a model had moved: its bytes, and so its results, stay."""

    def change(content: dict) -> None:
        content.update(json.loads(json.dumps(content).replace(f'"{reference}"', f'"{now}"')))

    return changed(out, to, "index.json", change)


def body(folder: Path) -> str:
    return (folder / "README.md").read_text("utf-8").split("\n---\n", 1)[1]


def test_the_front_matter_is_what_the_hub_reads(out: Path, tmp_path: Path) -> None:
    make(out, tmp_path / "card", PAIR, HUB_IDS)
    data = metadata_load(tmp_path / "card" / "README.md")
    assert data["base_model"] == ["meta-llama/Meta-Llama-3-8B", "me/finance"]
    assert (data["base_model_relation"], data["library_name"], data["license"]) == (
        "merge",
        "transformers",
        "other",
    )
    assert data["license_name"] == "apache-2.0-and-llama3"  # our list of the base; the lab's own cards
    assert {"mergekit", "merge"} <= set(data["tags"]) and data["language"] == ["en"]
    name, results = model_index_to_eval_results(data["model-index"])
    assert name == f"Llama-3-{PAIR}"
    summary = json.loads((out / "summary.json").read_text())
    row = summary["selected"].get(PAIR) or {"tasks": {t: None for t in summary["tasks"]}}
    assert {r.task_name for r in results} == set(row["tasks"]) and len(results) == 4
    for result in results:
        assert 0 <= result.metric_args["low"] <= result.metric_value <= result.metric_args["high"] <= 1
        assert result.metric_value == pytest.approx(
            summary["points"][PAIR]["scores"][result.task_name], abs=1e-4
        )
    assert ModelCard.load(tmp_path / "card" / "README.md").data.eval_results == results


def test_local_models_are_not_listed_as_base_model(out: Path, tmp_path: Path) -> None:
    make(out, tmp_path / "card", PAIR)
    assert "base_model" not in metadata_load(tmp_path / "card" / "README.md")
    assert "No source model is on the Hub, so there is no `base_model`" in body(tmp_path / "card")
    make(out, tmp_path / "other", PAIR, {"base": "a/b"})
    assert "takes no folders" in body(tmp_path / "other")


def test_the_recipe_in_the_folder_gives_the_weights_in_the_folder(out: Path, tmp_path: Path) -> None:
    card = tmp_path / "card"
    make(out, card, PAIR, weights=True)
    done = commands.run("mergekit-yaml", "card/mergekit_config.yml", "merged", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    hashes = [
        hashlib.sha256((tmp_path / f / "model.safetensors").read_bytes()).hexdigest()
        for f in ("card", "merged")
    ]
    assert hashes[0] == hashes[1] and hashes[0] in body(card)
    for name in ("config.json", "tokenizer.json", "generation_config.json"):
        assert (card / name).read_bytes() == (tmp_path / "merged" / name).read_bytes()
    from transformers import AutoModelForCausalLM

    assert AutoModelForCausalLM.from_pretrained(card).num_parameters() > 1e6


def study_tasks(out: Path) -> list[str]:
    tasks = json.loads((out / "tasks.json").read_text())
    return [task for task, known in tasks.items() if known["kind"] == "tasks"]


def test_recipe_and_study_are_whole(out: Path, tmp_path: Path) -> None:
    make(out, tmp_path / "card", PAIR)
    recipe = load(tmp_path / "card" / "mergekit_config.yml")
    assert recipe.finance.stage == 2 and len(recipe.constituents) == 2 and recipe.finance.citation
    stored = json.loads((out / "index.json").read_text())["points"]
    assert set(recipe.finance.tasks) == set(study_tasks(out))
    assert recipe.merge == next(p["recipe"] for p in stored if p["name"] == PAIR)
    study = load_study(tmp_path / "card" / "study.yml")
    assert study.limit == 8 and set(study.experts) == {"finance", "math"}


def test_the_recipe_names_all_tasks_of_a_group(out: Path, tmp_path: Path) -> None:
    one = changed(out, tmp_path / "one", "study.json", lambda c: c["study"].update(tasks=["finance_bench"]))
    more = {"kind": "tasks"}
    folder = changed(
        one, tmp_path / "out", "tasks.json", lambda c: [known.update(more) for known in c.values()]
    )
    make(folder, tmp_path / "card", PAIR)
    recipe = load(tmp_path / "card" / "mergekit_config.yml")
    assert set(recipe.finance.tasks) == set(study_tasks(folder)) and len(recipe.finance.tasks) == 4


def test_results_are_the_studys_own_bytes_and_hold_no_text(out: Path, tmp_path: Path) -> None:
    made = make(out, tmp_path / "card", PAIR)
    results = tmp_path / "card" / "results"
    assert {p.name for p in results.iterdir()} == {
        "summary.json",
        "scores.json",
        "key.json",
        "models.json",
        "files.json",
    }
    assert (results / "summary.json").read_bytes() == (out / "summary.json").read_bytes()
    assert (results / "scores.json").read_bytes() == (made.place / "scores.json").read_bytes()
    samples = (made.place / "samples_finance_bench_fpb.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(line)["doc"]["text"] for line in samples]
    everything = b"".join(p.read_bytes() for p in (tmp_path / "card").rglob("*") if p.is_file())
    assert texts and not any(text.encode() in everything for text in texts)


def test_without_a_point_it_is_the_one_to_ship_or_the_best_merge_with_a_word(
    out: Path, tmp_path: Path
) -> None:
    ship = json.loads((out / "summary.json").read_text())["ship"]

    def merge(content: dict) -> None:
        content["ship"] |= {
            "model": ship["best_merge"],
            "is_merge": True,
            "merge_over_single": [0.2, 0.1, 0.3],
            "clusters": 500,
        }

    def none(content: dict) -> None:
        content["ship"] |= {"model": "base", "is_merge": False, "clusters": 500}

    def unclear(content: dict) -> None:
        content["ship"] |= {
            "model": ship["best_merge"],
            "is_merge": True,
            "merge_over_single": [0.1, -0.1, 0.3],
            "clusters": 500,
        }

    unsure = changed(out, tmp_path / "unsure", "summary.json", unclear)
    make(unsure, tmp_path / "d")
    assert "advises to ship" not in body(tmp_path / "d") and "The study chose this point" in body(
        tmp_path / "d"
    )
    assert "not clearly different from the best single model" in body(tmp_path / "d")
    one = changed(out, tmp_path / "one", "summary.json", merge)
    assert make(one, tmp_path / "a").point == ship["best_merge"]
    assert "advises to ship this point" in body(tmp_path / "a")
    other = changed(out, tmp_path / "other", "summary.json", none)
    assert make(other, tmp_path / "b").point == ship["best_merge"]
    assert "advises to ship no merge" in body(tmp_path / "b")
    by_hand = next(
        p for p in json.loads((out / "summary.json").read_text())["points"] if p != ship["best_merge"]
    )
    make(one, tmp_path / "c", by_hand)
    assert f"advises to ship {ship['best_merge']}" in body(tmp_path / "c")


@pytest.mark.parametrize(
    ("split", "is_merge", "said"),
    [
        (True, True, "advises to ship this point: it is clearly better than the best single model"),
        (False, True, "advises to ship this point: it is better than the best single model"),
        (False, False, "This is the best merge; it is better than the best single model"),
        (True, False, "**The study gives no clear advice**: base is best on the items that choose"),
    ],
)
def test_nothing_is_clear_on_the_items_that_chose(
    out: Path, tmp_path: Path, split: bool, is_merge: bool, said: str
) -> None:
    best = json.loads((out / "summary.json").read_text())["ship"]["best_merge"]

    def change(content: dict) -> None:
        content["selection"]["split"] = split
        ship = {"model": best if is_merge else "base", "merge_over_single": [0.2, 0.1, 0.3], "clusters": 500}
        content["ship"] |= ship | {"is_merge": is_merge}

    make(changed(out, tmp_path / "out", "summary.json", change), tmp_path / "card")
    assert said in body(tmp_path / "card")
    same = "+20.0 points [+10.0, +30.0], chosen and measured on the same items)"
    assert (same in body(tmp_path / "card")) is not split


@pytest.mark.parametrize(
    ("base", "finance", "license_of_merge", "said"),
    [
        ("apache-2.0", "apache-2.0", "apache-2.0", ["put the text of Apache License 2.0 (base, finance) here as `LICENSE`"]),
        ("apache-2.0", "mit", "other", ["text of the MIT license", "[MIT License](https://opensource.org/license/mit)"]),
        ("llama3", "apache-2.0", "other", ["**Built with Meta Llama 3**", 'begin with "Llama 3"', "copy of the Llama 3 Community License", "# Llama-3-stage"]),
        ("llama2", "llama2", "other", ["Llama 2 Community License along", "notice"]),
        ("apache-2.0", "cc-by-nc-4.0", "other", ["No commercial use", "Name the authors of finance: those of `", "https://creativecommons.org/licenses/by-nc/4.0/"]),
        ("gemma", "gemma", "other", ["Gemma Terms of Use"]),
        ("llama3", "cc-by-nc-4.0", "other", ["No commercial use", "Built with Meta Llama 3"]),
        ("apache-2.0", "my-own", "other", ["**Sharing is refused, with weights or without,**", "which is not in our list"]),
        ("apache-2.0", "cc-by-nd-4.0", "other", ["refused", "forbids it"]),
    ],
)  # fmt: skip
def test_the_card_lists_the_duties_of_every_license(
    out: Path, tmp_path: Path, base: str, finance: str, license_of_merge: str, said: list[str]
) -> None:
    folder = licensed(out, tmp_path / "out", base, finance=finance)
    make(folder, tmp_path / "card", "stage1-finance-ta-lambda0.4")
    assert metadata_load(tmp_path / "card" / "README.md")["license"] == license_of_merge
    assert all(text in body(tmp_path / "card") for text in said), body(tmp_path / "card")
    notice = tmp_path / "card" / "NOTICE"
    assert notice.exists() == (base in ("llama3", "llama2", "gemma"))


def test_license_texts_beside_a_model_are_copied(out: Path, tmp_path: Path) -> None:
    base = shutil.copytree(out.parent / "lab" / "base", tmp_path / "base")
    (base / "LICENSE").write_text("the text")
    moved = elsewhere(out, tmp_path / "out", str(out.parent / "lab" / "base"), str(base))
    make(moved, tmp_path / "card", PAIR)
    assert (tmp_path / "card" / "licenses" / "base" / "LICENSE").read_text() == "the text"
    assert "`licenses/base/LICENSE`" in body(tmp_path / "card")
    assert "Left to whoever" not in body(tmp_path / "card")  # one text of Apache's serves all three
    make(licensed(moved, tmp_path / "more", None, math="mit"), tmp_path / "other", PAIR)
    assert "put the text of MIT License (math) here" in body(tmp_path / "other")


def test_claims_that_differ_are_all_kept(out: Path, tmp_path: Path) -> None:
    """study.yml says llama3, the lab's own card apache-2.0."""
    make(licensed(out, tmp_path / "out", "llama3"), tmp_path / "card", PAIR)
    assert "Not everyone names the same license for base" in body(tmp_path / "card")


def test_figures_are_of_these_results_and_not_what_lies_in_out(out: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the figures need matplotlib")
    folder = shutil.copytree(out, tmp_path / "out")
    (folder / "figures").mkdir()
    for name in ("2-gain-and-og.png", "4-hyperparameters.png", "a-heatmap-of-customers.png"):
        (folder / "figures" / name).write_bytes(name.encode())
    make(folder, tmp_path / "card", PAIR)
    found = {p.name: p.read_bytes() for p in (tmp_path / "card" / "figures").iterdir()}
    assert set(found) == {"2-gain-and-og.png", "4-hyperparameters.png"}
    assert all(data.startswith(b"\x89PNG") for data in found.values())
    assert all(f"(figures/{name})" in body(tmp_path / "card") for name in found)
    assert "every point" not in body(tmp_path / "card")  # the heatmap shows the selected ones


def test_without_a_report_the_two_figures_are_drawn_now(out: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the figures need matplotlib")
    make(out, tmp_path / "card", PAIR)
    found = {p.name: p.read_bytes() for p in (tmp_path / "card" / "figures").iterdir()}
    assert set(found) == {"2-gain-and-og.png", "4-hyperparameters.png"}
    assert all(data.startswith(b"\x89PNG") for data in found.values()) and not (out / "figures").exists()


def test_without_matplotlib_the_card_says_so(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.startswith("mergekit_finance.report")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mergekit_finance.report", None)
    make(out, tmp_path / "card", PAIR)
    assert not list((tmp_path / "card").rglob("*.png")) and "matplotlib was missing" in body(
        tmp_path / "card"
    )


def test_a_license_that_a_person_added_stays_when_the_card_is_made_again(out: Path, tmp_path: Path) -> None:
    make(out, tmp_path / "card", PAIR, weights=True)
    (tmp_path / "card" / "LICENSE").write_text("mine")
    make(out, tmp_path / "card", "stage1-math-ta-lambda0.4")
    assert (tmp_path / "card" / "LICENSE").read_text() == "mine"
    assert not (tmp_path / "card" / "model.safetensors").exists()  # of another point


def test_what_a_person_added_stays_when_the_card_is_made_again(out: Path, tmp_path: Path) -> None:
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
    with pytest.raises(MergekitFinanceError, match="NOTICE is there, and not of this card"):
        make(tmp_path / "out", card, PAIR)
    assert (card / "NOTICE").read_text() == "mine"


def test_weights_of_a_person_are_not_left_beside_another_recipe(out: Path, tmp_path: Path) -> None:
    card = tmp_path / "card"
    make(out, card, PAIR)
    (card / "model.safetensors").write_text("mine")
    make(out, card, PAIR)
    before = (card / "README.md").read_bytes()
    with pytest.raises(MergekitFinanceError, match=r"model.safetensors is of another card's recipe"):
        make(out, card, "stage1-math-ta-lambda0.4")
    assert (card / "README.md").read_bytes() == before and (card / "model.safetensors").exists()


def test_the_old_card_goes_only_when_the_new_one_is_there(
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


def test_a_link_is_not_written_through_and_a_private_folder_stays_so(out: Path, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(MergekitFinanceError, match="link to a folder"):
        make(out, tmp_path / "link", PAIR)
    assert not list((tmp_path / "target").iterdir())
    (tmp_path / "target").chmod(0o700)
    make(out, tmp_path / "target", PAIR)
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o700


DEEP = '{"a": ' * 3000 + "1" + "}" * 3000
COLUMN = '{"finance_bench_fpb": 1}'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *((name, text) for name in ("key.json", "scores.json") for text in (None, "{", DEEP)),
        ("scores.json", COLUMN),
    ],
)
def test_a_spoilt_point_is_one_line(out: Path, tmp_path: Path, name: str, text: str | None) -> None:
    folder = shutil.copytree(out, tmp_path / "out")
    (path,) = folder.glob(f"points/{PAIR}-*/{name}")
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(MergekitFinanceError, match="run the study again") as caught:
        make(folder, tmp_path / "card", PAIR)
    assert "\n" not in str(caught.value) and not (tmp_path / "card").exists()


def test_without_points_it_is_one_line(out: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(out, tmp_path / "out")
    shutil.rmtree(folder / "points")
    with pytest.raises(MergekitFinanceError, match="cannot be read"):
        make(folder, tmp_path / "card", PAIR)
    folder = shutil.copytree(out, tmp_path / "other")
    shutil.rmtree(next(folder.glob("points/base-*")))
    summary = json.loads((folder / "summary.json").read_text())
    by_hand = next(point for point in summary["points"] if point not in summary["selected"])
    with pytest.raises(MergekitFinanceError, match="cannot be read|results are missing"):
        make(folder, tmp_path / "card", by_hand)


def test_the_recipe_names_local_models_as_the_hub_does(out: Path, tmp_path: Path) -> None:
    make(out, tmp_path / "card", PAIR, {"finance": "me/finance"})
    lines = (tmp_path / "card" / "mergekit_config.yml").read_text().splitlines()
    assert [x for x in lines if "on the Hub" in x] == [
        f"  - model: {out.parent / 'lab' / 'finance'}  # on the Hub: me/finance"
    ]


def test_what_cannot_be_done_is_one_line(out: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    spoilt = changed(
        out,
        tmp_path / "spoilt",
        "tasks.json",
        lambda c: c["finance_bench_fpb"].update(text_may_be_shared=False),
    )
    lab = shutil.copytree(out.parent / "lab" / "base", tmp_path / "edited-base")
    (lab / "config.json").write_text((lab / "config.json").read_text() + " ")
    edited = elsewhere(out, tmp_path / "edited", str(out.parent / "lab" / "base"), str(lab))
    card = tmp_path / "card"
    for call, message in [
        (lambda: make(out, card, "stage9"), "no point 'stage9'"),
        (lambda: make(out, card, PAIR.replace("ties", "tie")), f"did you mean '{PAIR}'"),
        (lambda: make(tmp_path, card), "no finished study here"),
        (lambda: make(out, tmp_path / "full"), "exists and is not a card"),
        (lambda: make(out, out), "the study's own folder"),
        (lambda: make(out, card, PAIR, {"bse": "a/b"}), "is not merged in .* did you mean 'base'"),
        (lambda: make(spoilt, card, PAIR, samples=True), "do not allow that their text is shared"),
        (lambda: make(edited, card, PAIR, weights=True), "is not the model that the study measured"),
    ]:
        with pytest.raises(MergekitFinanceError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value) and not card.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "edited",
        "edited-base",
        "full",
        "spoilt",
    ]  # nothing half-made


def test_the_command_says_where_and_warns(out: Path, tmp_path: Path, installed_mkf, mkf) -> None:
    folder = licensed(out, tmp_path / "out", "my-own")
    done = installed_mkf(
        "card", folder, "-o", "card", "--hub-id", "finance=me/finance", "--point", PAIR, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert f"{PAIR}: card/README.md" in done.stdout and "Not to be shared as it is" in done.stderr
    assert "The files contain 3 local paths (references of models, for example " in done.stderr
    assert yaml.safe_load((tmp_path / "card" / "README.md").read_text().split("---\n")[1])["base_model"] == [
        "me/finance"
    ]
    wrong = mkf("card", folder, "-o", "card", "--hub-id", "finance", cwd=tmp_path)
    assert wrong.returncode == 1 and "Use NAME=OWNER/MODEL" in wrong.stderr


def first(content: dict) -> dict:
    return content["points"][0]


TRAPS = {
    "no ship": ("summary.json", lambda c: c.pop("ship"), "ship: Field required"),
    "ship null": ("summary.json", lambda c: c.update(ship=None), "ship: Input should be"),
    "no score of the base": ("summary.json", lambda c: c["models"]["base"].update(scores={"a": "b"}), "models.base.scores.a: Input should be a valid number"),
    "no number": ("summary.json", lambda c: c["ship"].update(macro=float("inf")), "not a finite number"),
    "no points": ("index.json", lambda c: c.pop("points"), "no points"),
    "points of another kind": ("index.json", lambda c: c.update(points={}), "no points"),
    "no base": ("index.json", lambda c: c["models"].pop("base"), "no base"),
    "no recipe": ("index.json", lambda c: first(c).pop("recipe"), "no recipe"),
    "a folder elsewhere": ("index.json", lambda c: first(c).update(folder="../../secret"), "not a folder under points/"),
    "a model elsewhere": ("index.json", lambda c: c["models"]["base"].update(folder=".."), "not a folder under points/"),
    "a name of two lines": ("index.json", lambda c: first(c).update(name="a\n# b"), "not a folder|not a valid name"),
    "markup in a reference": ("index.json", lambda c: c["models"]["base"].update(reference="<img>"), "not a valid name"),
}  # fmt: skip


@pytest.mark.parametrize("trap", TRAPS)
def test_a_spoilt_study_is_one_line(out: Path, tmp_path: Path, trap: str) -> None:
    name, change, message = TRAPS[trap]
    spoilt = changed(out, tmp_path / "out", name, change)
    with pytest.raises(MergekitFinanceError, match=message) as caught:
        make(spoilt, tmp_path / "card")
    assert "\n" not in str(caught.value) and not (tmp_path / "card").exists()


def test_links_are_not_followed(out: Path, tmp_path: Path) -> None:
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


def test_the_tasks_of_its_skills_hold_no_retention(out: Path, tmp_path: Path) -> None:
    make(out, tmp_path / "card", "stage1-finance-ta-lambda0.4")
    assert "tasks of its skills (1)" in body(tmp_path / "card")  # fpb; the named set has retention, too


def test_where_nothing_was_swept_the_card_says_so(out: Path, tmp_path: Path) -> None:
    folder = changed(out, tmp_path / "out", "summary.json", lambda c: c["selection"].update(split=False))
    make(folder, tmp_path / "card", PAIR)
    assert "Nothing was swept" in body(tmp_path / "card") and "on other items" not in body(tmp_path / "card")


def test_samples_want_the_word_true_in_both_files(out: Path, tmp_path: Path) -> None:
    for i, (name, said) in enumerate([("tasks.json", "yes"), ("summary.json", False)]):

        def change(content: dict, said: object = said) -> None:
            content.get("tasks", content)["finance_bench_fpb"]["text_may_be_shared"] = said

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


@pytest.mark.parametrize("told", OTHERS)
def test_scores_and_recipe_are_of_one_merge(out: Path, tmp_path: Path, told: str) -> None:
    folder = changed(out, tmp_path / "out", "index.json", OTHERS[told])
    for older in (False, True):
        for path in folder.glob("points/*/files.json") if older else ():
            path.unlink()
        with pytest.raises(MergekitFinanceError, match="run the study again") as caught:
            make(folder, tmp_path / "card", PAIR)
        assert "\n" not in str(caught.value) and not (tmp_path / "card").exists()


def test_a_recipe_changed_with_its_name_is_still_not_the_measured_one(out: Path, tmp_path: Path) -> None:
    name = PAIR.replace("lambda1.0", "lambda0.9")

    def change(content: dict) -> None:
        point = of_pair(content)
        point["recipe"]["parameters"]["lambda"] = point["values"]["lambda"] = 0.9
        folder = point["folder"].replace(PAIR, name)
        (tmp_path / "out" / "points" / point["folder"]).rename(tmp_path / "out" / "points" / folder)
        point |= {"name": name, "folder": folder}

    folder = changed(out, tmp_path / "out", "index.json", change)
    with pytest.raises(MergekitFinanceError, match="is not the one that was measured"):
        make(folder, tmp_path / "card", name)


def test_scores_that_were_edited_are_no_scores(out: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(out, tmp_path / "out")
    (path,) = folder.glob(f"points/{PAIR}-*/scores.json")
    path.write_text(path.read_text().replace("0.0", "1.0"))
    with pytest.raises(MergekitFinanceError, match=r"scores.json: is not as the study wrote it"):
        make(folder, tmp_path / "card", PAIR)
    (path.parent / "files.json").unlink()  # of a study before there were such sums
    make(folder, tmp_path / "card", PAIR)


@pytest.mark.parametrize("name", ["study.json", "tasks.json", "summary.json", "key.json", "files.json"])
def test_links_and_pipes_are_one_line(out: Path, tmp_path: Path, name: str) -> None:
    for kind in ("link", "pipe"):
        folder = shutil.copytree(out, tmp_path / kind)
        (path,) = folder.glob(name) if (folder / name).exists() else folder.glob(f"points/{PAIR}-*/{name}")
        moved = path.rename(tmp_path / f"{kind}.json")
        path.symlink_to(moved) if kind == "link" else os.mkfifo(path)
        with pytest.raises(MergekitFinanceError, match="links are not followed|is no file"):
            make(folder, tmp_path / "card", PAIR)


def test_the_base_has_columns_of_its_own_where_it_is_not_a_constituent(out: Path, tmp_path: Path) -> None:
    """What is better than both experts may have less than the base had."""
    make(out, tmp_path / "card", PAIR)
    row = json.loads((out / "summary.json").read_text())["models"]["base"]["scores"]
    for task in ("fpb", "retention_arc"):
        (line,) = [x for x in body(tmp_path / "card").splitlines() if x.startswith(f"| {task} ")]
        assert line.split("|")[-3].strip() == f"{100 * row[f'finance_bench_{task}']:.1f}"
    (line,) = [x for x in body(tmp_path / "card").splitlines() if x.startswith("| retention (1)")]
    assert line.split("|")[-3].strip() == f"{100 * row['finance_bench_retention_arc']:.1f}"
    assert "over base" in body(tmp_path / "card") and "The base is not a constituent here" in body(
        tmp_path / "card"
    )
    make(out, tmp_path / "one", "stage1-math-ta-lambda0.4")
    assert "over base" not in body(tmp_path / "one")


def test_a_grid_of_one_value_has_no_curve(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    curves = pytest.importorskip("mergekit_finance.report.figures.curves")
    make(out, tmp_path / "card", PAIR)
    assert "![Score against λ or density" in body(tmp_path / "card")
    monkeypatch.setattr(curves, "has_curves", lambda stored: False)
    make(out, tmp_path / "card", PAIR)
    assert "![Score of every combination" in body(tmp_path / "card")


def test_a_merge_that_fails_names_the_recipe(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(configuration: object, folder: str, options: object) -> None:
        raise RuntimeError(f"{folder}/mergekit_config.yml is of no use")

    monkeypatch.setattr("mergekit.merge.run_merge", fail)
    with pytest.raises(MergekitFinanceError, match=f"the recipe of {PAIR} is of no use") as caught:
        make(out, tmp_path / "card", PAIR, weights=True)
    assert ".card." not in str(caught.value)


def test_few_items_advise_nothing(out: Path, tmp_path: Path) -> None:
    ship = json.loads((out / "summary.json").read_text())["ship"]
    for model in (ship["best_merge"], "base"):
        change = {"model": model, "is_merge": model != "base", "clusters": 99}
        folder = changed(out, tmp_path / model, "summary.json", lambda c, new=change: c["ship"].update(new))
        make(folder, tmp_path / "card")
        assert "**Too few items to advise** (99 clusters)" in body(tmp_path / "card")
        assert "advises" not in body(tmp_path / "card")
