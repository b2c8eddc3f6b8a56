"""Evaluate every recipe of a folder, and write their scores to scores.json for the gallery of the docs.

In recipes/lab, after `mergekit-finance lab export`: `python -m training.recipe_scores study.yml`. The
recipes' own hyperparameters are evaluated, so nothing is selected and no item is kept back.
"""

import argparse
import platform
from datetime import date
from pathlib import Path

from mergekit_finance.files import Json, write_json
from mergekit_finance.operators import operator_of
from mergekit_finance.study.config import Study, dump, load_study, parse_study
from mergekit_finance.study.results import StudyResults, load_results
from mergekit_finance.study.run import StudyRun


def starts_only(study: Study) -> Study:
    """Return the study with one value per hyperparameter: those that its recipes have."""
    content = dump(study)
    operators = content["operators"]
    assert isinstance(operators, dict)
    for grid in operators.values():
        if isinstance(grid, dict) and isinstance(start := grid.pop("start", None), dict):
            grid.update(start)
    content["selection"] = {"same_items": True}
    return parse_study(content, "study.yml")


def scores(results: StudyResults) -> dict[str, Json]:
    """Return what the gallery shows of a study of the recipes' own values."""
    summary = results.summary
    of_models = {name: _row(model.macro, model.retention) for name, model in summary.models.items()}
    of_recipes: dict[str, Json] = {}
    for point in summary.points.values():
        name = f"stage{point.stage}-{'-'.join(point.combination)}-{operator_of(point.operator).slug}"
        of_recipes[name] = {
            **_row(point.macro, point.retention),
            "macro_gain": point.macro_gain,
            "macro_og": point.macro_og,
        }
    items = sorted({task.report_items for task in summary.tasks.values()})
    return {
        "format": 1,
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {results.key('base').device}",
        "versions": results.key("base").all_versions,
        "source": results.study.source,
        "tasks": len(results.macro),
        "items": [items[0], items[-1]],
        "fingerprints": {name: model.fingerprint for name, model in summary.models.items()},
        "models": of_models,
        "recipes": of_recipes,
    }


def _row(macro: tuple[float, float, float], retention: tuple[float, float, float] | None) -> dict[str, Json]:
    return {"macro": list(macro), "retention": list(retention) if retention else None}


def main() -> None:
    """Evaluate the recipes and write scores.json beside study.yml."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("--limit", type=int, default=60, help="items of every task")
    parser.add_argument("--out", type=Path, default=Path("scores-study"), help="folder of the study")
    parsed = parser.parse_args()
    study = starts_only(load_study(parsed.study))
    StudyRun(study, parsed.out, "cpu", parsed.limit, say=print).run()
    write_json(parsed.study.parent / "scores.json", scores(load_results(parsed.out)), 1)


if __name__ == "__main__":
    main()
