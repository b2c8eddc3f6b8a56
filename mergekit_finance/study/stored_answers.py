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
UNMERGED = "unmerged"


@dataclass(frozen=True)
class Part:
    """The work of one stage with one operator, or of the unmerged models.

    Attributes:
        stage: 0 for the unmerged models.
        operator: a key of `operators.OPERATORS`; "" for the unmerged models.
    """

    stage: int
    operator: str = ""

    @property
    def row(self) -> str:
        """The row of the table."""
        return f"stage {self.stage}" if self.stage else UNMERGED


@dataclass(frozen=True)
class StoredAnswers:
    """The answers of all models of a study.

    Attributes:
        needed: requests of all models; equal requests of a model count once.
        missing: why answers are not stored -> how many.
        first: by part, the position of the first item that lacks an answer, of every model that has one.
        requests: (part, kind, position of the item in its task) -> requests of all models without an answer.
        lacking: keys of the requests that some model has not answered.
    """

    needed: int
    missing: Mapping[str, int]
    first: Mapping[Part, Sequence[int]]
    requests: Mapping[tuple[Part, str, int], int]
    lacking: frozenset[str]

    def models_to_ask(self, part: Part, limit: int) -> int:
        """Return the number of models of a part that lack an answer at a limit of items per task."""
        return sum(position < limit for position in self.first[part])

    def all_models_to_ask(self, limit: int) -> int:
        """Return the number of models that lack an answer at a limit of items per task."""
        return sum(self.models_to_ask(part, limit) for part in self.first)

    def requests_to_ask(self, limit: int) -> dict[tuple[Part, str], int]:
        """Return how many requests lack an answer at a limit, over all models, by part and kind."""
        counts: Counter[tuple[Part, str]] = Counter()
        for (part, kind, position), count in self.requests.items():
            counts[part, kind] += count if position < limit else 0
        return +counts


def stored_answers(
    store: AnswerStore,
    models: "Sequence[tuple[Part, str, Mapping[str, Json]]]",
    unknown: Mapping[Part, int],
    requests: "Sequence[Instance]",
    others: "Mapping[str, Sequence[Instance]]",
) -> StoredAnswers:
    """Return which answers are stored, and why the others are not.

    Args:
        store: the answers of the output folder.
        models: part, name and key of the answers of each model.
        unknown: models by part whose keys are not known yet.
        requests: the requests of every model that is not among `others`.
        others: by name, the requests of models with a chat template of their own.
    """
    positions = _positions(requests)
    of_others = {name: _positions(of_model) for name, of_model in others.items()}
    whole = Counter((kind, position) for (_, kind), position in positions.items())
    keys = store.keys()
    missing: Counter[str] = Counter({NEW_MODELS: sum(unknown.values()) * len(positions)})
    first: defaultdict[Part, list[int]] = defaultdict(list)
    counts: Counter[tuple[Part, str, int]] = Counter()
    all_lacking = {key for key, _ in positions} if any(unknown.values()) else set()
    for part, count in unknown.items():
        first[part] += [0] * count
        counts.update({(part, *one): count * number for one, number in whole.items()})
    for part, name, key in models:
        answers, of_model = store.of(name, key), of_others.get(name, positions)
        lacking = [one for one in of_model if not answers.has(*one)]
        first[part] += [min(of_model[one] for one in lacking)] if lacking else []
        if lacking:
            missing[_reason(answers, keys)] += len(lacking)
            counts.update((part, kind, of_model[key, kind]) for key, kind in lacking)
            all_lacking |= {key for key, _ in lacking}
    needed = sum(unknown.values()) * len(positions)
    needed += sum(len(of_others.get(name, positions)) for _, name, _ in models)
    return StoredAnswers(needed, +missing, dict(first), counts, frozenset(all_lacking))


def _positions(requests: "Sequence[Instance]") -> dict[tuple[str, str], int]:
    """Return (key, kind) of every request -> the first position of an item that it belongs to."""
    return {one: min(p for _, p in items) for one, items in _items_by_key(requests).items()}


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
