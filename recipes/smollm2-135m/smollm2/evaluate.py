"""Evaluate the models and merges of the study by priority, with the study code of the package.

    part      models                                             tasks
    models    the base and the experts                           SHORT
    first     representatives at the settings `points.FIRST`     SHORT
    merges    all combinations at the setting of their kind      SHORT
    long      the models; all combinations at the same settings  LONG
    more      representatives at the settings `points.MORE`      SHORT
    scales    representatives of pairs with a λ for each expert  SHORT

The setting of a kind is the best one of `first` on the selection items. It is chosen once and stored.
"""

import json
import lzma
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from mergekit_finance.files import atomic_write
from mergekit_finance.similarity.compute import compute_similarity
from mergekit_finance.study import task_info
from mergekit_finance.study.config import parse_study
from mergekit_finance.study.points import Point
from mergekit_finance.study.run import StudyRun
from mergekit_finance.study.worker import Job

from .data import Model, Scores
from .points import FIRST, KINDS, MORE, Family, Setting, domain_of, is_representative, kind_of, scaled
from .settings import choose

TASKS = Path(__file__).parents[1] / "tasks"
PARTS = ("models", "first", "merges", "long", "more", "scales")
RETENTION = [f"finance_bench_retention_{name}" for name in (
    "arc", "arc_easy", "piqa", "boolq", "winogrande", "lambada", "openbookqa")]  # fmt: skip
SHORT = {
    "tasks": [f"finance_bench_{name}" for name in (
        "fpb", "fiqa_sa", "headline", "fin_ner", "chabsa", "cma_basics", "cpa_audit", "fp2",
        "security_sales_1")],
    "retention": RETENTION,
    "probes": [
        "finance_bench_probe_j", "finance_bench_probe_svamp",
        *(f"smollm2_text_{name}" for name in ("finance", "math", "japanese", "general")),
    ],
}  # fmt: skip
LONG = {
    "tasks": [f"finance_bench_{name}" for name in (
        "convfinqa", "docmath_ss", "docmath_ss_cot", "docmath_cs", "docmath_cs_cot", "fp2_cot",
        "jfinqa_numerical", "jfinqa_consistency", "jfinqa_temporal")],
    "probes": ["finance_bench_probe_m", "finance_bench_probe_mj"],
}  # fmt: skip
LIMIT, LONG_LIMIT = 200, 100
MAX_TOKENS = 192  # of an answer
# Kinds whose merges are the first to get the long tasks, which need their skills together.
LONG_KINDS = ("finance+math", "finance+math+japanese", "finance+japanese")
CHOSEN = "settings.json"


@dataclass
class Evaluation:
    """The evaluation of a base and its experts.

    Attributes:
        out: the folder of answers and scores.
        base, experts: references of the models; experts by name.
        mirror: the mirror with the rows of all tasks; a name of a source (`lab`) instead for tests.
        short, long: the tasks.
        limit: items of a task; those in `long` have half as many.
        max_tokens: of an answer.
        workers: processes per GPU; None: as memory allows.
        parts: which of PARTS are done.
        kinds: kinds of combinations.
        first, more: the settings of the representatives' grids.
    """

    out: Path
    base: str
    experts: dict[str, str]
    mirror: Path | str
    short: dict[str, list[str]] = field(default_factory=lambda: SHORT)
    long: dict[str, list[str]] = field(default_factory=lambda: LONG)
    limit: int = LIMIT
    max_tokens: int = MAX_TOKENS
    workers: int | None = None
    parts: Sequence[str] = PARTS
    kinds: Sequence[str] = KINDS
    first: Sequence[Setting] = FIRST
    more: Sequence[Setting] = MORE

    @property
    def family(self) -> Family:
        """The models that are merged."""
        return Family(self.base, self.experts)

    @cached_property
    def short_run(self) -> StudyRun:
        """The run of the tasks with short answers."""
        return self._study_run(self.short, self.limit)

    @cached_property
    def long_run(self) -> StudyRun:
        """The run of the tasks with long prompts or answers."""
        run = self._study_run(self.long, max(1, self.limit * LONG_LIMIT // LIMIT))
        run.fingerprints = self.short_run.fingerprints  # the same models: they are read once
        return run

    def _study_run(self, tasks: dict[str, list[str]], limit: int) -> StudyRun:
        place = {"source": self.mirror} if isinstance(self.mirror, str) else {"data_dir": str(self.mirror)}
        content = {
            "name": "smollm2-135m",
            "base": self.base,
            "experts": {n: {"model": m, "skills": [domain_of(n)]} for n, m in self.experts.items()},
            "operators": {"task_arithmetic": {"lambda": [1.0]}},  # not used: points are given below
            "stages": [1],
            **tasks,
            **place,
            "include_path": str(TASKS),
            "limit": limit,
            "evaluation": {"max_gen_toks": self.max_tokens, "samples": "none"},
            **({"workers": self.workers} if self.workers else {}),
        }
        study = parse_study(content, "the study of SmolLM2-135M")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return StudyRun(study, self.out, device, limit, quiet=True)

    # ---- parts

    def run(self) -> None:
        """Evaluate all parts that are to be done, in order.

        Parts without a choice between them are given to the processes together: starting these takes time.
        """
        self.short_run.prepare()
        grids = {
            "first": self.family.grid(self.first, self.kinds),
            "more": self.family.grid(self.more, self.kinds),
            "scales": self._scaled(),
        }
        points = {part: of for part, of in grids.items() if part in self.parts}
        references = self.short_run.references if "models" in self.parts else []
        self._evaluate(self.short_run, references, points.get("first", []))
        merges = self.family.at(self.settings())
        if "merges" in self.parts:
            self._evaluate(self.short_run, [], merges)
        if "long" in self.parts:
            self.long_run.prepare()
            self._evaluate(self.long_run, self.long_run.references, sorted(merges, key=_long_priority))
        self._evaluate(self.short_run, [], [*points.get("more", []), *points.get("scales", [])])

    def _scaled(self) -> list[Point]:
        pairs = [kind for kind in self.kinds if kind.count("+") == 1]
        return [point for kind in pairs for point in self.family.grid(scaled(kind), [kind])]

    def _evaluate(self, run: StudyRun, references: Sequence[str], points: Sequence[Point]) -> None:
        if references or points:
            run.evaluate(references, points)

    def settings(self) -> dict[str, Setting]:
        """Return the setting of every kind: the stored one, else the best of `first` (then it is stored)."""
        path = self.out / CHOSEN
        if path.is_file():
            stored = json.loads(path.read_text(encoding="utf-8"))
            return {kind: (one[0], tuple(map(tuple, one[1]))) for kind, one in stored.items()}
        grid = self.family.grid(self.first, self.kinds)
        scores = Scores()
        self._add(scores, self.short_run, {}, grid)
        chosen = choose(scores)
        if all(kind in chosen for kind in self.kinds) and len(scores.models) == len(grid):
            atomic_write(path, json.dumps(chosen, indent=1) + "\n")
        return chosen

    # ---- results

    def scores(self) -> Scores:
        """Return the scores of everything that is stored by now."""
        settings = self.settings()
        scores = Scores(settings=dict(settings))
        merges = self.family.at(settings)
        grids = self.family.grid([*self.first, *self.more], self.kinds) + self._scaled()
        models = {"base": self.base, **self.experts}
        self._add(scores, self.short_run, models, [*merges, *grids])
        if self.long and "long" in self.parts:
            self._add(scores, self.long_run, models, merges)
        return scores

    def _add(self, scores: Scores, run: StudyRun, models: dict[str, str], points: Iterable[Point]) -> None:
        """Add what is stored of these models and points."""
        described = task_info.describe(run.evaluator, run.study)
        jobs = [(Model(name), Job(reference=reference)) for name, reference in models.items()]
        jobs += [(Model(p.name, p.combination, p.operator, p.values), Job(point=p)) for p in points]
        for model, job in jobs:
            place = run.worker.place(job)
            if run.store.done(place):
                scores.add(model, run.store.scores(place))
        scores.tasks |= {task: info for task, info in described.items() if task in scores.columns}

    @staticmethod
    def _measured(path: Path) -> list[str]:
        """Return the experts whose similarity is in a file; none if there is no file."""
        return json.loads(lzma.decompress(path.read_bytes()))["models"] if path.is_file() else []

    def write_similarity(self, path: Path) -> None:
        """Measure the base and the experts, in total and by layer, and write it as compressed JSON."""
        if not self.experts or self._measured(path) == list(self.experts):
            return
        device = "cuda" if torch.cuda.is_available() else "cpu"
        measured = compute_similarity(self.base, list(self.experts.values()), device)
        names = {self.base: "base"} | {reference: name for name, reference in self.experts.items()}
        content = measured.as_json()
        content["tensors"] = {}
        content["modules"] = {}
        text = json.dumps(content, separators=(",", ":"))
        for reference, name in sorted(names.items(), key=lambda pair: -len(pair[0])):
            text = text.replace(json.dumps(reference), json.dumps(name))
        atomic_write(path, lzma.compress(text.encode(), preset=9))


def _long_priority(point: Point) -> tuple[bool, int]:
    """Return the place of a merge in the order of the long tasks: representatives first, then kind by kind.

    A kind is compared on the tasks that all its merges were evaluated on, so a kind is completed before the
    next is begun.
    """
    kind = kind_of(point.combination)
    place = LONG_KINDS.index(kind) if kind in LONG_KINDS else len(LONG_KINDS)
    return not is_representative(point.combination), place
