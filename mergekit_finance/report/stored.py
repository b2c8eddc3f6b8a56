"""A study's folder as the report reads it: summary.json, tasks.json, similarity.json, points/."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mergekit_finance.errors import DataError
from mergekit_finance.files import parse_json, require_folders
from mergekit_finance.report.files import lines, parsed, read, refuse_link, require_own
from mergekit_finance.study.schema import Columns as Rows
from mergekit_finance.study.schema import Similarity, Summary, misfit

FORMATS = (1, 2)
KINDS = ("tasks", "probes", "retention")
Columns = Mapping[str, Any]


@dataclass(frozen=True)
class Stored:
    """What is stored of one study. Models are named `base`, by expert, or by point."""

    out: Path
    summary: Mapping[str, Any]
    shareable: Mapping[str, bool]  # task -> may its text be shown to others
    similarity: Mapping[str, Any]
    with_text: bool = False

    @property
    def study(self) -> Mapping[str, Any]:
        return self.summary["study"]

    @property
    def points(self) -> Mapping[str, Any]:
        return self.summary["points"]

    @property
    def singles(self) -> list[str]:
        """Base and experts."""
        return sorted(self.summary["models"], key=lambda name: (name != "base", name))

    @property
    def experts(self) -> list[str]:
        return [name for name in self.singles if name != "base"]

    @cached_property
    def combinations(self) -> dict[str, Mapping[str, Any]]:
        """By stage, then by name."""
        found = self.summary["combinations"]
        return {name: found[name] for name in sorted(found, key=lambda c: (found[c]["stage"], c))}

    @cached_property
    def chosen(self) -> list[str]:
        """The selected point of every combination."""
        return [known["selected"] for known in self.combinations.values()]

    @cached_property
    def selected(self) -> list[str]:
        """The selected points of every combination and operator."""
        own = [[known["selected"], *known["by_operator"].values()] for known in self.combinations.values()]
        return [name for name in dict.fromkeys(sum(own, [])) if name in self.summary["selected"]]

    @cached_property
    def tasks(self) -> list[str]:
        """The macro's tasks by skills, then probes, then retention."""
        known = self.summary["tasks"]

        def rank(task: str) -> tuple[Any, ...]:
            skills = known[task].get("skills") or []
            kind = known[task]["kind"]
            return (KINDS.index(kind) if kind in KINDS else len(KINDS), len(skills), skills, task)

        return sorted(known, key=rank)

    @property
    def macro(self) -> list[str]:
        return [task for task in self.tasks if self.summary["tasks"][task]["kind"] == "tasks"]

    def measured(self, name: str) -> Mapping[str, Any]:
        """Scores of a model or point."""
        return self.summary["models"].get(name) or self.points[name]

    def folder(self, name: str) -> Path:
        return self.out / "points" / str(self.measured(name)["folder"])

    @cached_property
    def _scores(self) -> dict[str, Mapping[str, Columns]]:
        return {}

    def scores(self, name: str) -> Mapping[str, Columns]:
        """A model's columns by task: items, clusters, correct."""
        if name not in self._scores:
            path = self.folder(name) / "scores.json"
            self._scores[name] = _columns(path, read(path, parse_json), self.tasks)
        return self._scores[name]

    def right(self, name: str, task: str) -> list[bool]:
        """Of every item, whether the model is right."""
        return [float(value) > 0.5 for value in self.scores(name)[task]["correct"]]

    def items(self, task: str) -> list[str]:
        return [str(item) for item in self.scores(self.singles[0])[task]["items"]]

    @cached_property
    def _sides(self) -> dict[str, Sequence[bool]]:
        from mergekit_finance.study.split import selection_items

        chosen = self.study["selection"]
        known = self.summary["tasks"]
        datasets = {task: str(known[task].get("dataset", task)) for task in self.tasks}
        clusters = {task: rows["clusters"] for task, rows in self.scores(self.singles[0]).items()}
        return selection_items(clusters, datasets, chosen["share"], chosen.get("seed") or 0)

    def tested(self, combination: str) -> tuple[str, Mapping[str, Any]]:
        """What a combination's skills are judged by: `own`, the tasks of its skills, else the whole `macro`.

        Not `named`: of one expert that holds retention tasks too, which are no gain in its domain.
        """
        sets = self.summary["selected"][self.combinations[combination]["selected"]]["sets"]
        name = "own" if "own" in sets else "macro"
        return name, sets[name]

    @property
    def splits(self) -> bool:
        """Whether some items chose hyperparameters and are not reported: not where nothing was swept."""
        known = self.summary["selection"]
        return bool(known.get("split", not known.get("same_items")))

    @property
    def picked(self) -> str:
        """Who gave the hyperparameters that are shown."""
        if self.splits:
            return "the selection items chose"
        same = self.summary["selection"].get("same_items")
        return "the reported items themselves chose" if same else "the study file gives"

    def chooses(self, task: str) -> list[bool]:
        """Of every item, whether it chose hyperparameters and is therefore not reported."""
        if not self.splits or self.study.get("selection", {}).get("share") is None:
            return [False] * len(self.items(task))
        return [bool(side) for side in self._sides[task]]

    @cached_property
    def _samples(self) -> dict[str, list[Mapping[str, Any]]]:
        return {}

    def samples(self, task: str) -> list[Mapping[str, Any]]:
        """The base's samples, one an item, in the rows' order; empty where the study did not keep them."""
        if task not in self._samples:
            self._samples[task] = _samples(self.folder("base") / f"samples_{task}.jsonl")
        return self._samples[task]

    def text_allowed(self, task: str) -> bool:
        return self.with_text or self.shareable.get(task, False)


def load(out: Path, with_text: bool = False) -> Stored:
    """The finished study in a folder. Raises DataError where there is none."""
    _require(out)
    require_own(out)
    summary = _summary(out / "summary.json")
    models = [*summary["models"].values(), *summary["points"].values()]
    require_folders(out / "summary.json", (model["folder"] for model in models))
    tasks = read(out / "tasks.json")
    said = [{name: _shareable(known) for name, known in x.items()} for x in (tasks, summary["tasks"])]
    shareable = {name: may and said[1].get(name, False) for name, may in said[0].items()}
    stored = Stored(out, summary, shareable, _similarity(out / "similarity.json"), with_text)
    _require_results(stored)
    return stored


def _shareable(known: Any) -> bool:
    return isinstance(known, Mapping) and known.get("text_may_be_shared") is True


def _samples(path: Path) -> list[Mapping[str, Any]]:
    found: dict[int, Mapping[str, Any]] = {}
    for line in lines(path):
        try:
            row = parsed(line)
            found.setdefault(int(row["doc_id"]), row)
        except (ValueError, TypeError, KeyError, OverflowError):
            continue  # text is an extra: half a line costs texts, not the report
    return [found[place] for place in sorted(found)]


def _require(out: Path) -> None:
    if (out / "summary.json").is_file():
        return
    if (out / "gain.json").is_file():
        raise DataError(f"{out}: holds the results of `mergekit-finance run`, not of a study")
    if (out / "study.json").is_file() or (out / "points").is_dir():
        raise DataError(f"{out}: this study is not finished; run `mergekit-finance study` again, it goes on")
    raise DataError(f"{out}: no study here; run `mergekit-finance study study.yml -o {out}`")


def _summary(path: Path) -> dict[str, Any]:
    found = read(path, parse_json)
    if found.get("format") not in FORMATS:
        raise DataError(
            f"{path}: format {found.get('format')!r}, and this version reads 1 and 2; run the study again"
        )
    if wrong := misfit(Summary, found):
        raise DataError(f"{path}: not what this version writes ({wrong}); run the study again")
    return Summary.model_validate(found).as_json()


def _similarity(path: Path) -> dict[str, Any]:
    """Nothing where it was not measured."""
    refuse_link(path)
    found = read(path, parse_json) if path.is_file() else {}
    if wrong := misfit(Similarity, found):
        raise DataError(f"{path}: not what this version writes ({wrong}); run the study again")
    return found


def _columns(path: Path, found: Mapping[str, Any], tasks: Sequence[str]) -> dict[str, Columns]:
    """The study's tasks in scores.json."""
    for task in tasks:
        if task not in found:
            raise DataError(f"{path}: no task {task!r}; run the study again")
        if wrong := misfit(Rows, found[task]):
            raise DataError(f"{path}: {task}: not what a study writes ({wrong}); run the study again")
    return {task: found[task] for task in tasks}


def _require_results(stored: Stored) -> None:
    """Every model that the page shows item by item is there, with the same items."""
    for name in [*stored.singles, *stored.chosen]:
        if not (stored.folder(name) / "scores.json").is_file():
            raise DataError(f"{stored.folder(name)}: results are missing; run the study again")
        for task in stored.tasks:
            if len(stored.right(name, task)) != len(stored.items(task)):
                raise DataError(f"{stored.folder(name)}: other items than the base's; run the study again")
