"""A tiny finished study, written without a model: what `report` reads."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from helpers.similarity_file import similarity_content
from mergekit_finance.cli import main
from mergekit_finance.report.page import page
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.unfinished import load_available_results

GRID = {"task_arithmetic": "ta", "ties": "ties", "dare_ties": "dare-ties"}
EXPERTS = ("finance", "math", "japanese")
COMBINATIONS = {1: [("finance",), ("math",)], 2: [("finance", "math")], 3: [EXPERTS]}


def study(
    out: Path,
    tasks: dict[str, dict[str, Any]] | None = None,
    combinations: dict[int, list[tuple[str, ...]]] | None = None,
    operators: dict[str, list[float]] | None = None,
    items: int = 6,
    names: dict[str, str] | None = None,
    text: str = "what is it?",
    reply: str = "a reply",
    item: str = "item",
    groups: bool = False,
) -> Path:
    """Write the folder of a finished study.

    Args:
        tasks: as tasks.json has them.
        combinations: by stage, the experts that are merged.
        operators: values on the axis of each operator (λ of Task Arithmetic, density of the others).
        items: items of every task.
        names: other names for the experts.
        text, reply, item: the prompt, the answers and the item ids in the samples.
        groups: store the intervals of skill groups, which older versions did not.
    """
    called = {name: (names or {}).get(name, name) for name in EXPERTS}
    tasks = tasks or default_tasks()
    operators = operators or {"task_arithmetic": [0.4, 0.8], "ties": [0.2, 0.6]}
    models = {
        name: _model(name, f"./lab/{name}", tasks, i) for i, name in enumerate(["base", *called.values()])
    }
    points = _points(combinations or COMBINATIONS, operators, called, tasks)
    for name, entry in {**models, **points}.items():
        if groups:
            entry["groups"] = _groups(entry["scores"], tasks)
        _results(out / "points" / entry["folder"], name, tasks, items, text, reply, item)
    _json(out / "summary.json", _summary(models, points, tasks, items))
    _json(out / "tasks.json", {name: {**entry, "license": "MIT"} for name, entry in tasks.items()})
    _json(out / "study.json", {"format": 1, "study": _study(), "limit": None})
    _json(out / "index.json", _index(models, points))
    _json(out / "similarity.json", _similarity([m["reference"] for m in models.values()]))
    return out


def default_tasks() -> dict[str, dict[str, Any]]:
    common = {"kind": "tasks", "text_may_be_shared": True, "dataset": "d", "aggregation": "mean"}
    return {
        "finance_bench_fpb": {**common, "skills": ["finance"]},
        "finance_bench_docmath_cs": {**common, "skills": ["finance", "math"]},
        "finance_bench_retention_arc": {**common, "skills": [], "kind": "retention"},
    }


def _json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False, sort_keys=True), encoding="utf-8")


def _triple(value: float) -> list[float]:
    return [value, value - 0.05, value + 0.05]


def _model(name: str, reference: str, tasks: dict[str, Any], i: int) -> dict[str, Any]:
    scores = {task: 0.3 + 0.1 * i + 0.02 * n for n, task in enumerate(tasks)}
    measured = {"scores": scores, "macro": _triple(0.4 + 0.03 * i), "retention": _triple(0.6 - 0.05 * i)}
    return {"folder": f"m{i}-0123456789ab", "fingerprint": "f" * 16, "reference": reference, **measured}


def _groups(scores: dict[str, float], tasks: dict[str, Any]) -> dict[str, list[float]]:
    by_skills: dict[str, list[float]] = {}
    for task, score in scores.items():
        if tasks[task]["kind"] == "tasks":
            by_skills.setdefault("+".join(tasks[task]["skills"]) or "no skill", []).append(score)
    return {name: _triple(sum(of) / len(of)) for name, of in by_skills.items()}


def _points(
    combinations: dict[int, list[tuple[str, ...]]],
    operators: dict[str, list[float]],
    called: dict[str, str],
    tasks: dict[str, Any],
) -> dict[str, Any]:
    points = {}
    for stage, groups in combinations.items():
        for group in groups:
            experts = [called[name] for name in group]
            for operator, grid in operators.items():
                for value in grid:
                    key = "lambda" if operator == "task_arithmetic" else "density"
                    values = {key: value} | ({} if key == "lambda" else {"lambda": 1.0})
                    name = f"stage{stage}-{'-'.join(group)}-{GRID[operator]}-{key}{value}"
                    points[name] = _point(name, stage, experts, operator, values, tasks, value)
    return points


def _point(
    name: str, stage: int, experts: list[str], operator: str, values: Any, tasks: dict[str, Any], value: float
) -> dict[str, Any]:
    score = 0.5 - (value - 0.5) ** 2
    return {
        "stage": stage, "combination": experts, "operator": operator, "values": values, "folder": f"{name}-ba9876543210",
        "constituents": ["base", *experts] if stage == 1 else experts,
        "recipe": {"merge_method": operator, "base_model": "./lab/base", "models": [{"model": f"./lab/{e}", "parameters": {}} for e in experts]},
        "macro": _triple(score), "macro_on_selection": score, "retention": _triple(0.5), "scores": dict.fromkeys(tasks, score),
        "macro_gain": 0.01, "macro_og": -0.02, "flips_gain": {"gained": 8, "lost": 5}, "flips_og": {"gained": 4, "lost": 2},
    }  # fmt: skip


def _summary(
    models: dict[str, Any], points: dict[str, Any], tasks: dict[str, Any], items: int
) -> dict[str, Any]:
    combinations: dict[str, Any] = {}
    for name, point in points.items():
        entry = combinations.setdefault(
            "+".join(point["combination"]),
            {"stage": point["stage"], "selected": name, "by_operator": {}, "named_tasks": list(tasks)[:1]},
        )
        entry["by_operator"].setdefault(point["operator"], name)
    chosen = {name for entry in combinations.values() for name in entry["by_operator"].values()}
    best = next(iter(combinations.values()))["selected"]
    return {
        "format": 2,
        "study": _study(),
        "limit": None,
        "selection": {"same_items": False, "split": True, "share": 0.3, "seed": 0, "optimism": {"mean": 0.01}},
        "models": models,
        "points": points,
        "tasks": {name: {**entry, "items": items, "report_items": items} for name, entry in tasks.items()},
        "selected": {name: _selected(points[name], tasks, items) for name in chosen},
        "combinations": combinations,
        "ship": {"model": best, "is_merge": True, "best_merge": best, "best_single": "base", "macro": _triple(0.5), "merge_over_single": _triple(0.03), "advice": {"kind": "not clear"}},
        "similarity": {"combinations": _rows(combinations), "correlations": [{"over": "all", "predictor": "l2", "outcome": "macro_gain", "rho": 0.5, "p": 0.2, "n": 4}]},
        "verdict": [{"about": "recovery", "text": "it came back"}, {"about": "ship", "text": f"Ship {best}."}, {"about": "caution", "text": "few items"}],
    }  # fmt: skip


def _study() -> dict[str, Any]:
    return {
        "name": "tiny",
        "base": "./lab/base",
        "experts": {name: {"model": f"./lab/{name}", "skills": [name]} for name in EXPERTS},
        "operators": {"task_arithmetic": {"lambda": [0.4, 0.8], "start": {}}},
        "selection": {"share": 0.3, "seed": 0, "same_items": False},
    }


def _index(models: dict[str, Any], points: dict[str, Any]) -> dict[str, Any]:
    references = {name: model["reference"] for name, model in models.items()}
    keys = ("folder", "stage", "combination", "operator", "values", "recipe")
    entries = [
        {"name": name, "constituents": [references[c] for c in point["constituents"]]}
        | {key: point[key] for key in keys}
        for name, point in points.items()
    ]
    return {"format": 1, "models": models, "points": entries}


def _selected(point: dict[str, Any], tasks: dict[str, Any], items: int) -> dict[str, Any]:
    effects = {"score": _triple(0.5), "gain": _triple(0.06), "og": _triple(-0.02)}
    scores = dict.fromkeys(point["constituents"], 0.45)
    whole = {
        **effects,
        "constituents": {name: _triple(score) for name, score in scores.items()},
        "over_best_constituent": _triple(0.0),
        "best_constituent": point["constituents"][0],
        "tasks": list(tasks),
        "flips": {name: {"gained": 3, "lost": 2} for name in ("base", *point["constituents"])},
    }
    one = {
        **effects,
        "items": items,
        "clusters": items,
        "constituents": scores,
        "p_og": 0.3,
        "verdict": "gains",
    }
    return {
        "constituents": point["constituents"],
        "sets": {"macro": whole, "named": whole, **_own(point, tasks, whole)},
        "tasks": dict.fromkeys(tasks, one),
    }


def _own(point: dict[str, Any], tasks: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """Return the set `own`, as a study writes it; {} if no task needs only these skills."""
    tasks_within = [
        t for t, info in tasks.items() if info["skills"] and set(info["skills"]) <= set(point["combination"])
    ]
    return {"own": {**whole, "tasks": tasks_within, "og": _triple(0.3)}} if tasks_within else {}


def _rows(combinations: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "combination": name,
            "stage": combination["stage"],
            "point": combination["selected"],
            "l2": 40.0 + i,
            "cosine": 0.9 - 0.01 * i,
        }
        for i, (name, combination) in enumerate(combinations.items())
    ]


def _similarity(references: list[str]) -> dict[str, Any]:
    base, *experts = references
    pairs = [{"a": base, "b": e, "l2": 5.0, "cosine": 0.9} for e in experts]
    vectors = [{"a": experts[0], "b": e, "cosine": 0.1, "sign_conflicts": 0.48} for e in experts[1:]]
    return similarity_content(base, experts, pairs, vectors, layers=3)


def _results(
    folder: Path, name: str, tasks: dict[str, Any], items: int, text: str, reply: str, item: str
) -> None:
    folder.mkdir(parents=True)
    ids = [f"{item}-{i}" for i in range(items)]
    right = [float((len(name) + i) % 3 > 0) for i in range(items)]
    columns = {"items": ids, "clusters": ids, "correct": right, "score": right, "options": [0] * items}
    _json(folder / "scores.json", dict.fromkeys(tasks, columns))
    _json(folder / "results.json", {"task_hashes": {}, "truncated_prompts": {}})
    (folder / "recipe.yml").write_text(f"merge_method: cpt\n# {name}\n", encoding="utf-8")
    for task in tasks:
        rows = [_sample(i, ids[i], task, text, f"{reply} {i}") for i in range(items)]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"samples_{task}.jsonl").write_text(lines, encoding="utf-8")


def _sample(i: int, item: str, task: str, text: str, reply: str) -> dict[str, Any]:
    return {
        "doc_id": i, "doc": {"item_id": item}, "target": f"gold of {task}", "doc_hash": "abc" * 20,
        "arguments": {"gen_args_0": {"arg_0": f"{text} {i}", "arg_1": {}}}, "resps": [[reply]], "filtered_resps": [reply],
    }  # fmt: skip


# ---- reports of such a folder


def accept_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the reader accept names with markup: escaping must not depend on that check."""
    for check in ("require_names", "require_folders"):
        for module in ("results", "read_files"):
            monkeypatch.setattr(f"mergekit_finance.study.{module}.{check}", lambda path, names: None)


def change_study(monkeypatch: pytest.MonkeyPatch, **fields: str) -> None:
    """Change fields of the study after they were checked: escaping must not depend on those checks."""
    original = load_available_results

    def load(out: Path, with_text: bool = False) -> StudyResults:
        results = original(out, with_text)
        return replace(results, study=results.study.model_copy(update=fields))

    monkeypatch.setattr("mergekit_finance.report.writing.load_available_results", load)
    monkeypatch.setattr("helpers.report.load_available_results", load)


def report(*arguments: object) -> Result:
    """Run `mergekit-finance report` in this process."""
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


def page_of(out: Path, with_text: bool = False) -> str:
    """Return the page; the files in figures/, which take a second each, are not drawn."""
    return page(load_available_results(out, with_text))


def data_of(html: str) -> dict[str, Any]:
    """Return the data of the page's item browser."""
    (json_text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    return json.loads(json_text)


def damage(out: Path, path: str | Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file of the study in place."""
    content = json.loads((out / path).read_text())
    change(content)
    (out / path).write_text(json.dumps(content))
