"""Pages of the site that are files of the repository outside docs/, links between them, and the gallery.

The README files of recipes and tasks are read on their own as well. Here they become pages, and links are
turned into those of the site. A link to a file that has no page becomes its text, or a link into the
repository if `repo_url` is set in mkdocs.yml.

The gallery's tables are made from the recipes, and from the scores.json in their folder if there is one.
"""

import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PAGES = {
    "recipes/README.md": "recipes.md",
    "lm_eval_tasks/README.md": "tasks.md",
    "recipes/lab/FINDINGS.md": "findings.md",
    "recipes/smollm2-135m/FINDINGS.md": "findings-smollm2.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
SOURCES = {page: source for source, page in PAGES.items()}
GALLERY = "<!-- gallery -->"  # in a page: replaced by the tables of all recipes
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<path>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages whose text is a file outside docs/."""
    root = Path(config.config_file_path).parent
    for source, page in PAGES.items():
        text = (root / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links of the site."""
    here = page.file.src_uri
    if GALLERY in markdown:
        root = Path(config.config_file_path).parent
        markdown = markdown.replace(GALLERY, "\n".join(gallery(root / "recipes")))
    source = SOURCES.get(here, f"docs/{here}")

    def link(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), match["path"]))
        target = PAGES.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
        if target is not None:
            relative = posixpath.relpath(target, posixpath.dirname(here) or ".")
            return f"{match['image']}[{match['text']}]({relative}{match['anchor'] or ''})"
        if config.repo_url:
            return f"[{match['text']}]({config.repo_url.rstrip('/')}/blob/main/{path})"
        return match["text"]

    return LINK.sub(link, markdown)


def gallery(recipes: Path) -> Iterator[str]:
    """Yield Markdown: a table for every folder of recipes, with scores where they are stored."""
    for study in sorted(recipes.glob("*/study.yml")):
        family = study.parent.name
        yield f"\n## {family}\n"
        stored = study.parent / "scores.json"
        scores = json.loads(stored.read_text(encoding="utf-8")) if stored.is_file() else None
        yield from _about(scores, recipes.parent / "mergekit_finance" / family / "weights")
        yield from _table(sorted(study.parent.glob("stage*.yml")), scores)


def _about(scores: dict[str, Any] | None, weights: Path) -> Iterator[str]:
    """Yield how the scores were made, and whether they are of the weights in the package."""
    if scores is None:
        yield "Not measured. The hyperparameters are values to start with.\n"
        return
    low, high = scores["items"]
    items = str(low) if low == high else f"{low} to {high}"
    versions = ", ".join(f"{name} {number}" for name, number in scores["versions"].items())
    yield (
        f"Measured on {scores['date']} ({scores['machine']}): {scores['tasks']} tasks, "
        f"{items} items each, generated rows (`source: {scores['source']}`). "
        f"{versions}.\n"
    )
    if weights.is_dir() and scores["fingerprints"] != _fingerprints(weights, scores["fingerprints"]):
        yield "**The models of the package are newer than these scores.**\n"


def _fingerprints(weights: Path, names: dict[str, str]) -> dict[str, str]:
    from mergekit_finance.models.fingerprint import fingerprint  # imports torch

    return {name: fingerprint(str(weights / name)) for name in names}


def _table(files: list[Path], scores: dict[str, Any] | None) -> Iterator[str]:
    """Yield one row per recipe; with scores, the models that are not merged come first."""
    columns = ["recipe", "method", "hyperparameters", "tasks", "Macro-Gain", "Macro-OG", "retention"]
    columns = columns if scores else columns[:3]
    yield f"| {' | '.join(columns)} |"
    yield "|" + "|".join(["---"] * 3 + ["---:"] * (len(columns) - 3)) + "|"
    for name, row in (scores["models"] if scores else {}).items():
        yield f"| {name} | not merged | | {_interval(row['macro'])} | | | {_interval(row['retention'])} |"
    for file in files:
        recipe = yaml.safe_load(file.read_text(encoding="utf-8"))
        cells = [f"`{file.parent.name}/{file.stem}`", f"`{recipe['merge_method']}`", _values(recipe)]
        if scores:
            row = scores["recipes"].get(file.stem)
            cells += _measured(row) if row else ["not measured", "", "", ""]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _values(recipe: dict[str, Any]) -> str:
    """Return `λ 1.0, density 0.2` of a recipe whose models have one density."""
    densities = {model["parameters"].get("density") for model in recipe["models"]} - {None}
    return ", ".join(
        [f"λ {recipe['parameters']['lambda']}", *(f"density {one}" for one in sorted(densities))]
    )


def _measured(row: dict[str, Any]) -> list[str]:
    gain, og = (f"{100 * row[name]:+.1f}" for name in ("macro_gain", "macro_og"))
    return [_interval(row["macro"]), gain, og, _interval(row["retention"])]


def _interval(numbers: list[float] | None) -> str:
    if numbers is None:
        return ""
    value, low, high = (f"{100 * number:.1f}" for number in numbers)
    return f"{value} [{low}, {high}]"
