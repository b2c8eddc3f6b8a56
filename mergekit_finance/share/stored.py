"""What a card reads of a study's folder, looked over before anything is made of it: one line, or nothing."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mergekit_finance import files as plain
from mergekit_finance.errors import DataError
from mergekit_finance.study.results import require_finished
from mergekit_finance.study.schema import Summary, misfit

MODEL = {"folder": str, "reference": str, "fingerprint": str}
POINT = {
    "name": str, "folder": str, "stage": int, "combination": list, "operator": str, "values": dict,
    "constituents": list, "recipe": dict,
}  # fmt: skip
SHIP = {"model": str, "is_merge": bool, "best_merge": str, "best_single": str, "merge_over_single": list}
SUMMARY = {"ship": dict, "selected": dict, "tasks": dict}
COLUMNS = {"clusters": list, "score": list, "correct": list}


def check(out: Path) -> None:
    """index.json, tasks.json and study.json are whole, and nothing in them is a trap."""
    require_finished(out, summary=False)
    _has(out / "study.json", read(out / "study.json"), {"study": dict})
    plain.require_names(out / "tasks.json", _tasks(out / "tasks.json"))
    _index(out / "index.json")
    for folder in (out / "points", *(out / "points").glob("*")):
        if folder.is_symlink():
            raise DataError(f"{folder}: is a link, and links are not followed; run the study again")


def _index(path: Path) -> None:
    found = read(path)
    _has(path, found, {"models": dict, "points": list})
    models, points = found["models"], found["points"]
    if "base" not in models or not points:
        raise DataError(f"{path}: no {'base' if points else 'points'}; run the study again")
    for model in models.values():
        _has(path, model, MODEL)
    for point in points:
        _has(path, point, POINT)
        _of_point(path, point, models)
    plain.require_folders(path, [*models, *(x["folder"] for x in [*models.values(), *points])])
    plain.require_names(path, plain.strings(found))


def _of_point(path: Path, point: Mapping[str, Any], models: Mapping[str, Any]) -> None:
    _has(path, point["recipe"], {"base_model": str, "models": list})
    plain.require_folders(path, [point["name"]])
    if unknown := [str(name) for name in point["combination"] if name not in models]:
        raise DataError(f"{path}: {point['name']}: no model {unknown[0]!r}; run the study again")
    for model in point["recipe"]["models"]:
        _has(path, model, {"model": str, "parameters": dict})


def _tasks(path: Path) -> list[str]:
    found = read(path)
    for known in found.values():
        _has(path, known, {"aggregation": str, "dataset": str, "skills": list})
    return list(found)


def read_summary(out: Path) -> Mapping[str, Any]:
    """summary.json with what to ship."""
    path = out / "summary.json"
    found = read(path)
    if wrong := misfit(Summary, found):
        raise DataError(f"{path}: not what a study writes ({wrong}); run the study again")
    found = Summary.model_validate(found).as_json()
    _has(path, found, SUMMARY)
    _has(path, found["ship"], SHIP)
    _require_interval(path, found["ship"]["merge_over_single"])
    if not isinstance(found["ship"].get("clusters", 0), int | float):
        raise DataError(f"{path}: ship.clusters is no number; run the study again")
    for task in found["tasks"].values():
        _has(path, task, {})
    ship = found["ship"]
    plain.require_names(path, [ship["model"], ship["best_merge"], ship["best_single"], *found["tasks"]])
    plain.require_names(path, plain.strings(found["selected"]))
    if not all(isinstance(x, int | float) for x in scores_of_base(found).values()):
        raise DataError(f"{path}: scores of the base are no numbers; run the study again")
    return found


def scores_of_base(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """By task; nothing where there are none."""
    found: Any = summary
    for key in ("models", "base", "scores"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _require_interval(path: Path, found: list[Any]) -> None:
    if len(found) != 3 or not all(isinstance(x, int | float) for x in found):
        raise DataError(f"{path}: ship.merge_over_single is no value with its interval; run the study again")


def check_point(folder: Path, tasks: list[str]) -> None:
    """The point's own files are whole."""
    read(folder / "key.json")
    check_scores(folder / "scores.json", tasks)


def check_scores(path: Path, tasks: list[str]) -> None:
    """Every task's columns, of one length."""
    found = read(path)
    for task in tasks:
        columns = found.get(task)
        _has(path, columns, COLUMNS)
        if len({len(columns[name]) for name in COLUMNS}) != 1:
            raise DataError(f"{path}: {task}: columns of different lengths; run the study again")


def text(path: Path) -> str:
    """What a file of the study says. A link may lead to what is nobody's business; a pipe is waited for."""
    if path.is_symlink():
        raise DataError(f"{path}: is a link, and links are not followed; run the study again")
    if path.exists() and not path.is_file():
        raise OSError("is no file")
    return path.read_text(encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """A JSON object of finite numbers, or one line on why not."""
    try:
        found = plain.parse_json(text(path))
    except (OSError, ValueError) as fault:
        raise DataError(f"{path}: cannot be read ({fault}); run the study again") from fault
    _has(path, found, {})
    return found


def _has(path: Path, found: Any, wanted: Mapping[str, type]) -> None:
    """A mapping with these keys, of these types."""
    if not isinstance(found, dict):
        raise DataError(f"{path}: not what a study writes ({json.dumps(found)[:40]}); run the study again")
    for key, kind in wanted.items():
        if not isinstance(found.get(key), kind):
            raise DataError(f"{path}: no {key}; run the study again")
