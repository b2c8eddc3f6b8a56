"""Errors are plain exceptions; programs turn them into one line and exit code 1."""

import asyncio
import pickle
import subprocess
import sys

import pytest

from mergekit_finance import errors

KINDS = [errors.RecipeError, errors.ModelError, errors.DataError, errors.PluginError, errors.HostError]


@pytest.mark.parametrize("kind", KINDS)
def test_each_error_can_be_caught_as_an_exception(kind):
    with pytest.raises(Exception, match="^text$") as caught:
        raise kind("text")
    assert isinstance(caught.value, errors.MergekitFinanceError)
    assert not isinstance(caught.value, SystemExit)


def test_a_message_ends_with_the_id_of_its_finding_also_in_another_process():
    error = errors.RecipeError("x: is an input", id="output.is-input")
    assert (str(error), error.message) == ("x: is an input [output.is-input]", "x: is an input")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_an_error_without_an_id_gets_the_default_and_one_with_an_id_keeps_it():
    for error, text in ((errors.RecipeError("x"), "x [a]"), (errors.RecipeError("x", id="b"), "x [b]")):
        with pytest.raises(errors.RecipeError) as caught, errors.default_id("a"):
            raise error
        assert str(caught.value) == text


def test_an_error_in_one_asyncio_task_does_not_stop_the_loop():
    async def fails():
        raise errors.DataError("x: missing")

    async def works():
        await asyncio.sleep(0.01)
        return "done"

    async def both():
        return await asyncio.gather(fails(), works(), return_exceptions=True)

    failed, worked = asyncio.run(both())
    assert isinstance(failed, errors.DataError) and worked == "done"


def test_an_uncaught_error_in_a_users_program_has_a_traceback():
    code = "from mergekit_finance.errors import DataError; raise DataError('x: missing; do y')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("Traceback")
    assert done.stderr.endswith("mergekit_finance.errors.DataError: x: missing; do y\n")


def test_errors_are_imported_without_click():
    code = "import sys, mergekit_finance.errors; print('click' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_one_is_singular():
    assert [errors.counted(n, "item") for n in (0, 1, 2, 1200)] == [
        "0 items",
        "1 item",
        "2 items",
        "1,200 items",
    ]


def test_did_you_mean_gives_the_nearest_and_all():
    assert (
        errors.did_you_mean("densty", ["density", "weight"])
        == "Did you mean 'density'? Known: density, weight"
    )
    assert errors.did_you_mean("zzz", ["density"]) == "Known: density"
    assert errors.did_you_mean("zzz", []) == "Known: none"


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_is_one_printable_line_of_bounded_length(kind):
    assert str(kind("model 'a\x1b[31m\nb\u202e': missing")) == "model 'a\\x1b[31m b\\u202e': missing"
    long = str(kind("start" + "x" * 100_000 + "end"))
    assert len(long) <= errors.MAX_MESSAGE and long.startswith("start") and long.endswith("end")


@pytest.mark.parametrize(
    "kind", [ValueError, KeyError, Exception, MemoryError, RecursionError, AssertionError]
)
def test_any_exception_of_third_party_code_becomes_a_model_error(kind):
    with pytest.raises(errors.ModelError, match=r"^x cannot be loaded \(.*y.*\) \[model.broken\]$"):
        with errors.model_errors("x cannot be loaded"):
            raise kind("y\nz")


def test_a_panic_of_rust_becomes_a_model_error_and_an_interruption_does_not():
    class Panic(BaseException):
        pass

    with pytest.raises(errors.ModelError), errors.model_errors("x"):
        raise Panic("y")
    for kind in (KeyboardInterrupt, SystemExit, errors.DataError):
        with pytest.raises(kind), errors.model_errors("x"):
            raise kind("y")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nb", "a"),
        ("\n\n a \nb", "a"),
        ("", "ValueError"),
        ("field 'x':\n    TypeError", "field 'x': TypeError"),
    ],
)
def test_the_first_line_of_an_error(text, line):
    assert errors.first_line(ValueError(text)) == line
