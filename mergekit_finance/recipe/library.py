"""The recipes that come with the package: list them, find one by name, copy one or a whole family."""

from pathlib import Path

from mergekit_finance.errors import RecipeError, did_you_mean
from mergekit_finance.files import bundled

STUDY = "study.yml"


def families() -> list[str]:
    """Folders of recipes; each has its study.yml."""
    return sorted(path.parent.name for path in bundled("recipes").glob(f"*/{STUDY}"))


def names(family: str | None = None) -> list[str]:
    """`lab/stage2-finance-math-ties`, of one family or all; the studies are `lab/study`."""
    known = families()
    if family is not None and family not in known:
        raise RecipeError(f"recipes: no family {family!r}. {did_you_mean(family, known)}")
    return [f"{f}/{p.stem}" for f in known if family in (None, f) for p in _files(f)]


def _files(family: str) -> list[Path]:
    return sorted(bundled("recipes").joinpath(family).glob("*.yml"))


def find(name: str) -> Path:
    """A recipe by name (`lab/stage2-finance-math-ties`, with .yml or without) or a family's folder."""
    wanted = name.strip("/").removesuffix(".yml")
    if wanted in families():
        return bundled("recipes") / wanted
    known = names()
    if wanted in known:
        return bundled("recipes") / f"{wanted}.yml"
    same = [full for full in known if full.split("/")[1] == wanted]
    if same:
        raise RecipeError(f"recipes: {name!r} is in {len(same)} families; say which: {', '.join(same)}")
    raise RecipeError(f"recipes: no recipe {name!r}. {_nearest(wanted, known)}")


def _nearest(wanted: str, known: list[str]) -> str:
    """The nearest names only: all of them would fill a screen."""
    import difflib

    near = difflib.get_close_matches(wanted, [*known, *families()], n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}`mergekit-finance recipes list` has the names; families: {', '.join(families())}"


def copy(name: str, destination: Path, force: bool = False) -> list[Path]:
    """Copy a recipe or a family. A folder that exists takes what is copied under its own name."""
    source = find(name)
    target = destination / source.name if destination.is_dir() else destination
    pairs = [(source, target)] if source.is_file() else _pairs(source, target)
    for _, place in pairs:
        if place.exists() and not force:
            raise RecipeError(f"{place}: is there already; --force overwrites it")
    try:
        for file, place in pairs:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
    except OSError as fault:
        raise RecipeError(f"{target}: cannot be written ({fault})") from fault
    return [place for _, place in pairs]


def _pairs(source: Path, target: Path) -> list[tuple[Path, Path]]:
    return [(file, target / file.name) for file in sorted(source.glob("*.yml"))]


def described(name: str) -> str:
    """In a line, what a recipe is: stage and operator, from its file's name."""
    _, stem = name.split("/")
    if stem == "study":
        return "the study that the recipes of this family come from"
    stage, *rest = stem.split("-")
    operators = {"ta": "Task Arithmetic", "dare-ties": "DARE-TIES", "ties": "TIES"}
    short = next(o for o in ("dare-ties", "ties", "ta") if stem.endswith(f"-{o}"))
    experts = [part for part in rest if part not in short.split("-")]
    return f"stage {stage[-1]}: {' + '.join(experts)}, {operators[short]}"
