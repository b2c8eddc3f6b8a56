"""The seconds of a study's processes by kind of work."""

import json

import pytest
from click.testing import CliRunner

from mergekit_finance.cli import main
from mergekit_finance.report.figures import style
from mergekit_finance.report.time_bar import COLORS, WIDTH, time_bar
from mergekit_finance.study.times import KINDS, TimeLog, in_words, study_times


class Results:
    def __init__(self, folder):
        self.folder = folder


@pytest.fixture
def out(tmp_path):
    """Two processes have evaluated models, a third has analyzed."""
    for models, seconds in (
        (3, {"generate": 300.0, "waiting": 10.0}),
        (2, {"generate": 200.0, "choices": 90.0}),
    ):
        log = TimeLog(tmp_path, "cpu", models)
        for kind, spent in seconds.items():
            log.add(kind, spent)
        log.write()
    log = TimeLog(tmp_path)
    with log.spent("statistics"):
        pass
    log.write()
    return tmp_path


def test_times_of_all_processes_are_added(out):
    times = study_times(out)
    assert times.processes == 2
    assert {k: round(s) for k, s in times.seconds.items() if k != "statistics"} == {
        "choices": 90, "generate": 500, "waiting": 10
    }  # fmt: skip
    assert in_words(times) == "10.0 min of work of 2 processes: generate 83 %, choices 15 %, waiting 2 %"


def test_files_that_were_edited_count_as_nothing(out):
    (out / "timings" / "a.json").write_text("[]")
    (out / "timings" / "b.json").write_text('{"seconds": {"generate": "much"}}')
    (out / "timings" / "c.json").write_text(json.dumps({"seconds": {"sleeping": 5.0}}))
    assert round(study_times(out).total) == 600


def test_a_folder_without_times_says_so(tmp_path):
    assert in_words(study_times(tmp_path)) == "no times are stored"
    assert time_bar(Results(tmp_path)) is None


def test_status_is_one_line(out):
    (out / "points" / "a-1").mkdir(parents=True)
    (out / "points" / "a-1" / "scores.json").write_text("{}")
    done = CliRunner().invoke(main, ["study", "status", str(out)])
    assert done.exit_code == 0, done.output
    assert done.output == f"{out}: 1 model stored; {in_words(study_times(out))}\n"


def test_a_full_disk_costs_the_times_only(tmp_path, monkeypatch):
    def full(*arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mergekit_finance.study.times.write_json", full)
    TimeLog(tmp_path).write()


def test_the_bar_is_filled_by_segments_in_order(out):
    bar = time_bar(Results(out))
    assert [one.words for one in bar.segments][:2] == ["generated answers", "log-likelihoods of choices"]
    assert [one.name for one in bar.segments] == [
        "generate",
        "choices",
        "",
        "",
    ]  # two are too narrow for a name
    ends = [one.x + one.width for one in bar.segments]
    assert ends[-1] == pytest.approx(WIDTH, abs=0.1)
    assert all(x.x == pytest.approx(end, abs=0.1) for x, end in zip(bar.segments[1:], ends, strict=False))
    assert (
        set(COLORS) == set(KINDS)
        and len(set(COLORS.values())) == len(KINDS)
        and style.BLUE in COLORS.values()
    )
