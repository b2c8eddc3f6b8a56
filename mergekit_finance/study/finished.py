"""How much of a run all processes together have finished, from the store alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from mergekit_finance.evaluation.answer_store import count_answers
from mergekit_finance.study.progress import State
from mergekit_finance.study.store import Store

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask

    from mergekit_finance.evaluation.evaluator import Evaluator

SAMPLE = 20  # items of a task whose options are counted


@dataclass(frozen=True)
class Planned:
    """A model of a run.

    Attributes:
        name: its name in the progress bar.
        answers: the folder of its answers.
    """

    name: str
    answers: Path


@dataclass
class Finished:
    """Counts the finished models and answers in the store.

    Attributes:
        store: the store.
        models: all models of the run, by the folders of their results.
        requests: about how many requests each of them gets; a finished model gives the exact number. 0 where
            models get different numbers: then only models are counted.
    """

    store: Store
    models: Mapping[Path, Planned]
    requests: int
    _answers: dict[Path, int] = field(default_factory=dict, init=False, repr=False)
    _new: set[Path] = field(default_factory=set, init=False, repr=False)
    _stored: set[Path] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        self._stored = set(self.store.stored(self.models))
        self._answers = {
            p: count_answers(one.answers) for p, one in self.models.items() if p not in self._stored
        }
        self._new = {place for place, count in self._answers.items() if not count}

    def state(self) -> State:
        """Return what is finished and what is running now."""
        taken = self.store.claims.taken()
        finished = self.store.stored(place for place in self.models if place not in self._stored)
        for place in finished:
            self._finish(place)
        running = [place for place in self.models if place.name in taken and place not in self._stored]
        for place in running:
            self._answers[place] = count_answers(self.models[place].answers)
        parts = [min(count, self.requests) for p, count in self._answers.items() if p not in self._stored]
        partly = sum(parts) / self.requests if self.requests else 0.0
        names = tuple(self.models[place].name for place in running)
        return State(len(self._stored), len(self._stored) + partly, self.requests, names)

    def _finish(self, place: Path) -> None:
        """Note that a model is finished; the first one that began without answers gives their number."""
        self._stored.add(place)
        if place in self._new and self.requests:
            self._new.clear()
            self.requests = count_answers(self.models[place].answers) or self.requests


def requests_per_model(evaluator: "Evaluator", limit: int | None) -> int:
    """Return about how many requests a model gets: one for every option and every answer to generate."""
    return sum(_requests(task, limit) for task in evaluator.tasks.values())


def _requests(task: "ConfigurableTask", limit: int | None) -> int:
    docs = task.eval_docs
    count = min(limit or len(docs), len(docs))
    if task.get_config("output_type") != "multiple_choice" or not count:
        return count
    try:
        options = [len(task.doc_to_choice(doc)) for doc in islice(iter(docs), min(SAMPLE, count))]
    except Exception:  # of a task's own code; the first finished model corrects the number
        return count
    return round(count * sum(options) / len(options))
