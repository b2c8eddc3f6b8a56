"""Measure how far the models of a study are apart, or reuse what similarity.json has."""

from collections.abc import Mapping
from pathlib import Path

from mergekit_finance.checks.check_all import Say
from mergekit_finance.errors import first_line
from mergekit_finance.evaluation.digest import digest
from mergekit_finance.similarity.compute import compute_similarity
from mergekit_finance.study.read_files import optional_model
from mergekit_finance.study.schema import StudySimilarity


def study_similarity(
    key: Mapping[str, str], path: Path, device: str, *, say: Say, quiet: bool
) -> StudySimilarity:
    """Return the distances of models from the base and each other.

    Evaluation has taken hours by now, and the statistics need no similarity: a failure is printed and stored
    as `error`, and the next run measures again.

    Args:
        key: model reference -> hash of its bytes, the base first.
        path: of similarity.json, which is reused if it is of the same models.
        device: where the distances are computed.
        say: prints a line.
        quiet: without progress bar.
    """
    stored = optional_model(StudySimilarity, path)
    if stored and stored.measured and stored.key == dict(key) and stored.digest == _digest(stored):
        return stored
    base, *others = key
    try:
        measured = compute_similarity(base, others, device, quiet=quiet)
        fresh = StudySimilarity(key=dict(key), measured=measured)
    except Exception as error:  # any failure here loses the similarity only
        say(f"similarity was not measured: {first_line(error)}. The summary is written without it.")
        fresh = StudySimilarity(key=dict(key), error=first_line(error))
    return fresh.model_copy(update={"digest": _digest(fresh)})


def _digest(similarity: StudySimilarity) -> str:
    """Return the hash of everything in a similarity.json but its `digest`."""
    return digest({name: value for name, value in similarity.as_json().items() if name != "digest"})
