"""Stand between lm-eval and a model: requests with a stored answer do not reach the model.

lm-eval builds all requests and computes all scores, as always. `AnsweringModel` takes the place of the
model, in the manner of lm-eval's own `CachingLM`: it looks every request up and passes on those that have
no answer. If all have one, the model is neither loaded nor merged.
"""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from mergekit_finance.errors import is_out_of_memory
from mergekit_finance.evaluation.answer_store import Answer, Answers, request_key
from mergekit_finance.evaluation.batch_limit import BatchLimit
from mergekit_finance.evaluation.live_models import ask_with_fixed_seed
from mergekit_finance.evaluation.truncation import PromptLengths, tokens_needed

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from transformers import PreTrainedTokenizerBase

    from mergekit_finance.evaluation.chat import ChatTemplate
    from mergekit_finance.hosts.lm_eval_models import RequestArguments, Response


@dataclass
class AnsweringModel:
    """Takes a model's place in lm-eval, and makes the model only for requests without a stored answer.

    Attributes:
        make: loads or merges the model.
        answers: the stored answers; new ones are added.
        batches: the batch size that fits the device.
        lengths: tokens of prompts, shared by models with the same tokenizer.
        load_tokenizer: loads the tokenizer without the model, for its chat template; None: the model has it.
        apply_chat_template: renders prompts; set by the evaluator, where prompts are in chat format.
        tokenizer_name: part of the names of lm-eval's cache files, which are not used here.
        seconds_making: how long `make` took.
        seconds: how long requests took, by kind: with the storing of answers, without the time of `make`.
        rank, world_size: lm-eval's names for one process.
    """

    make: "Callable[[], HFLM]"
    answers: Answers = field(default_factory=Answers)
    batches: BatchLimit = field(default_factory=lambda: BatchLimit("auto"))
    lengths: PromptLengths = field(default_factory=PromptLengths)
    load_tokenizer: "Callable[[], PreTrainedTokenizerBase] | None" = None
    apply_chat_template: "ChatTemplate | None" = field(default=None, init=False)
    tokenizer_name: str = field(default="", init=False)
    seconds_making: float = field(default=0.0, init=False)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float), init=False)
    rank: int = field(default=0, init=False)
    world_size: int = field(default=1, init=False)
    _keys: dict[int, str] = field(default_factory=dict, init=False, repr=False)  # by id of the request

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer of the model."""
        return self.load_tokenizer() if self.load_tokenizer else self._lm.tokenizer

    def loglikelihood(self, requests: "list[Instance]") -> "list[Response]":
        """Return a log-likelihood and whether the option is the greedy one, for every request."""
        return self._respond("loglikelihood", requests)

    def loglikelihood_rolling(self, requests: "list[Instance]") -> "list[Response]":
        """Return the log-likelihood of every text."""
        return self._respond("loglikelihood_rolling", requests)

    def generate_until(self, requests: "list[Instance]") -> "list[Response]":
        """Return the generated text for every request."""
        return self._respond("generate_until", requests)

    def is_cut(self, request: "Instance") -> bool:
        """Return whether the prompt of a request that was answered did not fit the model's context."""
        answer = self.answers[self._keys[id(request)]]
        return answer.tokens > answer.context

    def _respond(self, kind: str, requests: "Sequence[Instance]") -> "list[Response]":
        keys = request_keys(kind, requests)
        self._keys |= {id(request): key for key, request in zip(keys, requests, strict=True)}
        by_key = dict(zip(keys, requests, strict=True))  # equal requests once
        started = time.monotonic() - self.seconds_making
        try:
            while unanswered := {k: r for k, r in by_key.items() if not self.answers.has(k, kind)}:
                if self._ask(kind, unanswered):
                    break
        finally:
            self.answers.flush()
            self.seconds[kind] += time.monotonic() - self.seconds_making - started
        return [self.answers[key].response for key in keys]

    def _ask(self, kind: str, requests: "Mapping[str, Instance]") -> bool:
        """Ask the model for all these answers, or halve its batch size if a batch does not fit the memory.

        Returns:
            Whether the model has answered.
        """
        keys_of = defaultdict(list)  # several keys only where answers to equal requests are sampled
        for key, request in requests.items():
            keys_of[_text(request.args)].append(key)

        def add(kind: str, arguments: "RequestArguments", response: "Response") -> None:
            if keys := keys_of[_text(arguments)]:
                self.answers.add(key := keys.pop(0), self._answer(key, arguments, response))

        try:
            responses = ask_with_fixed_seed(self._lm, kind, [*requests.values()], add)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        else:
            for request, response in zip(requests.values(), responses, strict=True):
                add(kind, request.args, response)  # of models that do not report single answers
            return True
        self.batches.halve(self._lm)  # after `except`, which keeps the failed batch in memory
        return False

    @cached_property
    def _lm(self) -> "HFLM":
        started = time.monotonic()
        lm = self.make()
        self.seconds_making = time.monotonic() - started
        self.batches.apply(lm)
        return lm

    @cached_property
    def _lengths(self) -> dict[str, int]:
        return self.lengths.of_tokenizer(self._lm.tokenizer)

    def _answer(self, key: str, arguments: "RequestArguments", response: "Response") -> Answer:
        if key not in self._lengths:
            self._lengths[key] = tokens_needed(arguments, self._lm.tokenizer)
        plain = float(response) if isinstance(response, int) else response  # of an empty text: 0
        return Answer(plain, self._lengths[key], int(self._lm.max_length))


def request_keys(kind: str, requests: "Sequence[Instance]") -> list[str]:
    """Return the keys of requests. Equal requests have one key, unless their answers are sampled."""
    counts: Counter[str] = Counter()
    keys = []
    for request in requests:
        key = request_key(kind, request.args)
        occurrence, counts[key] = counts[key], counts[key] + 1
        if occurrence and _is_sampled(request.args):
            key = request_key(kind, request.args, occurrence)
        keys.append(key)
    return keys


def _text(arguments: "RequestArguments") -> tuple[str, ...]:
    """Return arguments as a key of a dictionary; prompts are not copied."""
    return tuple(one if isinstance(one, str) else json.dumps(one, default=str) for one in arguments)


def _is_sampled(arguments: "RequestArguments") -> bool:
    """Return whether an answer to a request is drawn at random."""
    settings = arguments[-1]
    if not isinstance(settings, Mapping):
        return False
    return bool(settings.get("temperature") if settings.get("do_sample") is None else settings["do_sample"])
