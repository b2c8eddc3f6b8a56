"""The command behind the table in recipes/README.md."""

import pytest
from click.testing import CliRunner

from mergekit_finance.files import bundled
from mergekit_finance.merging import compare


@pytest.fixture(scope="module")
def printed() -> list[list[str]]:
    """The words of every row that the command prints."""
    result = CliRunner().invoke(compare.main)
    assert result.exit_code == 0, result.output
    return [line.split() for line in result.output.splitlines()[1:]]


def test_the_table_shows_which_methods_give_the_same_bits(printed: list[list[str]]) -> None:
    equal = {" ".join(words[:-4]): words[-4] == "0.00%" for words in printed}
    assert equal == {
        **{f"{ours} (mergekit) {theirs} {p}": True for ours, theirs, p in POINTS},
        # Paper semantics sums in another order than mergekit, so that not even Task Arithmetic gives its bits.
        **{f"{ours} (paper) {theirs} {p}": False for ours, theirs, p in POINTS},
    }


def test_the_table_of_the_recipes_readme_is_what_the_command_prints(printed: list[list[str]]) -> None:
    readme = (bundled("recipes") / "README.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in readme.splitlines() if line.startswith("| cpt_")]
    written = {tuple(row[:3]): [float(cell.rstrip("%")) for cell in row[3:]] for row in rows}
    for ours, semantics, theirs, *cells in printed:
        numbers = [float(cell.rstrip("%")) for cell in cells[2:]]
        assert written[f"{ours} {semantics}", theirs, " ".join(cells[:2])] == pytest.approx(numbers, rel=0.02)


POINTS = [
    ("cpt_task_arithmetic", "task_arithmetic", "lambda 0.5"),
    *[("cpt_ties", "ties", f"density {d}") for d in (0.2, 0.5, 1.0)],
    *[("cpt_dare_ties", "dare_ties", f"density {d}") for d in (0.1, 0.5, 1.0)],
]
