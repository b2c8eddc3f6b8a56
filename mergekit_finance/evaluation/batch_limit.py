"""Halve the batch size where a batch does not fit the memory of a device, and remember what fits."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mergekit_finance.errors import DataError, ModelError
from mergekit_finance.files import Json, read_json, write_json
from mergekit_finance.hosts import lm_eval_models as host

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM

MAX_BYTES = 100_000  # of the file; it has a line for each kind of device
LOG = logging.getLogger(__name__)


class NoRoomError(ModelError):
    """Not even one request at a time fits the memory of the device, which other processes may share."""


@dataclass(frozen=True)
class BatchLimit:
    """The batch size that fits each device.

    Attributes:
        requested: the batch size of the study.
        file: where sizes are stored for other models and processes; None: the model alone remembers its size.
    """

    requested: int | str
    file: Path | None = None

    def apply(self, lm: "HFLM") -> None:
        """Let a model begin with the batch size that fitted before."""
        size = self._read().get(self._place(lm))
        if isinstance(size, int) and 0 < size < host.batch_size_of(lm):
            host.set_batch_size(lm, size)

    def halve(self, lm: "HFLM") -> None:
        """Halve a model's batch size after its batch did not fit.

        Raises:
            NoRoomError: one request at a time does not fit either.
        """
        size, device = host.batch_size_of(lm), host.device_name(lm)
        if size <= 1:
            raise NoRoomError(
                f"{device}: out of memory with one request at a time; finished work is kept. Use a device "
                "with more free memory, fewer workers on it, a smaller dtype, or tasks with shorter prompts."
            )
        host.set_batch_size(lm, size // 2)
        host.release_memory()
        LOG.warning("%s: a batch of %d does not fit its memory; continuing with %d", device, size, size // 2)
        if self.file:
            write_json(self.file, {**self._read(), self._place(lm): size // 2})

    def _place(self, lm: "HFLM") -> str:
        return f"{host.device_name(lm)}, {self.requested} requested"

    def _read(self) -> dict[str, Json]:
        try:
            content = read_json(self.file, MAX_BYTES) if self.file else {}
        except (OSError, ValueError, DataError):  # missing, or damaged: sizes are found again
            return {}
        return dict(content) if isinstance(content, Mapping) else {}
