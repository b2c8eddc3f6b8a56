"""Compute log-likelihoods of continuations on packed rows (`packing`)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from mergekit_finance.evaluation.inference.packing import PackedRow, Tokens, capacities, pack

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ATTENTION_ENTRIES = 1 << 28  # of the masks of a batch, 512 MB in bfloat16
LOGITS = 1 << 28  # logits that are held at a time


@dataclass(frozen=True)
class Continuation:
    """A continuation whose log-likelihood is asked for.

    Attributes:
        inputs: the tokens that the model reads: context and continuation, without the last token.
        targets: the continuation's tokens; the model's last `len(targets)` predictions are for them.
        context: number of context tokens before truncation; the options of a question have the same.
    """

    inputs: Tokens
    targets: Tokens
    context: int


def cut_continuation(context: Tokens, targets: Tokens, max_length: int) -> Continuation:
    """Return what the model reads, cut on the left to its context as lm-eval's `hf` does."""
    tokens = [*context, *targets][-(max_length + 1) :]
    return Continuation(tokens[:-1], targets, len(context))


def log_likelihoods(
    model: "PreTrainedModel",
    continuations: Sequence[Continuation],
    rows_of_longest: int,
    softmax_dtype: torch.dtype | None,
    answered: Callable[[int, tuple[float, bool]], None],
) -> None:
    """Compute each continuation's log-likelihood, and whether greedy decoding would give it.

    Args:
        model: a causal language model that `attention.unsupported` accepts.
        continuations: what to compute.
        rows_of_longest: how many rows of the longest class fit the device at a time; there are more of
            shorter classes, with the same number of tokens.
        softmax_dtype: dtype of the softmax; None: that of the logits.
        answered: called with the number of a continuation and its result, as soon as it is known.
    """
    classes = capacities((len(c.inputs) for c in continuations), model.device.type)
    budget = rows_of_longest * max(classes, default=0)
    numbers = sorted(range(len(continuations)), key=classes.__getitem__, reverse=True)
    for capacity, group in groupby(numbers, key=classes.__getitem__):
        members = list(group)
        rows = pack(
            [continuations[n].inputs for n in members],
            [len(continuations[n].targets) for n in members],
            capacity,
        )
        for batch in _batches(rows, capacity, budget):
            for place, result in _evaluate(model, batch, members, continuations, softmax_dtype):
                answered(place, result)


def _batches(rows: Sequence[PackedRow], capacity: int, budget: int) -> Iterator[Sequence[PackedRow]]:
    size = max(1, min(budget // capacity, ATTENTION_ENTRIES // capacity**2))
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


@torch.inference_mode()
def _evaluate(
    model: "PreTrainedModel",
    rows: Sequence[PackedRow],
    members: Sequence[int],
    continuations: Sequence[Continuation],
    softmax_dtype: torch.dtype | None,
) -> list[tuple[int, tuple[float, bool]]]:
    """Return the number and result of every continuation of some rows."""
    length = max(len(row.tokens) for row in rows)
    hidden = _hidden_states(model, rows, length)
    numbers = [members[n] for row in rows for n in row.sequences]
    nodes = [at * length + node for at, row in enumerate(rows) for tail in row.tails for node in tail]
    targets = torch.tensor([t for n in numbers for t in continuations[n].targets], device=model.device)
    predicting, inverse = torch.unique(torch.tensor(nodes, device=model.device), return_inverse=True)
    logprobs, greedy = _predictions(model, hidden[predicting], inverse, targets, softmax_dtype)
    lengths = torch.tensor([len(continuations[n].targets) for n in numbers], device=model.device)
    inside = torch.arange(int(lengths.max()), device=model.device) < lengths[:, None]
    # Summed and rounded in the logits' dtype, as lm-eval does; rows of a matrix are summed in one order.
    sums = logprobs.new_zeros(inside.shape).masked_scatter(inside, logprobs).sum(dim=1).tolist()
    exact = greedy.new_ones(inside.shape).masked_scatter(inside, greedy).all(dim=1).tolist()
    return list(zip(numbers, zip(sums, exact, strict=True), strict=True))


def _hidden_states(model: "PreTrainedModel", rows: Sequence[PackedRow], length: int) -> torch.Tensor:
    """Return the last hidden states of all nodes, [rows * length, hidden size]."""

    def padded(lists: Sequence[list[int]]) -> torch.Tensor:
        numbers = np.zeros((len(lists), length), dtype=np.int64)  # torch.tensor is slower with lists
        for row, values in zip(numbers, lists, strict=True):
            row[: len(values)] = values
        return torch.from_numpy(numbers).to(model.device)

    at = torch.arange(length, device=model.device)
    ends = padded([row.ends for row in rows])
    ends = torch.maximum(ends, at + 1)  # a padding token attends to itself: a row of zeros has no softmax
    # Node j is node i, or an ancestor of it, if i lies in the subtree of j.
    mask = (at[None, :] <= at[:, None]) & (at[None, :, None] < ends[:, None, :])
    output = model.base_model(
        input_ids=padded([row.tokens for row in rows]),
        position_ids=padded([row.depths for row in rows]),
        attention_mask=mask[:, None],
        use_cache=False,
    )
    return output.last_hidden_state.flatten(0, 1)


def _predictions(
    model: "PreTrainedModel",
    hidden: torch.Tensor,
    inverse: torch.Tensor,
    targets: torch.Tensor,
    softmax_dtype: torch.dtype | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the log-probability of every target, and whether it is the most probable token.

    Args:
        model: its output layer is applied.
        hidden: [predicting nodes, hidden size].
        inverse: per target the position of its predicting node in `hidden`.
        targets: token ids.
        softmax_dtype: dtype of the softmax; None: that of the logits.
    """
    head = model.get_output_embeddings()
    chunk = max(1, LOGITS // head.weight.shape[0])
    logprobs, greedy = [], []
    order = torch.argsort(inverse, stable=True)
    bounds = torch.searchsorted(
        inverse[order], torch.arange(0, len(hidden) + chunk, chunk, device=hidden.device)
    ).tolist()
    for start, (low, high) in zip(
        range(0, len(hidden), chunk), zip(bounds, bounds[1:], strict=False), strict=False
    ):
        scores = F.log_softmax(head(hidden[start : start + chunk]), dim=-1, dtype=softmax_dtype)
        members = order[low:high]
        nodes, tokens = inverse[members] - start, targets[members]
        logprobs.append(scores[nodes, tokens])
        greedy.append(scores.argmax(dim=-1)[nodes] == tokens)
    restored = torch.empty_like(order)
    restored[order] = torch.arange(len(order), device=order.device)
    return torch.cat(logprobs)[restored], torch.cat(greedy)[restored]
