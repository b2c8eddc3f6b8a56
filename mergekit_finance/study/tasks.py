"""What the statistics and the report must know of a study's tasks, kept beside its results."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mergekit_finance.errors import RecipeError, did_you_mean
from mergekit_finance.evaluation.harness import Harness
from mergekit_finance.study.config import SKILLS, Study
from mergekit_finance.study.split import sides

GENERATED = ("lab", "sample")  # rows that this project wrote or makes
KINDS = ("tasks", "retention", "probes")


def describe(harness: Harness, study: Study) -> dict[str, dict[str, Any]]:
    """Per task: kind, skills, dataset, aggregation, version, and whether its text may be shared."""
    kinds = _kinds(harness, study)
    return {name: _one(name, task, kinds[name], study) for name, task in sorted(_loaded(harness).items())}


def _loaded(harness: Harness) -> Mapping[str, Any]:
    return harness.loaded["tasks"]


def _kinds(harness: Harness, study: Study) -> dict[str, str]:
    """A task is of the first kind that lists it, itself or through a group."""
    found: dict[str, str] = {}
    for kind in KINDS:
        names = list(getattr(study, kind))
        for name in harness.manager.load(names)["tasks"] if names else ():
            found.setdefault(name, kind)
    return found


def _one(name: str, task: Any, kind: str, study: Study) -> dict[str, Any]:
    kwargs = task.config.dataset_kwargs or {}
    dataset = kwargs.get("fb_dataset")
    metadata = task.config.metadata or {}
    return {
        "kind": kind,
        "skills": sorted(metadata.get("skills") or ()),
        "dataset": dataset or name,
        "aggregation": _aggregation(task.aggregation()["score"]),
        "version": str(task.VERSION),
        "generates": task.get_config("output_type") == "generate_until",
        **_sharing(dataset, study),
    }


def check_named(harness: Harness, study: Study, where: str) -> None:
    """`named` lists tasks of the study: a slip would leave a combination without its tests."""
    for combination, names in study.named.items():
        for name in names:
            if name not in harness.leaves:
                raise RecipeError(f"{where}: named.{combination}: {_no_task(harness, name)}")


def _no_task(harness: Harness, name: str) -> str:
    """A group is fine under `tasks:`, but tests are about tasks that somebody chose one by one."""
    if name in harness.manager.all_groups:
        return f"{name!r} is a group; name tasks of this study: {', '.join(sorted(harness.leaves))}"
    return f"no task {name!r} in this study; {did_you_mean(name, harness.leaves)}"


def check_skills(harness: Harness, study: Study, where: str) -> None:
    """A misspelt skill would leave its expert without tasks of its own."""
    known = {
        skill
        for task in _loaded(harness).values()
        for skill in (task.config.metadata or {}).get("skills") or ()
    }
    for name, expert in study.experts.items():
        for skill in expert.skills or ():
            if skill not in known | set(SKILLS):
                hint = did_you_mean(skill, sorted(known | set(SKILLS)))
                raise RecipeError(f"{where}: experts.{name}.skills: no task needs {skill!r}; {hint}")


def check_split(harness: Harness, study: Study, limit: int | None, where: str) -> None:
    """Every task needs clusters to select on, where something is selected, and two to report on: of one there
    is no interval."""
    rows = {name: {"clusters": _clusters(task, limit)} for name, task in sorted(_loaded(harness).items())}
    if splits(study):
        datasets = {name: _dataset(name, _loaded(harness)[name]) for name in rows}
        chosen = sides(rows, datasets, study.selection.share, study.selection.seed)
    else:
        chosen = {name: None for name in rows}
    for name, side in chosen.items():
        clusters = rows[name]["clusters"]
        reported = len(set(clusters if side is None else np.array(clusters)[~side]))
        if reported < 2 or (side is not None and not side.any()):
            more = "" if side is None else ", try another selection.seed, or set selection.same_items: true"
            raise RecipeError(
                f"{where}: task {name} has {len(clusters)} items in {len(set(clusters))} clusters, "
                f"{reported} of them to report on (an interval needs two); raise `limit`{more}"
            )


def splits(study: Study) -> bool:
    """Whether some items choose and others are reported: not where nothing is swept, nor where the file says
    not to."""
    grids = study.operators.present().values()
    cells = [{tuple((k, v) for k, v in values.items() if k != "seed") for values in g.grid()} for g in grids]
    return (len(cells) > 1 or len(cells[0]) > 1) and not study.selection.same_items


def clusters_of(harness: Harness, limit: int | None) -> dict[str, int]:
    """How many clusters of each task are evaluated."""
    return {name: len(set(_clusters(task, limit))) for name, task in _loaded(harness).items()}


def _clusters(task: Any, limit: int | None) -> list[str]:
    """The cluster of each row that is evaluated; rows of a task that knows none are their own."""
    docs = task.eval_docs
    count = min(limit or len(docs), len(docs))
    if "cluster_id" not in getattr(docs, "column_names", ()):
        return [str(k) for k in range(count)]
    return [str(cluster) for cluster in docs.select(range(count))["cluster_id"]]


def _dataset(name: str, task: Any) -> str:
    return (task.config.dataset_kwargs or {}).get("fb_dataset") or name


def _aggregation(function: Any) -> str:
    """By its name: `statistics.totals` finds it again without the task."""
    from mergekit_finance.statistics.totals import known_name

    return known_name(function) or f"{function.__module__}:{function.__qualname__}"


def _sharing(dataset: str | None, study: Study) -> dict[str, Any]:
    from mergekit_finance.data.registry import dataset as registered

    if study.source in GENERATED:
        return {"licence": "Apache-2.0", "text_may_be_shared": True}
    if dataset is None:
        return {"licence": "unknown", "text_may_be_shared": False}
    known = registered(dataset)
    return {"licence": known.licence, "text_may_be_shared": known.text_may_be_shared}


def aggregation(name: str) -> Any:
    """The function again, of one that only a plugin's task has."""
    if ":" not in name:
        return name
    from importlib import import_module

    module, _, attribute = name.partition(":")
    found: Any = import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found
