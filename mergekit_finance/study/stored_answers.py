"""Which answers of a study are stored already, and why the others are not: for `study plan`."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mergekit_finance.evaluation.answer_store import Answers, AnswerStore
from mergekit_finance.evaluation.answering import request_keys

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

    from mergekit_finance.files import Json

NEW_MODELS, NEW_REQUESTS = "new models", "new tasks, items or settings"
MODEL = ("model", "merge", "seed")  # the parts of a key that identify the model
# Other parts of a key -> what a plan says where they differ from those of stored answers.
CHANGED = {
    "dtype": "stored in dtype {}",
    "device": "stored on {}",
    "engine": "stored by engine {}",
    "versions": "stored with other versions of libraries",
    "mergekit": "stored with another version of mergekit",
    "answer_code": "stored by other code of this package",
    "merge_code": "stored by other code of this package",
}
OTHERWISE = "stored with other settings"


@dataclass(frozen=True)
class StoredAnswers:
    """The answers of all models of a study.

    Attributes:
        needed: requests of all models; equal requests of a model count once.
        missing: why answers are not stored -> how many.
        items: position of an item in its task -> items of all models and tasks there that lack an answer.
        first: the position of the first item that lacks an answer, of every model that has one.
    """

    needed: int
    missing: Mapping[str, int]
    items: Mapping[int, int]
    first: Sequence[int]

    def items_to_ask(self, limit: int) -> int:
        """Return the number of items, over all models, that lack an answer at a limit of items per task."""
        return sum(count for position, count in self.items.items() if position < limit)

    def models_to_ask(self, limit: int) -> int:
        """Return the number of models that lack an answer at a limit of items per task."""
        return sum(position < limit for position in self.first)


def stored_answers(
    store: AnswerStore,
    models: "Sequence[tuple[str, Mapping[str, Json]]]",
    unknown: int,
    requests: "Sequence[Instance]",
) -> StoredAnswers:
    """Return which answers are stored, and why the others are not.

    Args:
        store: the answers of the output folder.
        models: name and key of the answers of each model.
        unknown: models whose keys are not known yet.
        requests: the requests that every model gets.
    """
    items_of = _items_by_key(requests)
    everything = {item for items in items_of.values() for item in items}
    keys = store.keys()
    missing: Counter[str] = Counter({NEW_MODELS: unknown * len(items_of)})
    items = Counter(position for _, position in everything for _ in range(unknown))
    first = [0] * unknown
    for name, key in models:
        answers = store.of(name, key)
        lacking = [one for one in items_of if not answers.has(*one)]
        if lacking:
            missing[_reason(answers, keys)] += len(lacking)
            positions = [position for _, position in {item for one in lacking for item in items_of[one]}]
            items.update(positions)
            first.append(min(positions))
    return StoredAnswers((len(models) + unknown) * len(items_of), +missing, items, first)


def _items_by_key(requests: "Sequence[Instance]") -> dict[tuple[str, str], set[tuple[str, int]]]:
    """Return (key, kind) of every request -> the items (task, position) that it belongs to."""
    by_kind: defaultdict[str, list[Instance]] = defaultdict(list)
    for request in requests:
        by_kind[request.request_type] += [request] * (request.repeats or 1)
    items: defaultdict[tuple[str, str], set[tuple[str, int]]] = defaultdict(set)
    for kind, same_kind in by_kind.items():
        for key, request in zip(request_keys(kind, same_kind), same_kind, strict=True):
            items[key, kind].add((str(request.task_name), request.doc_id or 0))
    return items


def _reason(answers: Answers, keys: "Sequence[Mapping[str, Json]]") -> str:
    """Return why answers of a model are missing."""
    if answers.folder and answers.folder.is_dir():
        return NEW_REQUESTS
    of_model = [key for key in keys if all(key.get(part) == answers.key.get(part) for part in MODEL)]
    differing = [[part for part in answers.key if key.get(part) != answers.key[part]] for key in of_model]
    if not differing:
        return NEW_MODELS
    nearest = min(range(len(of_model)), key=lambda index: len(differing[index]))
    for part, words in CHANGED.items():
        if part in differing[nearest]:
            return words.format(of_model[nearest].get(part))
    return OTHERWISE
