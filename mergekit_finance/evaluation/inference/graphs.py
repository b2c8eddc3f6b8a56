"""Capture decoding steps as CUDA graphs, where that repays and where the device can."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from mergekit_finance.errors import first_line, is_out_of_memory

if TYPE_CHECKING:
    from torch.cuda import _POOL_HANDLE
    from typing_extensions import Self

LOG = logging.getLogger(__name__)
STEPS = 8  # at most so many decoding steps between two looks at the answers
REPAID_AFTER = 16  # steps: a capture takes as long as launching so many steps from Python
Step = Callable[[], None]
Size = tuple[int, int]  # slots and positions that a step reads

_unable: set[str] = set()  # devices of this process that cannot capture
_reported: set[str] = set()  # devices of this process for which a line was printed


def is_worthwhile(steps: int, models: int) -> bool:
    """Return whether graphs of one size repay their capture: with `steps` steps for each of `models`."""
    return steps * models >= REPAID_AFTER


def capture_policy(models: int) -> str:
    """Return in words when steps are captured, with so many models to answer for."""
    if is_worthwhile(STEPS, models):
        return "decoding steps are captured as CUDA graphs"
    return (
        f"decoding steps are captured as CUDA graphs only after {REPAID_AFTER} of one size, because so few "
        "models do not repay more captures"
    )


class StepGraphs:
    """The captured decoding steps of one generator, one graph for each size.

    A step that is not captured runs from Python: the same kernels, later.

    Attributes:
        used: whether steps are captured: on a GPU, as long as no capture failed.
        models: models that are expected to be answered with these graphs, the present one included.
        seconds: how long captures took.
        count: number of captures.
    """

    def __init__(self, device: torch.device, models: int = 1) -> None:
        """Capture nothing yet."""
        self.models, self._device = models, str(device)
        self.used = device.type == "cuda" and self._device not in _unable
        self.seconds, self.count = 0.0, 0
        self._graphs: dict[Size, Step] = {}
        self._plain: Counter[Size] = Counter()  # steps that ran from Python
        self._pool = torch.cuda.graph_pool_handle() if self.used else None  # memory that all graphs share

    def clear(self) -> "Self":
        """Forget all graphs, whose buffers are about to be released."""
        self._graphs.clear()
        self._plain.clear()
        return self

    def step(self, size: Size, steps: int, step: Step, state: Sequence[torch.Tensor]) -> Step:
        """Return what runs one decoding step of this size: its graph, or `step` itself.

        Args:
            size: slots and positions that the step reads.
            steps: how many steps are about to run.
            step: runs one step; all that it changes lies at fixed addresses.
            state: what a step changes, besides what it writes at the positions of this state.
        """
        if size not in self._graphs and self.used:
            if is_worthwhile(steps, self.models) or self._plain[size] + steps > REPAID_AFTER:
                self._capture(size, step, state)
        if size not in self._graphs:
            self._plain[size] += steps
        return self._graphs.get(size, step)

    def _capture(self, size: Size, step: Step, state: Sequence[torch.Tensor]) -> None:
        """Capture a step and restore the state; if the device cannot, print one line."""
        started = time.monotonic()
        saved = [tensor.clone() for tensor in state]
        try:
            self._graphs[size] = capture(step, self._pool, self._device)
            self.count += 1
        except RuntimeError as error:
            self._give_up(error)
        finally:
            for tensor, value in zip(state, saved, strict=True):
                tensor.copy_(value)
            self.seconds += time.monotonic() - started

    def _give_up(self, error: RuntimeError) -> None:
        """Run all further steps from Python, and print one line about it, once in this process.

        A step that does not fit the memory either raises its own error, and the batch is halved.
        """
        self.used = False
        if not is_out_of_memory(error):  # which other processes may have caused
            _unable.add(self._device)
        if self._device not in _reported:
            _reported.add(self._device)
            LOG.warning(
                "%s: decoding steps cannot be captured (%s). They are launched one by one, which takes "
                "longer and changes no answer.",
                self._device,
                first_line(error),
            )


def capture(step: Step, pool: "_POOL_HANDLE | None", device: torch.device | str) -> Step:
    """Capture a step as a CUDA graph and return what replays it.

    Streams belong to the current device, which is the first GPU unless it is set: work of another GPU would
    not be captured.

    Raises:
        RuntimeError: the step, or its capture, failed; of the memory, torch.OutOfMemoryError.
    """
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            step()  # libraries allocate what they need before the capture
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=stream):
            step()
    replay: Step = graph.replay
    return replay
