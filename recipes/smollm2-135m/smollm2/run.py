"""Run the study, step by step, within a time limit. Whatever is finished is kept, and not done again.

In recipes/smollm2-135m:

    python -m smollm2.run --gguf FILE.gguf --corpora DIR --mirror DIR --work WORK --minutes 9

    step      what it writes
    convert   WORK/base: the base, dequantized
    tokens    WORK/tokens: the texts as tokens
    train     WORK/experts: nine experts, on all GPUs
    evaluate  WORK/study: answers and scores of all models, by priority; see `evaluate`
    collect   WORK/results: scores, similarity, training records and times, small enough to be published

`--steps train,evaluate` does some of them.
"""

import argparse
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import FrameType

import torch

from mergekit_finance.files import atomic_write

from . import convert, data, tokens, train
from .evaluate import Evaluation
from .plans import expert_plans

STEPS = ("convert", "tokens", "train", "evaluate", "collect")
RESERVED = 60.0  # seconds at the end of the limit, for collecting results


class TimeUpError(Exception):
    """The time limit is reached."""


@dataclass
class Run:
    """The whole study.

    Attributes:
        work: the folder of everything that is made.
        gguf, corpora, mirror: the inputs.
        deadline: the time of `time.monotonic` at which to stop.
        budget: tokens of an expert; None: those of its plan.
        compiled: whether training compiles the layers.
        per_gpu: how many experts are trained on a GPU at a time.
        settings: options of the evaluation.
    """

    work: Path
    gguf: Path
    corpora: Path
    mirror: Path
    deadline: float = float("inf")
    budget: int | None = None
    compiled: bool = False
    per_gpu: int = 1
    settings: dict[str, object] = field(default_factory=dict)

    @property
    def experts(self) -> dict[str, str]:
        """The finished experts: name -> folder."""
        folder = self.work / "experts"
        return {name: str(folder / name) for name in expert_plans() if train.is_finished(folder, name)}

    def convert(self) -> None:
        """Write the base."""
        convert.convert(self.gguf, self.work / "base")

    def tokens(self) -> None:
        """Write the tokens of all texts."""
        processes = min(4, os.cpu_count() or 1)
        tokens.write_all(self.corpora, self.mirror, self.work / "base", self.work / "tokens", processes)

    def train(self) -> None:
        """Train the experts that are not finished."""
        seconds = self.deadline - time.monotonic()
        arguments = [f"--base={self.work / 'base'}", f"--tokens={self.work / 'tokens'}"]
        arguments += [f"--out={self.work / 'experts'}"] + ["--compile"] * self.compiled
        arguments += [f"--per-gpu={self.per_gpu}"]
        arguments += [f"--budget={self.budget}"] * bool(self.budget)
        arguments += [f"--minutes={seconds / 60:.2f}"] * (seconds < float("inf"))
        train.main(["--all", *arguments])

    def evaluate(self) -> None:
        """Evaluate models and merges by priority, until the time is up."""
        self.evaluation.run()

    def collect(self) -> None:
        """Write what is published: scores, similarity, training records, times."""
        results = self.work / "results"
        results.mkdir(parents=True, exist_ok=True)
        if self.experts:
            data.write(self.evaluation.scores(), results / data.SCORES)
            self.evaluation.write_similarity(results / "similarity.json.xz")
        records = [json.loads((Path(f) / train.RECORD).read_text()) for f in self.experts.values()]
        atomic_write(results / "training.json", json.dumps(records, indent=1) + "\n")
        for name in ("tokens/tokens.json", f"base/{convert.RECORD}", "steps.json"):
            if (self.work / name).is_file():
                atomic_write(results / Path(name).name, (self.work / name).read_bytes())
        sizes = ", ".join(f"{p.name} {p.stat().st_size}" for p in sorted(results.iterdir()))
        print(f"collected: {sizes}", file=sys.stderr)

    @cached_property
    def evaluation(self) -> Evaluation:
        """The evaluation of the experts that are finished when it is first used."""
        os.environ["SMOLLM2_TOKENS"] = str(self.work / "tokens")
        return Evaluation(
            self.work / "study", str(self.work / "base"), self.experts, self.mirror, **self.settings
        )


# The signal is sent again, because Python ignores an error in a destructor or in a callback of the garbage
# collector, and the first signal may arrive there.
RING_AGAIN = 5.0  # seconds


@contextmanager
def alarm(deadline: float) -> Iterator[None]:
    """Raise TimeUpError in the block when the time of `time.monotonic` is reached."""
    seconds = deadline - time.monotonic()
    if seconds == float("inf"):
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeUpError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01), RING_AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def do(run: Run, steps: Sequence[str]) -> None:
    """Do some steps; `collect` even if the time is up. Times and memory of each are added to steps.json."""
    for name in (step for step in STEPS if step in steps and step != "collect"):
        if time.monotonic() > run.deadline:
            print(f"{name}: no time left; run the same command again", file=sys.stderr, flush=True)
            break
        try:
            with alarm(run.deadline):
                timed(run.work / "steps.json", name, getattr(run, name))
        except (TimeUpError, SystemExit) as error:
            reason = str(error) or "time is up; run the same command again to go on"
            print(f"{name}: {reason}", file=sys.stderr, flush=True)
            break
    if "collect" in steps:
        timed(run.work / "steps.json", "collect", run.collect)


def timed(path: Path, name: str, step: Callable[[], None]) -> None:
    """Do a step, and add its seconds, peak memory and machine to a file, also if it is interrupted."""
    started = time.monotonic()
    print(f"{name}: begins", file=sys.stderr, flush=True)
    try:
        step()
    finally:
        seconds = round(time.monotonic() - started, 1)
        rows = json.loads(path.read_text()) if path.is_file() else []
        rows.append({"step": name, "seconds": seconds, "gib": _memory(), "devices": devices()})
        atomic_write(path, json.dumps(rows, indent=1) + "\n")
        print(f"{name}: {seconds} s", file=sys.stderr, flush=True)


def _memory() -> float:
    """Return the largest resident memory so far of this process or of one of its children, in GiB."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return round(max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 2**20, 2)


def devices() -> str:
    """Return the devices in words, such as `2 x NVIDIA H100`."""
    count = torch.cuda.device_count()
    return f"{count} x {torch.cuda.get_device_name(0)}" if count else f"{os.cpu_count()} CPU cores"


def main(argv: Sequence[str] | None = None) -> None:
    """Do the steps."""
    parser = argparse.ArgumentParser(
        prog="python -m smollm2.run", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    for name in ("work", "gguf", "corpora", "mirror"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--steps", default=",".join(STEPS), help="(default: all)")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes; what is finished is kept")
    parser.add_argument("--budget", type=int, help="tokens of an expert (default: 25 million)")
    parser.add_argument("--compile", action="store_true", help="compile the layers in training")
    parser.add_argument(
        "--per-gpu", type=int, default=1, help="experts trained on a GPU at a time (default: 1)"
    )
    parser.add_argument("--limit", type=int, help="items of a task (default: 200; 100 of long answers)")
    parser.add_argument("--workers", type=int, help="processes per GPU (default: as memory allows, up to 4)")
    parser.add_argument("--parts", help="parts of the evaluation, by comma (default: all)")
    options = parser.parse_args(argv)
    steps = options.steps.split(",")
    if unknown := [step for step in steps if step not in STEPS]:
        parser.error(f"no step {unknown[0]!r}; the steps are {', '.join(STEPS)}")
    limit = 60 * options.minutes - RESERVED if options.minutes else float("inf")
    settings = {"limit": options.limit, "workers": options.workers}
    settings["parts"] = options.parts.split(",") if options.parts else None
    run = Run(
        options.work.absolute(), options.gguf.absolute(), options.corpora.absolute(),
        options.mirror.absolute(), time.monotonic() + limit, options.budget, options.compile, options.per_gpu,
        {name: value for name, value in settings.items() if value is not None},
    )  # fmt: skip
    options.work.mkdir(parents=True, exist_ok=True)
    do(run, steps)


if __name__ == "__main__":
    main()
