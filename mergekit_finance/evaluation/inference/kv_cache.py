"""Keys and values of many answers that are written at the same time, in buffers that never move."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from transformers import Cache

from mergekit_finance.evaluation.inference.attention import SlotLengths

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class SlotCache(Cache):
    """A cache of fixed slots, one per answer, each with a length of its own.

    Two kinds of forward passes use it. A prefill reads whole prompts, whose first token is at position 0:
    keys and values are stored in some slots, and attention sees those of the pass only. A decoding step reads
    one token of each of the first slots: its key and value are stored at the slot's position, and attention
    sees the first positions, of which the mask hides those that are not written yet.

    Attributes:
        prefill: the slots that a prefill fills; None in a decoding step.
        positions: where the next token of each slot is stored, [slots].
        count, window: how many slots a decoding step reads, and how many of their positions.
    """

    def __init__(self, model: "PreTrainedModel", slots: int, capacity: int) -> None:
        """Allocate the buffers.

        Args:
            model: gives the number of layers and heads, the dtype and the device.
            slots: answers that are written at the same time.
            capacity: the largest number of tokens of a prompt and its answer.
        """
        heads, size = _heads(model)
        self.layers = []  # of the base class; none of its methods is used
        layers = range(model.config.num_hidden_layers)
        self.keys = [_buffer(model, slots, capacity, heads, size) for _ in layers]
        self.values = [_buffer(model, slots, capacity, heads, size) for _ in layers]
        self.capacity = capacity
        self.prefill: torch.Tensor | None = None
        self.positions = torch.zeros(slots, dtype=torch.long, device=model.device)
        self.count, self.window = slots, capacity
        self._all = torch.arange(slots, device=model.device)
        self._starts = torch.arange(slots + 1, device=model.device, dtype=torch.int32)

    @contextmanager
    def prefilling(self, slots: torch.Tensor) -> Iterator[None]:
        """Let the forward passes in this context be prefills of these slots, [prompts]."""
        self.prefill = slots
        try:
            yield
        finally:
            self.prefill = None

    def decode(self, count: int, window: int) -> None:
        """Set how many slots, and how many of their positions, the next decoding steps read."""
        self.count, self.window = count, window

    def lengths(self) -> SlotLengths:
        """Return how many positions of each slot the next decoding step sees."""
        starts = self._starts[: self.count + 1]
        return SlotLengths((self.positions[: self.count] + 1).int(), starts, starts * self.window)

    def move(self, sources: torch.Tensor, targets: torch.Tensor, length: int) -> None:
        """Copy the first `length` positions of some slots to other slots."""
        for buffer in (*self.keys, *self.values):
            buffer[targets, :length] = buffer[sources, :length]
        self.positions[targets] = self.positions[sources]

    @staticmethod
    def bytes_per_token(model: "PreTrainedModel") -> int:
        """Return how much memory one position of a slot takes."""
        heads, size = _heads(model)
        return 2 * model.config.num_hidden_layers * heads * size * model.dtype.itemsize

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *arguments: object,
        **named: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store keys and values, [prompts or slots, heads, tokens, head size].

        Returns:
            The keys and values that attention sees.
        """
        keys, values = self.keys[layer_idx], self.values[layer_idx]
        if self.prefill is not None:
            length = key_states.shape[2]
            keys[self.prefill, :length] = key_states.transpose(1, 2)
            values[self.prefill, :length] = value_states.transpose(1, 2)
            return key_states, value_states
        count, window = self.count, self.window
        rows, positions = self._all[:count], self.positions[:count]
        keys[rows, positions] = key_states[:, :, 0]
        values[rows, positions] = value_states[:, :, 0]
        return keys[:count, :window].transpose(1, 2), values[:count, :window].transpose(1, 2)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return 0: positions and masks are passed to the model."""
        return 0


def _buffer(model: "PreTrainedModel", slots: int, capacity: int, heads: int, size: int) -> torch.Tensor:
    """Return zeros, [slots, capacity, heads, head size].

    On a CPU the positions of one head lie side by side in memory: attention, head by head, then takes a third
    of the time. FlashAttention on a GPU reads the heads of one position side by side.
    """
    if model.device.type == "cuda":
        return torch.zeros(slots, capacity, heads, size, dtype=model.dtype, device=model.device)
    buffer = torch.zeros(slots, heads, capacity, size, dtype=model.dtype, device=model.device)
    return buffer.transpose(1, 2)


def _heads(model: "PreTrainedModel") -> tuple[int, int]:
    """Return the number of key-value heads and the size of each."""
    config = model.config
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(config.num_key_value_heads), int(size)
