"""The command behind the table in recipes/README.md."""

from click.testing import CliRunner

from mergekit_finance.merging import compare


def test_the_table_shows_which_methods_give_the_same_bits() -> None:
    result = CliRunner().invoke(compare.main)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.output.splitlines()[1:]]
    equal = {" ".join(line[:-4]): line[-4] == "0.00%" for line in lines}
    assert equal == {
        **{f"{ours} (mergekit) {theirs} {p}": True for ours, theirs, p in POINTS},
        # Paper semantics sums in another order than mergekit, so that not even Task Arithmetic gives its bits.
        **{f"{ours} (paper) {theirs} {p}": False for ours, theirs, p in POINTS},
    }


POINTS = [
    ("cpt_task_arithmetic", "task_arithmetic", "lambda 0.5"),
    *[("cpt_ties", "ties", f"density {d}") for d in (0.2, 0.5, 1.0)],
    *[("cpt_dare_ties", "dare_ties", f"density {d}") for d in (0.1, 0.5, 1.0)],
]
