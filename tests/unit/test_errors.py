"""One line, exit code 1, and still an ordinary exception for library users."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from mergekit_finance import errors


def test_uncaught_it_ends_a_plain_program_with_one_line_and_code_1():
    code = "from mergekit_finance.errors import DataError; raise DataError('x: missing; do y')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "Error: x: missing; do y\n")


def test_in_a_click_command_it_ends_with_one_line_and_code_1():
    @click.command()
    def command():
        raise errors.RecipeError("r.yml: wrong")

    result = CliRunner().invoke(command)
    assert (result.exit_code, result.output) == (1, "Error: r.yml: wrong\n")


@pytest.mark.parametrize(
    "kind", [errors.RecipeError, errors.ModelError, errors.DataError, errors.PluginError]
)
def test_library_users_catch_it_as_any_exception(kind):
    try:
        raise kind("text")
    except Exception as fault:
        assert isinstance(fault, errors.MergekitFinanceError) and fault.message == "text"


def test_did_you_mean_gives_the_nearest_and_all():
    assert (
        errors.did_you_mean("densty", ["density", "weight"])
        == "did you mean 'density'? Known: density, weight"
    )
    assert errors.did_you_mean("zzz", ["density"]) == "Known: density"
    assert errors.did_you_mean("zzz", []) == "Known: none"
