"""Helpers of the study's tests: a tiny study on the tiny models, and folders of made-up results."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from helpers import commands
from helpers.commands import HANG
from helpers.similarity_file import similarity_content
from mergekit_finance.errors import MergekitFinanceError
from mergekit_finance.evaluation.answer_store import read_folder
from mergekit_finance.study import config
from mergekit_finance.study.points import point_entry, points
from mergekit_finance.study.run import StudyRun
from mergekit_finance.study.store import write_study_file

EXPERTS = ("finance", "math", "japanese")
TASKS = ["finance_bench_fpb", "finance_bench_docmath_ss"]
COMMAND = str(Path(sys.executable).parent / "mergekit-finance")


def content(models, experts=("finance", "math"), **changes):
    """A study.yml as a mapping: two tasks of few rows, one lambda, one worker in this process."""
    return {
        "name": "tiny",
        "base": f"{models}/base",
        "experts": experts
        if isinstance(experts, dict)
        else {name: {"model": f"{models}/{name}", "skills": [name]} for name in experts},
        "operators": {"task_arithmetic": {"lambda": [0.5]}},
        "stages": [1, 2],
        "tasks": TASKS,
        "source": "lab",
        "limit": 4,
        "workers": 1,
        "resamples": 200,
        "evaluation": {"batch_size": 32, "max_gen_toks": 4},
    } | changes


def write(path, models, **changes):
    path.write_text(yaml.safe_dump(content(models, **changes), sort_keys=False), encoding="utf-8")
    return path


def go(models, out, **changes):
    """Run in this process. Returns the content of summary.json and the printed lines."""
    study = config.parse_study(content(models, **changes), "study.yml")
    printed = []
    run = StudyRun(study, out, "cpu", study.limit, quiet=True, say=printed.append)
    summary = run.run()
    return summary.as_json(), printed


def refused(models, out, kind, message, **changes):
    """Run a study that must end with one line before anything is evaluated, and leave no folder."""
    study = config.parse_study(content(models, **changes), "study.yml")
    with pytest.raises(kind, match=message) as caught:
        StudyRun(study, out, "cpu", study.limit, quiet=True, say=lambda text: None).run()
    assert isinstance(caught.value, MergekitFinanceError) and "\n" not in str(caught.value)
    assert not out.exists()


def stamps(out):
    """Return the timings.json of every stored model; it differs between any two evaluations."""
    return {p.parent.name: p.read_bytes() for p in sorted((out / "points").glob("[!.]*/timings.json"))}


def normal(out):
    """Return all files that must not depend on the time, place or number of processes of a run.

    Answers are compared by content: which of them share a file depends on when they were written.
    """
    apart = {"answers", "timings"}
    files = {p.relative_to(out): p for p in out.rglob("*") if p.is_file() and not apart & set(p.parts)}
    left_out = ("timings.json", "study.json", "plan.json", "analysis.json")  # that has a hash of study.json
    contents = {str(name): p.read_bytes() for name, p in files.items() if name.name not in left_out}
    return contents | {str(p.relative_to(out)): read_folder(p) for p in (out / "answers").glob("*-*")}


def leftovers(out):
    """Return the incomplete files and the claims of a stopped process."""
    return [str(p) for p in out.rglob(".*")]


def processes(text):
    """Return the ids of running processes whose command line contains this text."""
    listed = subprocess.run(["ps", "-eo", "pid=,stat=,args="], capture_output=True, text=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [int(pid) for pid, state, args in rows if text in args and not state.startswith("Z")]


def children(pid):
    """Ids of all living descendants of a process."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True).stdout
    parents = dict(map(int, line.split()) for line in listed.splitlines())
    descendants, more = set(), {pid}
    while more:
        more = {child for child, parent in parents.items() if parent in more}
        descendants |= more
    return descendants


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def synthetic(out, study, tables, tasks=None):
    """A finished study's folder from arrays, without a model.

    Args:
        study: a mapping for `config.parse_study`.
        tables: task -> model or point -> each item's score; `base`, experts and points by name.
        tasks: task -> fields that differ from a right-or-wrong task of the macro; may contain `clusters`.
    """
    parsed = config.parse_study(study, "study.yml")
    plans = [p for stage in parsed.stages for p in points(parsed, stage)]
    models = {"base": parsed.base} | {name: e.model for name, e in parsed.experts.items()}
    write_study_file(out / "study.json", {"format": 1, "study": config.dump(parsed), "limit": parsed.limit})
    tasks_file = {task: _task_row(task, (tasks or {}).get(task, {})) for task in tables}
    write_study_file(out / "tasks.json", tasks_file)
    rows = {m: {"reference": r, "fingerprint": m, "folder": m} for m, r in models.items()}
    index = {"format": 1, "models": rows, "points": [point_entry(p, p.name).as_json() for p in plans]}
    write_study_file(out / "index.json", index)
    for name in [*models, *(p.name for p in plans)]:
        scores = {t: _columns(t, of[name], (tasks or {}).get(t, {})) for t, of in tables.items()}
        write_study_file(out / "points" / name / "scores.json", scores)
    write_study_file(out / "similarity.json", _similarity([models["base"], *models.values()][1:]))
    return plans


def _task_row(task, changes):
    row = {
        "kind": "tasks", "skills": ["finance"], "dataset": task, "aggregation": "mean", "version": "1",
        "generates": False, "license": "Apache-2.0", "text_may_be_shared": True,
    }  # fmt: skip
    return row | {k: v for k, v in changes.items() if k not in ("clusters", "options")}


def _columns(task, scores, changes):
    items = [f"{task} {k:04}" for k in range(len(scores))]
    return {
        "items": items,
        "clusters": changes.get("clusters", items),
        "score": [float(s) for s in scores],
        "correct": [float(s >= 1) for s in scores],
        "options": [changes.get("options", 0)] * len(scores),
    }


def _similarity(references):
    names = [(a, b) for a in references for b in references if a < b]
    pairs = [{"a": a, "b": b, "l2": 1.0 + k, "cosine": 1 - 0.1 * k} for k, (a, b) in enumerate(names)]
    cosines = [{"a": p["a"], "b": p["b"], "cosine": p["cosine"], "sign_conflicts": 0.1} for p in pairs[2:]]
    return {"key": {}} | similarity_content(references[0], references[1:], pairs, cosines)


def summary_of(out):
    return json.loads((out / "summary.json").read_text(encoding="utf-8"))


# ---- killing


def start(path, out, log, *options):
    """The command in a process group of its own; its output goes to a file."""
    command = [COMMAND, "study", str(path), "-o", str(out), *map(str, options)]
    with log.open("a") as log_file:
        return subprocess.Popen(command, stdout=log_file, stderr=log_file, start_new_session=True)


def begin(path, out, log, *options):
    """The same in a child of the fork server, which saves the 7 s of CPU time that a start takes."""
    return commands.begin("mergekit-finance", "study", path, "-o", out, *options, log=log)


def kill(process):
    """Send SIGKILL to the main process only. Returns the seconds until the last worker ended."""
    family = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = time.monotonic()
    wait_for(lambda: not any(map(alive, family)))
    return time.monotonic() - killed


def wait_for(condition, process=None, log=None):
    """Wait until a condition holds, or until the process that should make it true has ended."""
    until = time.monotonic() + HANG
    while not condition():
        assert process is None or process.poll() is None, log.read_text()[-3000:] if log else "it ended"
        assert time.monotonic() < until, log.read_text()[-3000:] if log else "the condition never held"
        time.sleep(0.02)


def finish(path, out, log, *options, start=start):
    """Run to the end."""
    process = start(path, out, log, *options)
    assert process.wait(HANG) == 0, log.read_text()[-2000:]
    assert not leftovers(out)
