"""lm-eval's `hf` model with the same answers, sooner. Written for lm-eval 0.4.13.

Without `_loglikelihood_tokens` in lm-eval it would not be called, and log-likelihoods would come from `hf`.
"""

import logging
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeAlias

import torch
from lm_eval.models import huggingface
from lm_eval.models.huggingface import HFLM

from mergekit_finance.evaluation.inference.attention import GROUPED, unsupported
from mergekit_finance.evaluation.inference.choices import Continuation, cut_continuation, log_likelihoods
from mergekit_finance.evaluation.inference.generation import Generator, Prompt, window_of
from mergekit_finance.evaluation.inference.graphs import STEPS
from mergekit_finance.evaluation.inference.kv_cache import SlotCache
from mergekit_finance.evaluation.inference.packing import capacities
from mergekit_finance.evaluation.inference.stops import StopStrings
from mergekit_finance.hosts.lm_eval_generation import Generation, cut_at_stop, read_generation_settings

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from mergekit_finance.files import Json

    Argument: TypeAlias = "Json | torch.dtype | torch.device | PreTrainedModel | PreTrainedTokenizerBase"

LOG = logging.getLogger(__name__)
_reported: set[str] = set()  # reasons that this process has printed

# Settings of a generation_config that change no greedy answer.
HARMLESS = (
    "bos_token_id", "eos_token_id", "pad_token_id", "transformers_version", "do_sample", "temperature",
    "top_p", "top_k", "min_p", "typical_p", "max_length", "max_new_tokens", "use_cache", "_from_model_config",
    "cache_implementation", "output_attentions", "output_hidden_states",
)  # fmt: skip
MOST_SLOTS, MOST_TOKENS = 512, 1 << 16  # more give no more speed
CPU_SLOTS, CPU_TOKENS = 64, 1 << 12
MEMORY_SHARE = 0.4  # of the free memory, for what a batch needs
KEPT_TEXTS = 1 << 16
PLAIN_CPU_BATCH, PLAIN_BATCH = 8, 64


class CompiledLM(HFLM):
    """`hf` with packed choices, and answers that are written in slots.

    The batch size is the number of slots, and of rows of the longest choices; `auto` takes as many as fit.
    Models that `unsupported` names, sampled generations, and models whose generation config changes greedy
    answers are left to `hf`.

    Attributes:
        plain_reason: why all requests are left to `hf`; "" if they are not.
        models: how many models are expected to be answered in this memory, this one included. Decoding steps
            are captured as CUDA graphs where that repays for so many.
        processes: how many processes of a study share the device; each takes its share of the memory only.
        seconds_capturing: seconds spent on capturing CUDA graphs so far.
    """

    def __init__(self, *arguments: "Argument", engine: str = "auto", **named: "Argument") -> None:
        """Wrap a model as `hf` does.

        Args:
            arguments, named: those of `hf`.
            engine: `hf` leaves all requests to `hf`. `auto` and `compiled` do so where they have to, with a
                warning.
        """
        super().__init__(*arguments, **named)
        self.plain_reason = "engine: hf" if engine == "hf" else unsupported(self.model)
        if engine != "hf" and self.plain_reason and self.plain_reason not in _reported:
            _reported.add(self.plain_reason)  # a sweep wraps many models of one architecture
            LOG.warning(
                "the engine 'compiled' does not support this model: %s. The engine 'hf' answers instead.",
                self.plain_reason,
            )
        if self.batch_size == "auto":
            self._choose_batch_size()
        self.models, self.processes, self.seconds_capturing = 1, 1, 0.0
        self._generator: Generator | None = None
        self._stops: dict[tuple[str, ...], StopStrings] = {}
        self._tokens: dict[tuple[str | int | bool | None, ...], array[int]] = {}

    def _choose_batch_size(self) -> None:
        """Set how many requests `auto` may evaluate at a time."""
        if not self.plain_reason:
            self.max_batch_size = MOST_SLOTS if self.device.type == "cuda" else CPU_SLOTS
        elif self.device.type != "cuda":
            self.batch_size_per_gpu = PLAIN_CPU_BATCH  # lm-eval's search for a size takes long on a CPU

    def _detect_batch_size(
        self, requests: "Sequence[tuple[tuple[str, str], list[int], list[int]]] | None" = None, pos: int = 0
    ) -> int:
        """Return how many rolling windows or sampled answers are computed at a time with `auto`.

        lm-eval's own search runs the model on its longest context, which takes many seconds on a CPU.
        """
        if self.plain_reason:
            size: int = super()._detect_batch_size(requests, pos)
            return size
        return min(PLAIN_BATCH, int(self.max_batch_size))

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **settings: bool,
    ) -> list[int]:
        """Return a text's tokens as `hf` does, and keep them: every model of a sweep reads the same texts."""
        read = partial(super().tok_encode, string, add_special_tokens, left_truncate_len, **settings)
        if settings:
            return read()
        return self._kept((string, add_special_tokens, left_truncate_len), read)

    def _kept(self, key: "tuple[str | int | bool | None, ...]", read: Callable[[], list[int]]) -> list[int]:
        """Return the tokens that are kept under a key; they are read once."""
        if key not in self._tokens:
            if len(self._tokens) >= KEPT_TEXTS:
                self._tokens.clear()
            self._tokens[key] = array("i", read())
        return self._tokens[key].tolist()

    # ---- choices

    def _loglikelihood_tokens(
        self,
        requests: "list[tuple[tuple[str, str] | None, list[int], list[int]]]",
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        """Return log-likelihood and greediness of every continuation."""
        if self.plain_reason:
            return super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
        results: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        most = self.max_length  # lm-eval looks it up in the config each time
        continuations = [cut_continuation(context, targets, most) for _, context, targets in requests]
        bar = huggingface.tqdm(
            total=len(requests), disable=disable_tqdm, desc="Running loglikelihood requests"
        )

        def answered(number: int, result: tuple[float, bool]) -> None:
            results[number] = result
            if (text := requests[number][0]) is not None:  # windows of a rolling likelihood have none
                self.cache_hook.add_partial("loglikelihood", text, result)
            bar.update(1)

        with bar, self._autocast():
            log_likelihoods(
                self.model, continuations, self._rows(continuations), self.softmax_dtype, answered
            )
        return results

    def _rows(self, continuations: "Sequence[Continuation]") -> int:
        """Return how many rows of the longest continuations are evaluated at a time."""
        if isinstance(self.batch_size, int):
            return self.batch_size
        longest = max(capacities((len(c.inputs) for c in continuations), self.device.type), default=1)
        return max(1, min(int(self.max_batch_size), self._tokens_that_fit() // longest))

    def _tokens_that_fit(self) -> int:
        """Return how many tokens one forward pass may have."""
        if self.device.type != "cuda":
            return CPU_TOKENS
        config = self.model.config
        width = 12 * config.hidden_size + 4 * config.intermediate_size  # activations that live at once
        size = width * self.model.dtype.itemsize
        return min(MOST_TOKENS, batch_memory(self.device, self.processes) // size)

    # ---- generations

    def generate_until(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[str]:
        """Write the answers to all requests, those of all tasks together."""
        if self.plain_reason:
            return super().generate_until(requests, disable_tqdm)
        read = ((number, self._generation(request)) for number, request in enumerate(requests))
        settings = {number: one for number, one in read if one is not None}
        answers: dict[int, str] = {}
        if others := [n for n in range(len(requests)) if n not in settings]:
            texts = super().generate_until([requests[n] for n in others], disable_tqdm)
            answers.update(zip(others, texts, strict=True))
        numbers = list(settings)
        prompts = [self._prompt(requests[n].args[0], one) for n, one in settings.items()]
        bar = huggingface.tqdm(
            total=len(numbers), disable=disable_tqdm, desc="Running generate_until requests"
        )

        def answered(place: int, tokens: list[int]) -> None:
            number = numbers[place]
            answers[number] = cut_at_stop(self.tok_decode(tokens), settings[number].until)
            self.cache_hook.add_partial("generate_until", requests[number].args, answers[number])
            bar.update(1)

        writer = self._writer(prompts)
        writer.graphs.models = self.models
        before = writer.graphs.seconds
        with bar, self._autocast(), grouped(self.model):
            writer.answer(prompts, answered)
        self.seconds_capturing += writer.graphs.seconds - before
        return [answers[n] for n in range(len(requests))]

    def _generation(self, request: "Instance") -> Generation | None:
        """Return the settings of a request; None if it is left to `hf`."""
        eos = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        settings = read_generation_settings(request.args[1], self.max_gen_toks, eos)
        fits = settings.max_gen_toks < self.max_length and request.args[0]
        return settings if settings.is_greedy and fits and self._writes_greedily else None

    @cached_property
    def _writes_greedily(self) -> bool:
        """Whether nothing but the logits decides a greedy answer of this model."""
        changed = self.model.generation_config.to_diff_dict()
        return self.think_end_token is None and not set(changed) - set(HARMLESS)

    def _prompt(self, text: str, settings: Generation) -> Prompt:
        """Return what the model reads: the prompt's tokens, cut on the left to leave room for the answer."""
        room = self.max_length - settings.max_gen_toks

        def read() -> list[int]:
            batch, _ = self.tok_batch_encode([text], left_truncate_len=room, truncation=self.truncation)
            tokens: list[int] = batch[0].tolist()
            return tokens

        if settings.until not in self._stops:
            self._stops[settings.until] = StopStrings(self.tokenizer, settings.until)
        tokens = self._kept((text, "prompt", room), read)
        return Prompt(tokens, settings.max_gen_toks, self._stops[settings.until].end)

    def _writer(self, prompts: Sequence[Prompt]) -> Generator:
        """Return the generator of this model, with buffers and graphs of earlier calls if they are of use."""
        longest = max((prompt.length for prompt in prompts), default=0) + STEPS
        most = self.batch_size if isinstance(self.batch_size, int) else int(self.max_batch_size)
        if self._generator and self._generator.holds(longest) and self._generator.slots <= most:
            return self._generator
        self._generator = None  # its buffers are freed before others are allocated
        slots = most if isinstance(self.batch_size, int) else min(most, self._slots_that_fit(longest))
        self._generator = Generator(self.model, slots, self._end_tokens)
        return self._generator

    def _slots_that_fit(self, longest: int) -> int:
        """Return how many answers of this length, prompts included, may be written at the same time."""
        if self.device.type != "cuda":
            return CPU_SLOTS
        torch.cuda.empty_cache()
        size = SlotCache.bytes_per_token(self.model) * window_of(longest)  # as buffers are allocated
        return max(1, batch_memory(self.device, self.processes) // size)

    @property
    def _end_tokens(self) -> frozenset[int]:
        """The tokens that end an answer."""
        stated = self.model.generation_config.eos_token_id
        stated = stated if isinstance(stated, list) else [stated]
        return frozenset(token for token in (*stated, self.eot_token_id) if token is not None)

    def _autocast(self) -> "torch.autocast":
        """Return the context of forward passes, as `hf` uses it."""
        dtype = self.mixed_precision_dtype
        return torch.autocast(device_type=self.device.type, dtype=dtype, enabled=dtype is not None)


def batch_memory(device: torch.device, processes: int) -> int:
    """Return how many bytes of a GPU's memory this process may take for a batch.

    Processes that begin at the same time see the same free memory, so that each is limited to its share.

    Args:
        device: the GPU.
        processes: how many processes share it.
    """
    free, total = torch.cuda.mem_get_info(device)
    share = total // processes - torch.cuda.memory_reserved(device)
    return int(MEMORY_SHARE * max(0, min(free, share)))


@contextmanager
def grouped(model: "PreTrainedModel") -> Iterator[None]:
    """Let a model attend with `grouped_attention` inside this context."""
    before = model.config._attn_implementation
    model.set_attn_implementation(GROUPED)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
