"""What the statistics and the report must know of a study's tasks, kept beside its results."""

from collections.abc import Mapping
from typing import Any

from mergekit_finance.evaluation import Harness
from mergekit_finance.study.config import Study

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


def _aggregation(function: Any) -> str:
    """By its name: `statistics.totals` finds it again without the task."""
    from mergekit_finance.study.statistics.totals import known_name

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
