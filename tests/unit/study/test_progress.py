"""The progress bar: the rate, the time left, what is running, and messages of hosts above it."""

import io
import logging
import sys

import pytest

from mergekit_finance.study.progress import WINDOW, Progress, Rate, State, messages_above


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def rate():
    """198 of 214 models were stored before."""
    rate = Rate(Clock())
    rate.count(198)
    return rate


def at(rate, seconds, count):
    rate._clock.now = seconds
    rate.count(count)


def test_there_is_no_time_left_before_there_is_a_rate(rate):
    at(rate, 100, 198)
    assert rate.per_second() is None and rate.time_left(214) == ""


def test_what_was_stored_before_does_not_count_towards_the_rate(rate):
    """The first model that is finished must not look like 199 in its time."""
    at(rate, 113, 199)
    assert rate.per_second() == pytest.approx(1 / 113)
    assert rate.time_left(214) == "about 28 min left"  # 15 × 113 s


def test_answers_of_unfinished_models_give_a_rate(rate):
    at(rate, 30, 198.25)
    assert rate.time_left(214) == "about 32 min left"  # 15.75 models of 120 s


def test_the_rate_is_that_of_the_last_minutes(rate):
    for second in range(0, 1000, 10):
        at(rate, second, 198 + second / 10)
    for second in range(1000, 2000, 20):
        at(rate, second, 297 + (second - 1000) / 100)
    assert rate.per_second() == pytest.approx(0.01, rel=0.15)


def test_the_rate_is_that_of_one_model_at_least(rate):
    """The first half of its answers took 100 s, the second 400 s."""
    for half in range(8):
        start, seconds = 198 + half / 2, (100, 400)[half % 2]
        begun = 250 * half if half % 2 == 0 else 250 * (half - 1) + 100
        for part in range(10):
            at(rate, begun + seconds * part / 10, start + part / 20)
    assert rate.per_second() == pytest.approx(1 / 500, rel=0.2)


def test_a_rate_falls_while_nothing_is_finished(rate):
    at(rate, 10, 208)
    at(rate, 100, 208)
    assert rate.per_second() == pytest.approx(0.1)
    at(rate, 10 + 10 * WINDOW, 208)
    assert rate.per_second() < 0.01


@pytest.mark.parametrize(
    ("left", "words"), [(0.2, "1 s"), (89, "89 s"), (100, "2 min"), (5000, "83 min"), (9000, "2.5 h")]
)
def test_the_time_left_is_rounded_as_an_estimate(rate, left, words):
    at(rate, 1, 199)
    assert rate.time_left(199 + left) == f"about {words} left"


def shown(state, **options):
    """What a bar of 10 models shows at its end."""
    file = io.StringIO()
    with Progress(10, lambda: state, file=file, **options):
        pass
    return file.getvalue().replace("\r", "\n").strip().split("\n")[-1]


def test_the_bar_counts_answers_and_names_what_is_running():
    text = shown(State(4, 4.5, 1000, ["base", "stage1-math"]))
    assert "study:  45%" in text and "4500/10000 answers [" in text
    assert "4/10 models, running: base, stage1-math" in text
    assert "4/10 models [" in shown(State(4, 4.5))  # the number of answers is unknown
    assert "10000/10000 answers" in shown(State(10, 10.0, 1000, []))
    assert "running" not in shown(State(10, 10.0, 1000, []))
    many = State(4, 4.5, 10, ["x" * 50, "y" * 50, "z", "z"])
    assert "running: " + "x" * 50 + " and 3 more" in shown(many)
    assert shown(many, quiet=True) == ""


def test_names_and_lines_cannot_control_the_terminal():
    hostile = "x\x1b[2Jy"
    assert "x\\x1b[2Jy" in shown(State(4, 4.5, 10, [hostile]))
    for quiet in (False, True):
        file = io.StringIO()
        with Progress(10, lambda: State(4, 4.5), quiet=quiet, file=file) as progress:
            progress.say(hostile)
        assert "x\\x1b[2Jy\n" in file.getvalue() and hostile not in file.getvalue()


def test_messages_of_hosts_are_printed_above_the_bar_and_streams_restored(monkeypatch):
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    logger = logging.Logger("host")
    monkeypatch.setitem(logging.root.manager.loggerDict, "host", logger)
    handler = logging.StreamHandler()
    logger.addHandler(handler)
    with Progress(10, lambda: State(4, 4.0)) as progress, messages_above(progress):
        logger.warning("beware")
        print("of python", file=sys.stderr)
        print("no newline yet", end="", file=sys.stderr)
    lines = stderr.getvalue().replace("\r", "\n").split("\n")
    assert {"beware", "of python"} <= set(lines)
    assert sys.stderr is stderr and handler.stream is stderr
