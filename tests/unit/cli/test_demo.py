"""What `mergekit-finance demo` studies; that it runs to its report is tested end to end."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from mergekit_finance.cli import main
from mergekit_finance.errors import RecipeError
from mergekit_finance.study import run
from mergekit_finance.study.config import Study


@pytest.mark.parametrize(
    ("options", "folder", "operators"),
    [((), "study", ["task_arithmetic"]), (("--full",), "full", ["task_arithmetic", "ties", "dare_ties"])],
)
def test_full_sweeps_all_operators_in_a_folder_of_its_own(
    options: tuple[str, ...],
    folder: str,
    operators: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    studies: list[tuple[Path, list[str]]] = []

    def study_run(study: Study, out: Path, *_: object, **__: object) -> None:
        studies.append((out, list(study.operators.present())))
        raise RecipeError("the study begins")

    monkeypatch.setattr(run, "StudyRun", study_run)
    done = CliRunner().invoke(main, ["demo", *options, "-o", str(tmp_path)])
    assert "the study begins" in done.output
    assert studies == [(tmp_path / folder, operators)]
