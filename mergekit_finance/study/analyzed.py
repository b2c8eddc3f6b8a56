"""What summary.json was computed from, so that of several processes one analyzes and the others read.

OUT/analysis.json    a hash of everything that the analysis read, and the sha256 of the files that it wrote
"""

from hashlib import sha256
from pathlib import Path

from mergekit_finance.errors import DataError
from mergekit_finance.evaluation import keys
from mergekit_finance.evaluation.digest import digest
from mergekit_finance.files import read_bytes, sha256_file
from mergekit_finance.hosts.names import installed_version
from mergekit_finance.study.config import identity
from mergekit_finance.study.read_files import optional_model, read_model
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import AnalysisFile, Index, Summary

RECORD = "analysis.json"
FILES = ("study.json", "tasks.json", "index.json", "similarity.json", "summary.json")  # without seconds
CODE = ("mergekit_finance.study.analysis.summary", "mergekit_finance.similarity.compute")
LIBRARIES = ("numpy", "scipy", "torch")


def analysis_inputs(results: StudyResults, index: Index) -> str:
    """Return the hash of everything that the analysis of a study reads: settings, tasks, scores and code."""
    folders = [*(model.folder for model in index.models.values()), *(point.folder for point in index.points)]
    scores = {name: sha256_file(results.folder / "points" / name / "scores.json") for name in folders}
    return digest(
        {
            "study": identity(results.study),
            "limit": results.limit,
            "tasks": {name: task.as_json() for name, task in results.all_tasks.items()},
            "index": index.as_json(),
            "scores": scores,
            "code": keys.source().hash(CODE),
            "versions": {name: installed_version(name) for name in LIBRARIES},
        }
    )


def analysis_record(folder: Path, inputs: str) -> AnalysisFile:
    """Return the record of an analysis whose files have been written."""
    return AnalysisFile(inputs=inputs, files=_sums(folder))


def stored_summary(folder: Path, inputs: str) -> Summary | None:
    """Return the summary in a folder if it was computed from these inputs, and no file has changed since."""
    record = optional_model(AnalysisFile, folder / RECORD)
    if record is None or record.inputs != inputs:
        return None
    try:
        return read_model(Summary, folder / "summary.json") if record.files == _sums(folder) else None
    except (DataError, OSError, ValueError):
        return None


def _sums(folder: Path) -> dict[str, str]:
    """Return the sha256 of the files of a study, which must be regular files."""
    return {name: sha256(read_bytes(folder / name)).hexdigest() for name in FILES}
