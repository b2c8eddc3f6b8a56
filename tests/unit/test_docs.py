"""The documentation: links between its files, the gallery, and the plugin that a page builds."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from mergekit_finance.operators import BY_METHOD
from mergekit_finance.plugins import hookspecs, manager

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(ROOT.glob("docs/**/*.md")),
         *sorted(ROOT.glob("recipes/**/*.md")), *sorted(ROOT.glob("lm_eval_tasks/**/*.md"))]  # fmt: skip
GENERATED = {"recipes.md": "recipes/README.md", "tasks.md": "lm_eval_tasks/README.md", "findings.md": "recipes/lab/FINDINGS.md",
             "findings-smollm2.md": "recipes/smollm2-135m/FINDINGS.md",
             "changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}  # fmt: skip
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def text_of(page: Path) -> str:
    """Return a page's text without code."""
    return re.sub(r"```.*?```|`[^`]*`", "", page.read_text("utf-8"), flags=re.S)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    heads = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for link in LINK.findall(text_of(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if target.parent == ROOT / "docs" and target.name in GENERATED:
            target = ROOT / GENERATED[target.name]
        assert target.exists(), link
        if anchor and target.suffix == ".md" and target.name != "command-line.md":
            assert anchor in anchors(target), link


def test_the_readme_of_the_training_names_every_file_of_it() -> None:
    folder = ROOT / "recipes" / "lab" / "training"
    table = (folder / "README.md").read_text("utf-8")
    files = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
    assert {name for name in files if f"`{name}`" not in table} == set()


def test_the_plugin_that_a_page_builds_has_every_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "how-to" / "extend.md").read_text("utf-8")
    (source,) = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    (task,) = [b for b in re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S) if b.startswith("task:")]
    file = tmp_path / "acme_finance.py"
    file.write_text(source)
    spec = importlib.util.spec_from_file_location("acme_finance", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    plugins = manager.Manager()
    plugins.add("acme", "acme 1.0", lambda: module)
    assert plugins.collect("finance_task_folders") == [tmp_path / "tasks"]
    (dataset,), (family,) = plugins.collect("finance_datasets"), plugins.collect("finance_families")
    fields = yaml.safe_load(task.replace("!function ", ""))
    assert (
        fields["dataset_kwargs"] == {"fb_dataset": dataset.name}
        and family.experts["finance"].license == "apache-2.0"
    )
    assert fields["metric_list"][0]["metric"] == "score" and fields["metadata"]["skills"] == ["finance"]
    used = {name for name in vars(module) if name.startswith("finance_")}
    assert used == {n for n in vars(hookspecs) if n.startswith("finance_")} - {"finance_report_sections"}


def test_the_gallery_has_every_recipe_and_its_stored_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mkdocs", reason="the site needs the extra `docs`")
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "site_hooks.py")
    assert spec and spec.loader
    site_hooks = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = site_hooks
    spec.loader.exec_module(site_hooks)
    monkeypatch.setattr(site_hooks, "_fingerprints", lambda weights, names: names)  # reads all weights
    rows = [line.split(" | ") for line in site_hooks.gallery(ROOT / "recipes") if line.startswith("| `")]
    names = {row[0].strip("| `") for row in rows}
    assert names == {f"{p.parent.name}/{p.stem}" for p in ROOT.glob("recipes/*/stage*.yml")}
    scores = json.loads((ROOT / "recipes" / "lab" / "scores.json").read_text())["recipes"]
    assert set(scores) == {p.stem for p in ROOT.glob("recipes/lab/stage*.yml")}
    row = next(row for row in rows if "lab/stage2-finance-math-ta" in row[0])
    stored = scores["stage2-finance-math-ta"]
    assert row[1] == "`cpt_task_arithmetic`" and row[1].strip("`") in BY_METHOD
    assert (
        row[3].startswith(f"{100 * stored['macro'][0]:.1f} [")
        and row[4] == f"{100 * stored['macro_gain']:+.1f}"
    )


def test_copied_commands_of_the_site_have_no_prompt() -> None:
    """The theme copies the text that is shown while the block has this attribute."""
    (name,) = re.findall(r"^extra_css: \[(.*)\]$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.M)
    rule = "code[data-md-copying] :is(.gp, .go) { display: none; }"
    assert rule in (ROOT / "docs" / name).read_text("utf-8")
