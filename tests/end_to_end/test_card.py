"""`mergekit-finance card`: front matter, text, recipe and results of the folder."""

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from helpers import commands
from helpers.share import PAIR, body, changed, elsewhere, licensed, shared_study
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results

from mergekit_finance.errors import DataError, ModelError
from mergekit_finance.recipe.load import load_recipe
from mergekit_finance.share.card import make
from mergekit_finance.study.config import load_study

HUB_IDS = {"base": "meta-llama/Meta-Llama-3-8B", "finance": "me/finance"}


pytestmark = pytest.mark.usefixtures("figures_drawn_once")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_study(tmp_path_factory.getbasetemp())


def test_the_hub_reads_the_front_matter(out: Path, tmp_path: Path) -> None:
    make(out, tmp_path / "card", PAIR, HUB_IDS)
    data = metadata_load(tmp_path / "card" / "README.md")
    assert data["base_model"] == ["meta-llama/Meta-Llama-3-8B", "me/finance"]
    assert (data["base_model_relation"], data["library_name"], data["license"]) == (
        "merge",
        "transformers",
        "other",
    )
    assert (
        data["license_name"] == "apache-2.0-and-llama3"
    )  # of the base from our list of families, of the expert from its card
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
    assert "Not on the Hub: base, finance, math." in body(tmp_path / "card")
    make(out, tmp_path / "other", PAIR, {"base": "a/b"})
    assert "Not on the Hub: finance, math." in body(tmp_path / "other")
    assert "[a/b](https://huggingface.co/a/b)" in body(tmp_path / "other")


def test_a_name_is_the_title_and_what_the_snippets_load(out: Path, tmp_path: Path) -> None:
    make(out, tmp_path / "card", PAIR, name="me/pair", install_from="git+https://example.org/me/x@v1")
    text = body(tmp_path / "card")
    assert metadata_load(tmp_path / "card" / "README.md")["model-index"][0]["name"] == "pair"
    assert text.startswith("\n# pair\n") and f"Its name in the study is `{PAIR}`" in text
    assert "hf download me/pair mergekit_config.yml" in text and 'from_pretrained("./merged")' in text
    assert 'pip install "mergekit-finance @ git+https://example.org/me/x@v1" ' in text
    assert "mergekit-finance==" not in text and "must be installed as well" not in text
    assert json.loads((tmp_path / "card" / "results" / "models.json").read_text())["name"] == "pair"


@pytest.mark.parametrize("name", ["a/b/c", "a b", "-x", "x" * 97, "me/" + "\x1b[2J"])
def test_a_name_that_the_hub_refuses_is_one_line(out: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="Use NAME or OWNER/NAME") as caught:
        make(out, tmp_path / "card", PAIR, name=name)
    assert len(str(caught.value).splitlines()) == 1 and not (tmp_path / "card").exists()


def test_a_name_without_the_prefix_of_a_license_is_refused(out: Path, tmp_path: Path) -> None:
    folder = licensed(out, tmp_path / "out", "llama3")
    with pytest.raises(ModelError, match="Use Llama-3-pair"):
        make(folder, tmp_path / "card", PAIR, name="me/pair")
    make(folder, tmp_path / "card", PAIR, name="me/Llama-3-pair")


def test_the_card_names_languages_and_tags_of_the_merged_experts_only(out: Path, tmp_path: Path) -> None:
    make(out, tmp_path / "card", PAIR)
    data = metadata_load(tmp_path / "card" / "README.md")
    assert data["tags"][3:] == ["finance", "math"] and data["language"] == ["en"]


def test_the_recipe_reproduces_the_weights_bit_for_bit(out: Path, tmp_path: Path) -> None:
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

    assert "In a clone of this repository" in body(card) and 'from_pretrained(".")' in body(card)
    assert AutoModelForCausalLM.from_pretrained(card).num_parameters() > 1e6


def macro_tasks(out: Path) -> list[str]:
    tasks = json.loads((out / "tasks.json").read_text())
    return [task for task, info in tasks.items() if info["kind"] == "tasks"]


def test_recipe_and_study_can_be_loaded(out: Path, tmp_path: Path) -> None:
    make(out, tmp_path / "card", PAIR)
    recipe = load_recipe(tmp_path / "card" / "mergekit_config.yml")
    assert recipe.finance.stage == 2 and len(recipe.constituents) == 2 and recipe.finance.citation
    stored = json.loads((out / "index.json").read_text())["points"]
    assert set(recipe.finance.tasks) == set(macro_tasks(out))
    assert recipe.merge == next(p["recipe"] for p in stored if p["name"] == PAIR)
    study = load_study(tmp_path / "card" / "study.yml")
    assert study.limit == 8 and set(study.experts) == {"finance", "math"}


def test_the_recipe_names_all_tasks_of_a_group(out: Path, tmp_path: Path) -> None:
    one = changed(out, tmp_path / "one", "study.json", lambda c: c["study"].update(tasks=["finance_bench"]))
    more = {"kind": "tasks"}
    folder = changed(
        one, tmp_path / "out", "tasks.json", lambda c: [info.update(more) for info in c.values()]
    )
    make(folder, tmp_path / "card", PAIR)
    recipe = load_recipe(tmp_path / "card" / "mergekit_config.yml")
    assert set(recipe.finance.tasks) == set(macro_tasks(folder)) and len(recipe.finance.tasks) == 4


def test_results_are_copied_unchanged_and_contain_no_dataset_text(out: Path, tmp_path: Path) -> None:
    choice = make(out, tmp_path / "card", PAIR)
    results = tmp_path / "card" / "results"
    assert {p.name for p in results.iterdir()} == {
        "summary.json",
        "scores.json",
        "key.json",
        "models.json",
        "files.json",
    }
    assert (results / "summary.json").read_bytes() == (out / "summary.json").read_bytes()
    assert (results / "scores.json").read_bytes() == (choice.folder / "scores.json").read_bytes()
    samples = (choice.folder / "samples_finance_bench_fpb.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(line)["doc"]["text"] for line in samples]
    everything = b"".join(p.read_bytes() for p in (tmp_path / "card").rglob("*") if p.is_file())
    assert texts and not any(text.encode() in everything for text in texts)


def with_ship(out: Path, to: Path, split: bool | None = None, **ship: object) -> Path:
    """Return a copy of the study with another result on what to ship; the stored advice is removed."""

    def change(content: dict) -> None:
        content["ship"] = {k: v for k, v in content["ship"].items() if k not in ("advice", "ranges")}
        content["ship"] |= {
            "clusters": 500,
            "retention_over_base": None,
            "retention_over_single": None,
        } | ship
        if split is not None:
            content["selection"]["split"] = split

    return changed(out, to, "summary.json", change)


def test_the_default_point_is_the_recommended_or_the_best_merge(out: Path, tmp_path: Path) -> None:
    summary = json.loads((out / "summary.json").read_text())
    best = summary["ship"]["best_merge"]
    better, unclear = [0.2, 0.1, 0.3], [0.1, -0.1, 0.3]
    recommended = with_ship(
        out, tmp_path / "one", model=best, is_merge=True, merge_over_single=better, split=True
    )
    assert make(recommended, tmp_path / "a").point == best
    ship = re.compile(
        rf"Ship [^:]+: it gains 20\.0 points .* merge is {re.escape(best)}: \+20\.0 \[\+10\.0, \+30\.0\] vs"
    )
    assert ship.search(body(tmp_path / "a"))
    not_clear = with_ship(out, tmp_path / "two", model=best, is_merge=True, merge_over_single=unclear)
    make(not_clear, tmp_path / "d")
    assert ": no merge is clearly better" in body(tmp_path / "d") and "Ship " not in body(tmp_path / "d")
    no_merge = with_ship(out, tmp_path / "three", model="base", is_merge=False, merge_over_single=unclear)
    assert make(no_merge, tmp_path / "b").point == best
    assert "Keep the base, the best model" in body(tmp_path / "b")
    by_hand = next(point for point in summary["points"] if point != best)
    make(recommended, tmp_path / "c", by_hand)
    assert "This point was chosen by hand" in body(tmp_path / "c") and ship.search(body(tmp_path / "c"))


@pytest.mark.parametrize(
    ("split", "is_merge", "advice"),
    [
        (True, True, "The selected merge is {best}: +20.0 [+10.0, +30.0] vs the best single model"),
        (
            False,
            True,
            "measured on the items that selected it. The selected merge is {best}: +20.0 [+10.0, +30.0]",
        ),
        (False, False, "Keep the base, the best model"),
        (True, False, "Keep the base for now: it was selected; "),
    ],
)
def test_the_card_shows_the_studys_advice_and_marks_it_optimistic(
    out: Path, tmp_path: Path, split: bool, is_merge: bool, advice: str
) -> None:
    best = json.loads((out / "summary.json").read_text())["ship"]["best_merge"]
    ship = {"model": best if is_merge else "base", "merge_over_single": [0.2, 0.1, 0.3], "is_merge": is_merge}
    make(with_ship(out, tmp_path / "out", split=split, **ship), tmp_path / "card")
    assert advice.format(best=best) in body(tmp_path / "card")
    assert ("*Selected and evaluated on the same items (optimistic)" in body(tmp_path / "card")) is not split


@pytest.mark.parametrize(
    ("base", "finance", "license_of_merge", "texts"),
    [
        ("apache-2.0", "apache-2.0", "apache-2.0", ["put the text of Apache License 2.0 (base, finance) here as `LICENSE`"]),
        ("apache-2.0", "mit", "other", ["text of the MIT license", "[MIT License](https://opensource.org/license/mit)"]),
        ("llama3", "apache-2.0", "other", ["**Built with Meta Llama 3**", 'begin with "Llama 3"', "copy of the Llama 3 Community License", "# Llama-3-stage"]),
        ("llama2", "llama2", "other", ["Llama 2 Community License along", "notice"]),
        ("apache-2.0", "cc-by-nc-4.0", "other", ["No commercial use", "Name the authors of finance: those of `", "https://creativecommons.org/licenses/by-nc/4.0/"]),
        ("gemma", "gemma", "other", ["Gemma Terms of Use"]),
        ("llama3", "cc-by-nc-4.0", "other", ["No commercial use", "Built with Meta Llama 3"]),
        ("apache-2.0", "my-own", "other", ["**Do not share this, with or without weights,**", "which is not in our list"]),
        ("apache-2.0", "cc-by-nd-4.0", "other", ["Do not share this", "forbids sharing a merge"]),
    ],
)  # fmt: skip
def test_the_card_lists_the_duties_of_every_license(
    out: Path, tmp_path: Path, base: str, finance: str, license_of_merge: str, texts: list[str]
) -> None:
    folder = licensed(out, tmp_path / "out", base, finance=finance)
    make(folder, tmp_path / "card", "stage1-finance-ta-lambda0.4")
    assert metadata_load(tmp_path / "card" / "README.md")["license"] == license_of_merge
    assert all(text in body(tmp_path / "card") for text in texts), body(tmp_path / "card")
    notice = tmp_path / "card" / "NOTICE"
    assert notice.exists() == (base in ("llama3", "llama2", "gemma"))


def test_license_texts_beside_a_model_are_copied(out: Path, tmp_path: Path) -> None:
    base = shutil.copytree(out.parent / "lab" / "base", tmp_path / "base")
    (base / "LICENSE").write_text("the text")
    moved = elsewhere(out, tmp_path / "out", str(out.parent / "lab" / "base"), str(base))
    make(moved, tmp_path / "card", PAIR)
    assert (tmp_path / "card" / "licenses" / "base" / "LICENSE").read_text() == "the text"
    assert "`licenses/base/LICENSE`" in body(tmp_path / "card")
    # One copy of Apache's text is enough for all three models.
    assert "Before you share the weights" not in body(tmp_path / "card")
    make(licensed(moved, tmp_path / "more", None, math="mit"), tmp_path / "other", PAIR)
    assert "put the text of MIT License (math) here" in body(tmp_path / "other")


def test_duties_of_all_claimed_licenses_apply(out: Path, tmp_path: Path) -> None:
    """study.yml says llama3, the model's own card apache-2.0."""
    make(licensed(out, tmp_path / "out", "llama3"), tmp_path / "card", PAIR)
    assert "Sources name different licenses for base" in body(tmp_path / "card")


def test_figures_are_drawn_from_the_results_not_copied(out: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the figures need matplotlib")
    folder = shutil.copytree(out, tmp_path / "out")
    (folder / "figures").mkdir()
    for name in ("2-gain-and-og.png", "4-hyperparameters.png", "a-heatmap-of-customers.png"):
        (folder / "figures" / name).write_bytes(name.encode())
    make(folder, tmp_path / "card", PAIR)
    pictures = {p.name: p.read_bytes() for p in (tmp_path / "card" / "figures").iterdir()}
    assert set(pictures) == {"2-gain-and-og.png", "4-hyperparameters.png"}
    assert all(data.startswith(b"\x89PNG") for data in pictures.values())
    assert all(f"(figures/{name})" in body(tmp_path / "card") for name in pictures)
    assert "every point" not in body(tmp_path / "card")  # the heatmap shows the selected ones


def test_figures_are_drawn_without_a_report(out: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the figures need matplotlib")
    make(out, tmp_path / "card", PAIR)
    pictures = {p.name: p.read_bytes() for p in (tmp_path / "card" / "figures").iterdir()}
    assert set(pictures) == {"2-gain-and-og.png", "4-hyperparameters.png"}
    assert all(data.startswith(b"\x89PNG") for data in pictures.values()) and not (out / "figures").exists()


def test_without_matplotlib_the_card_notes_that_figures_are_missing(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.startswith("mergekit_finance.report")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mergekit_finance.report", None)
    make(out, tmp_path / "card", PAIR)
    assert not list((tmp_path / "card").rglob("*.png")) and "matplotlib was missing" in body(
        tmp_path / "card"
    )


def test_the_recipe_has_hub_ids_of_local_models_as_comments(out: Path, tmp_path: Path) -> None:
    make(out, tmp_path / "card", PAIR, {"finance": "me/finance"})
    lines = (tmp_path / "card" / "mergekit_config.yml").read_text().splitlines()
    assert [x for x in lines if "on the Hub" in x] == [
        f"  - model: {out.parent / 'lab' / 'finance'}  # on the Hub: me/finance"
    ]


def test_the_command_prints_the_path_and_warnings(out: Path, tmp_path: Path, installed_mkf, mkf) -> None:
    folder = licensed(out, tmp_path / "out", "my-own")
    done = installed_mkf(
        "card", folder, "-o", "card", "--hub-id", "finance=me/finance", "--point", PAIR, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert f"{PAIR}: card/README.md" in done.stdout and "Cannot be shared yet" in done.stderr
    assert "The files contain 3 local paths (references of models, for example " in done.stderr
    assert yaml.safe_load((tmp_path / "card" / "README.md").read_text().split("---\n")[1])["base_model"] == [
        "me/finance"
    ]
    wrong = mkf("card", folder, "-o", "card", "--hub-id", "finance", cwd=tmp_path)
    assert wrong.returncode == 1 and "Use NAME=OWNER/MODEL" in wrong.stderr


def test_tasks_of_its_skills_exclude_retention(out: Path, tmp_path: Path) -> None:
    make(out, tmp_path / "card", "stage1-finance-ta-lambda0.4")
    assert "tasks of its skills (1)" in body(tmp_path / "card")  # fpb; the named set has retention, too


def test_the_card_notes_that_nothing_was_swept(out: Path, tmp_path: Path) -> None:
    folder = changed(out, tmp_path / "out", "summary.json", lambda c: c["selection"].update(split=False))
    make(folder, tmp_path / "card", PAIR)
    assert "Nothing was swept" in body(tmp_path / "card") and "on other items" not in body(tmp_path / "card")


def test_the_base_has_columns_of_its_own_where_it_is_not_a_constituent(out: Path, tmp_path: Path) -> None:
    """A merge that is better than both experts can be worse than the base."""
    make(out, tmp_path / "card", PAIR)
    row = json.loads((out / "summary.json").read_text())["models"]["base"]["scores"]
    for task in ("fpb", "retention_arc"):
        (line,) = [x for x in body(tmp_path / "card").splitlines() if x.startswith(f"| {task} ")]
        assert line.split("|")[-4].strip() == f"{100 * row[f'finance_bench_{task}']:.1f}"
    (line,) = [x for x in body(tmp_path / "card").splitlines() if x.startswith("| retention (1)")]
    assert line.split("|")[-4].strip() == f"{100 * row['finance_bench_retention_arc']:.1f}"
    assert "over base" in body(tmp_path / "card") and "The base is not a constituent here" in body(
        tmp_path / "card"
    )
    make(out, tmp_path / "one", "stage1-math-ta-lambda0.4", HUB_IDS)  # that of finance is not used
    assert "over base" not in body(tmp_path / "one")
    assert "items vs base" in body(tmp_path / "card") and "items vs base" in body(tmp_path / "one")
    (line,) = [x for x in body(tmp_path / "card").splitlines() if x.startswith("| all tasks")]
    assert line.count("(items: +") == 2  # beside Gain and OG


def test_a_grid_of_one_value_has_its_own_caption(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curves = pytest.importorskip("mergekit_finance.report.figures.curves")
    make(out, tmp_path / "card", PAIR)
    assert "![Score against λ or density" in body(tmp_path / "card")
    monkeypatch.setattr(curves, "has_curves", lambda stored: False)
    make(out, tmp_path / "card", PAIR)
    assert "![Score of every combination" in body(tmp_path / "card")


def test_with_few_items_there_is_no_advice(out: Path, tmp_path: Path) -> None:
    best = json.loads((out / "summary.json").read_text())["ship"]["best_merge"]
    for model in (best, "base"):
        folder = with_ship(out, tmp_path / model, model=model, is_merge=model != "base", clusters=99)
        make(folder, tmp_path / "card")
        assert "99 independent items are too few to tell whether" in body(tmp_path / "card")
        assert "Ship " not in body(tmp_path / "card")
