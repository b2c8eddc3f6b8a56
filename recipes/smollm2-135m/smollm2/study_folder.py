"""Write the stored results of the experts `a` as the folder of a study, of which `report` makes a page.

In recipes/smollm2-135m:

    python -m smollm2.study_folder results OUT
    mergekit-finance report OUT

The study has the base, the three experts `a`, and their merges over the grids of GRID. It has the tasks that
all these models were evaluated on: those with long answers are missing. Settings are selected as every study
does it, by the mean over the finance tasks, so they may differ from those of FINDINGS.md.
"""

import argparse
import json
import lzma
from collections.abc import Sequence
from pathlib import Path

from mergekit_finance.files import JsonObject, write_json
from mergekit_finance.similarity.measured import Similarity
from mergekit_finance.study.analysis.summary import summary
from mergekit_finance.study.config import Study, parse_study
from mergekit_finance.study.points import Point, point_entry, points
from mergekit_finance.study.schema import Index, ModelEntry, StudyFile, StudySimilarity

from . import data
from .data import Scores
from .evaluate import LIMIT, SHORT
from .findings import SIMILARITY, load
from .points import REPRESENTATIVE, domain_of

GRID = {
    "task_arithmetic": {"lambda": [0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.2]},
    "ties": {"density": [0.2, 0.8], "lambda": [1.0]},
    "dare_ties": {"density": [0.5], "lambda": [1.0], "seeds": [0, 1, 2]},
}
MODELS = "./smollm2-135m"  # where study.yml of this folder has the models


def page_study(scores: Scores) -> Study:
    """Return the study of the base and the experts `a`."""
    experts = [name for name in scores.models if name.endswith(f"_{REPRESENTATIVE}")]
    content = {
        "name": "SmolLM2-135M-Instruct, dequantized from 4 bits",
        "base": f"{MODELS}/base",
        "base_license": "apache-2.0",
        "experts": {n: {"model": f"{MODELS}/experts/{n}", "skills": [domain_of(n)]} for n in experts},
        "operators": GRID,
        "stages": [1, 2, 3],
        **SHORT,
        "limit": LIMIT,
        "selection": {"share": data.SHARE, "seed": data.SEED},
    }
    return parse_study(content, "the study of the report page")


def write(results: Path, out: Path) -> None:
    """Write a study folder with its summary.

    Args:
        results: the folder of results.
        out: the folder to write; it may be there.
    """
    scores = load(results).scores
    study = page_study(scores)
    plans = [point for stage in study.stages for point in points(study, stage) if point.name in scores.models]
    references = {"base": study.base} | {name: expert.model for name, expert in study.experts.items()}
    names = [*references, *(point.name for point in plans)]
    tasks = [task for task in sorted(scores.columns) if scores.complete([task], names)]
    for name in names:
        columns = {task: scores.columns[task][name].as_json() for task in tasks}
        write_json(_place(out, name) / "scores.json", columns)
    files: dict[str, JsonObject] = {
        "study.json": StudyFile(format=1, study=study, limit=LIMIT).as_json(),
        "tasks.json": {task: scores.tasks[task].as_json() for task in tasks},
        "index.json": _index(references, plans, _hashes(results)).as_json(),
        "similarity.json": _similarity(results / SIMILARITY, references).as_json(),
    }
    for file, content in files.items():
        write_json(out / file, content)
    write_json(out / "summary.json", summary(out).as_json())


def _place(out: Path, name: str) -> Path:
    return out / "points" / name


def _hashes(results: Path) -> dict[str, str]:
    """Return the beginnings of the hashes of the base's file and of the experts' weights."""
    base = json.loads((results / "conversion.json").read_text(encoding="utf-8"))
    experts = json.loads((results / "training.json").read_text(encoding="utf-8"))
    return {one.get("name", "base"): one["sha256"][:16] for one in (base, *experts)}


def _index(references: dict[str, str], plans: Sequence[Point], hashes: dict[str, str]) -> Index:
    entries = {
        name: ModelEntry(reference=reference, fingerprint=hashes[name], folder=name)
        for name, reference in references.items()
    }
    return Index(models=entries, points=[point_entry(point, point.name) for point in plans])


def _similarity(path: Path, references: dict[str, str]) -> StudySimilarity:
    """Return the stored measures of these models only, under the references of the study."""
    stored = json.loads(lzma.decompress(path.read_bytes()))
    stored["base"] = references["base"]
    stored["models"] = [references[name] for name in stored["models"] if name in references]
    for part in (stored["total"], *stored["layers"].values()):
        for field in ("norms", "task_vectors"):
            part[field] = {references[name]: one for name, one in part[field].items() if name in references}
        for field in ("pairs", "task_vector_pairs"):
            pairs = [pair for pair in part[field] if {pair["a"], pair["b"]} <= set(references)]
            part[field] = [{**pair, "a": references[pair["a"]], "b": references[pair["b"]]} for pair in pairs]
    key = dict.fromkeys(references.values(), "")
    return StudySimilarity(key=key, measured=Similarity.model_validate(stored))


def main(argv: Sequence[str] | None = None) -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(prog="python -m smollm2.study_folder", description=__doc__)
    parser.add_argument("results", type=Path, help="the folder of results")
    parser.add_argument("out", type=Path, help="the folder to write")
    options = parser.parse_args(argv)
    write(options.results, options.out)


if __name__ == "__main__":
    main()
