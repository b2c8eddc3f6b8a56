"""The progress bar: the rate, the time left, what is running, and messages of hosts above it."""

import io
import logging
import sys

import pytest

from mergekit_finance.study.progress import WINDOW, Progress, Rate, messages_above


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def rate():
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
    """198 of 214 are stored: the first one that is finished must not look like 199 in its time."""
    at(rate, 113, 199)
    assert rate.per_second() == pytest.approx(1 / 113)
    assert rate.time_left(214) == "about 28 min left"  # 15 × 113 s


def test_the_rate_is_that_of_the_last_minutes(rate):
    for second in range(0, 1000, 10):
        at(rate, second, 198 + second // 10)
    for second in range(1000, 2000, 100):
        at(rate, second, 297 + (second - 1000) // 100)
    assert rate.per_second() == pytest.approx(0.01, rel=0.15)


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


def shown(done, running, **options):
    """What a bar of 10 models shows at its end."""
    file = io.StringIO()
    with Progress(10, lambda: done, lambda: running, file=file, **options):
        pass
    return file.getvalue().replace("\r", "\n").strip().split("\n")[-1]


def test_the_bar_names_what_is_running():
    text = shown(4, ["base", "stage1-math"])
    assert "study:  40%" in text and "4/10 models" in text and "running: base, stage1-math" in text
    assert shown(10, []).count("running") == 0
    assert "running: " + "x" * 50 + " and 3 more" in shown(4, ["x" * 50, "y" * 50, "z", "z"])
    assert shown(4, ["base"], quiet=True) == ""


def test_messages_of_hosts_are_printed_above_the_bar_and_streams_restored(monkeypatch):
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    logger = logging.Logger("host")
    monkeypatch.setitem(logging.root.manager.loggerDict, "host", logger)
    handler = logging.StreamHandler()
    logger.addHandler(handler)
    with Progress(10, lambda: 4, list) as progress, messages_above(progress):
        logger.warning("beware")
        print("of python", file=sys.stderr)
        print("no newline yet", end="", file=sys.stderr)
    lines = stderr.getvalue().replace("\r", "\n").split("\n")
    assert {"beware", "of python"} <= set(lines)
    assert sys.stderr is stderr and handler.stream is stderr
