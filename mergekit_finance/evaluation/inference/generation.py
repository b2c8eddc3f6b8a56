"""Greedy answers of many requests at a time.

A fixed number of slots holds the answers that are being written; when enough are finished, the next prompts
take their slots. On a GPU a decoding step is a captured CUDA graph, one per number of slots and window (see
`graphs`), which replays the model's kernels without the cost of launching them from Python. Weights may be
changed in place between two calls: graphs read them where they lie.
"""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import torch

from mergekit_finance.evaluation.inference.attention import adds_mask, reads_lengths
from mergekit_finance.evaluation.inference.graphs import STEPS, StepGraphs
from mergekit_finance.evaluation.inference.kv_cache import SlotCache

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WINDOWS = tuple(step << n for n in range(12) for step in (128, 160, 192, 224))  # at most a fifth is unused
READ_TOKENS, READ_ENTRIES = 1 << 16, 1 << 29  # of the prompts that are read at a time
CPU_PADDING = 1.1  # on a CPU, padded prompts have at most this many times the tokens of the prompts
REFILL = 8  # prompts are read when at least one in so many slots is free


@dataclass(frozen=True)
class Prompt:
    """A prompt to be answered.

    Attributes:
        tokens: what the model reads.
        max_tokens: the largest number of tokens of the answer.
        end: takes an answer's tokens and how many of them are new; returns after how many tokens the answer
            ends at a stop string, or None if it does not end.
    """

    tokens: Sequence[int]
    max_tokens: int
    end: Callable[[Sequence[int], int], int | None]

    @property
    def length(self) -> int:
        """Number of positions that prompt and answer take."""
        return len(self.tokens) + self.max_tokens


@dataclass
class _Slot:
    index: int  # in the buffers
    number: int  # of the prompt
    prompt: Prompt
    answer: list[int] = field(default_factory=list)
    complete: bool = False

    @property
    def size(self) -> int:
        """Number of positions that are taken, with that of the last token, which was not read yet."""
        return len(self.prompt.tokens) + len(self.answer)

    def take(self, tokens: Sequence[int], eos: frozenset[int]) -> None:
        """Append tokens up to the end of the answer: an end-of-sequence token, a stop string, its length."""
        before = len(self.answer)
        self.answer += tokens[: self.prompt.max_tokens - before]
        at_eos = next((n for n in range(before, len(self.answer)) if self.answer[n] in eos), None)
        if at_eos is not None:
            del self.answer[at_eos + 1 :]
        end = self.prompt.end(self.answer, len(self.answer) - before)
        if end is not None:
            del self.answer[end:]
        self.complete = end is not None or at_eos is not None or len(self.answer) >= self.prompt.max_tokens


class Generator:
    """Writes greedy answers with one model, whose weights may change in place between calls.

    Attributes:
        graphs: the captured decoding steps.
    """

    def __init__(self, model: "PreTrainedModel", slots: int, eos: frozenset[int]) -> None:
        """Note the model; buffers are allocated at the first call.

        Args:
            model: a causal language model that `attention.unsupported` accepts.
            slots: answers that are written at the same time.
            eos: tokens that end an answer.
        """
        self.model, self.slots, self.eos = model, slots, eos
        self._cache: SlotCache | None = None
        self.graphs = StepGraphs(model.device)

    def answer(self, prompts: Sequence[Prompt], answered: Callable[[int, list[int]], None]) -> None:
        """Answer all prompts, those with the longest answers first.

        Args:
            prompts: what to answer.
            answered: called with the number of a prompt and the tokens of its answer when it is complete.
        """
        if not prompts:
            return
        order = sorted(range(len(prompts)), key=lambda n: _duration(prompts[n]), reverse=True)
        waiting = deque(order)
        self._allocate(max(prompt.length for prompt in prompts) + STEPS)
        active: list[_Slot] = []
        while waiting or active:
            free = self.slots - len(active)
            if waiting and free >= min(max(1, self.slots // REFILL), len(waiting)):
                active += self._refill(waiting, prompts, {slot.index for slot in active})
            else:
                self._advance(active)
            for slot in active:
                if slot.complete:
                    answered(slot.number, slot.answer)
            active = [slot for slot in active if not slot.complete]
            self._compact(active)

    # ---- buffers

    def holds(self, length: int) -> bool:
        """Return whether the buffers hold a prompt and its answer of so many tokens."""
        return self._cache is not None and self._cache.capacity >= length

    def _allocate(self, length: int) -> None:
        """Allocate buffers for answers of this length, unless there are some."""
        if self.holds(length):
            return
        self._cache = None  # freed before the next is allocated
        self.graphs.clear()
        device = self.model.device
        self._cache = SlotCache(self.model, self.slots, window_of(length))
        self._tokens = torch.zeros(self.slots, 1, dtype=torch.long, device=device)
        self._written = torch.zeros(STEPS, self.slots, dtype=torch.long, device=device)
        self._step = torch.zeros(1, dtype=torch.long, device=device)

    def _computed(self, count: int) -> int:
        """Return how many slots a decoding step computes if answers lie in the first `count`.

        Graphs are captured for a few numbers of slots only.
        """
        if self.model.device.type != "cuda":
            return count
        slots = self.slots
        while slots >= 2 * max(count, 8):
            slots = (slots + 1) // 2
        return slots

    # ---- prompts

    def _refill(self, waiting: deque[int], prompts: Sequence[Prompt], taken: Collection[int]) -> list[_Slot]:
        """Read waiting prompts into all slots that are not taken."""
        indices = [index for index in range(self.slots) if index not in taken][: len(waiting)]
        slots: list[_Slot] = []
        while indices:
            lengths = [len(prompts[number].tokens) for number in islice(waiting, len(indices))]
            count = self._readable(lengths)
            numbers = [waiting.popleft() for _ in range(count)]
            slots += self._fill(
                [_Slot(i, n, prompts[n]) for i, n in zip(indices[:count], numbers, strict=True)]
            )
            indices = indices[count:]
        return slots

    def _readable(self, lengths: Sequence[int]) -> int:
        """Return how many of the next prompts are read at a time, given their numbers of tokens.

        All are padded to the longest one. On a GPU this costs less than reading them in several parts; on a
        CPU it does not.
        """
        longest = max(lengths)
        entries = self.model.config.num_attention_heads * longest**2  # of attention, where it is held
        count = max(1, min(len(lengths), READ_TOKENS // longest, READ_ENTRIES // entries))
        if self.model.device.type == "cuda":
            return count
        while count > 1 and count * max(lengths[:count]) > CPU_PADDING * sum(lengths[:count]):
            count -= 1
        return count

    @torch.inference_mode()
    def _fill(self, slots: list[_Slot]) -> list[_Slot]:
        """Read the prompts of slots, and take the first token of each answer."""
        cache = self._cache
        assert cache is not None
        read = [list(slot.prompt.tokens) for slot in slots]
        longest = max(map(len, read))
        device = self.model.device
        indices = torch.tensor([slot.index for slot in slots], device=device)
        with cache.prefilling(indices):
            hidden = self.model.base_model(
                input_ids=torch.tensor([row + [0] * (longest - len(row)) for row in read], device=device),
                position_ids=torch.arange(longest, device=device)[None],
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
        lengths = torch.tensor([len(row) for row in read], device=device)
        last = hidden[torch.arange(len(read), device=device), lengths - 1]
        tokens = self._next(last)
        self._tokens[indices, 0] = tokens
        cache.positions[indices] = lengths
        for slot, token in zip(slots, tokens.tolist(), strict=True):
            slot.take([token], self.eos)
        return slots

    def _compact(self, active: Sequence[_Slot]) -> None:
        """Move answers into the first slots, if decoding steps then compute fewer slots."""
        end = max((slot.index for slot in active), default=-1) + 1
        if self._computed(end) <= self._computed(len(active)):
            return
        cache = self._cache
        assert cache is not None
        free = iter(sorted(set(range(len(active))) - {slot.index for slot in active}))
        moved = [slot for slot in active if slot.index >= len(active)]
        targets = [next(free) for _ in moved]
        sources, into = (
            torch.tensor(indices, device=self.model.device)
            for indices in ([slot.index for slot in moved], targets)
        )
        cache.move(sources, into, max(slot.size for slot in moved))
        self._tokens[into] = self._tokens[sources]
        for slot, index in zip(moved, targets, strict=True):
            slot.index = index

    # ---- answers

    @torch.inference_mode()
    def _advance(self, active: Sequence[_Slot]) -> None:
        """Write the next tokens of all answers.

        They are looked at after every few tokens as long as one of them is short, because many answers are.
        """
        cache = self._cache
        assert cache is not None
        steps = min(STEPS, min(len(slot.answer) for slot in active))
        window = cache.capacity
        if not reads_lengths(cache.keys[0]):
            longest = max(slot.size for slot in active) + steps
            window = min(window_of(longest) if cache.keys[0].is_cuda else longest, window)
        indices = [slot.index for slot in active]
        count = self._computed(max(indices) + 1)
        if free := sorted(set(range(count)) - set(indices)):
            cache.positions[torch.tensor(free, device=self.model.device)] = 0  # nobody reads these slots
        self._step.zero_()
        cache.decode(count, window)
        state = [self._tokens, cache.positions, self._step]
        step = self.graphs.step((count, window), steps, self._decode, state)
        for _ in range(steps):
            step()
        written = self._written[:steps].T.tolist()
        for slot in active:
            slot.take(written[slot.index], self.eos)

    def _decode(self) -> None:
        """Read each slot's last token and write the next; all state is in buffers of fixed addresses."""
        cache = self._cache
        assert cache is not None
        count = cache.count
        positions = cache.positions[:count]
        mask = torch.arange(cache.window, device=self.model.device) <= positions[:, None]
        if adds_mask(cache.keys[0]):
            mask = torch.zeros(mask.shape, dtype=torch.float32).masked_fill_(~mask, float("-inf"))
        hidden = self.model.base_model(
            input_ids=self._tokens[:count],
            position_ids=positions[:, None],
            attention_mask=mask[:, None, None],
            past_key_values=cache,
            use_cache=True,
            slots=cache.lengths(),
        ).last_hidden_state
        tokens = self._next(hidden[:, -1])
        self._written[:, :count].index_copy_(0, self._step, tokens[None])
        self._tokens[:count, 0] = tokens
        positions.add_(1)
        self._step.add_(1)

    def _next(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the most probable next tokens, [slots], of hidden states, [slots, hidden size]."""
        tokens: torch.Tensor = self.model.get_output_embeddings()(hidden).argmax(dim=-1)
        return tokens


def _duration(prompt: Prompt) -> tuple[int, int]:
    """Return what orders prompts by the time that they take at most."""
    return prompt.max_tokens, len(prompt.tokens)


def window_of(length: int) -> int:
    """Return the smallest of a few window lengths that holds so many positions; above them, their number."""
    return next((window for window in WINDOWS if window >= length), length)
