"""Let a merge's weights appear in its output folder all together, or not at all.

mergekit writes shards into the output folder while it merges. A merge that fails halfway leaves a few of them
there, among or in place of those of an earlier model. Here each tensor is checked before it is written, the
shards are written into a subfolder, and when all of them are there, they are moved into the output folder.

Subclasses mergekit's public tasks; nothing of mergekit is replaced. Written for mergekit 0.1.5
(`io.tasks.TensorWriterTask`, `SaveTensor`, `FinalizeModel`, `io.tensor_writer.TensorWriter`).
"""

import logging
import os
import re
import shutil
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import torch
from pydantic import ConfigDict
from safetensors import SafetensorError

from mergekit_finance.errors import RecipeError, first_line
from mergekit_finance.hosts.names import MERGEKIT

with MERGEKIT.imports():
    from mergekit.common import dtype_from_name
    from mergekit.graph import Task
    from mergekit.io.tasks import FinalizeModel, SaveTensor, TensorWriterTask
    from mergekit.io.tensor_writer import TensorWriter

LOG = logging.getLogger(__name__)
UNFINISHED = ".unfinished-merge"  # folder of the shards below the output folder, until all are written
# Weights files as mergekit, transformers and a killed merge of mergekit name them, and their indexes.
WEIGHTS = re.compile(r"(pytorch_)?model(-\d+(-of-\d+)?)?\.(safetensors|bin)(\.index\.json)?")
Check: TypeAlias = Callable[[str, torch.Tensor], object]
Finish: TypeAlias = Callable[[Path], object]


def write_whole(
    tasks: Sequence[Task], folder: Path, check: Check, finish: Finish | None = None
) -> list[Task]:
    """Return mergekit's tasks of a merge to disk, changed so that the output folder gets all weights or none.

    Args:
        tasks: what `MergePlanner.plan_to_disk` returns.
        folder: the output folder. It need not exist; if the merge fails, it is left as it was.
        check: called with each tensor's name and the tensor as it will be stored; raises to end the merge.
        finish: called with the folder that holds all weights, to write more files beside them.
    """
    staging = Staging(folder)
    writers = [task.writer_task for task in tasks if isinstance(task, FinalizeModel)]
    if not writers:
        return list(tasks)
    writer = StagedWriterTask(**{**dict(writers[0]), "out_path": str(staging.path)}, staging=staging)

    def save(task: SaveTensor) -> SaveTensor:
        return CheckedSaveTensor(**{**dict(task), "writer_task": writer}, check=check, staging=staging)

    saves = {id(task): save(task) for task in tasks if isinstance(task, SaveTensor)}
    finalize = FinalizeStaged(
        tensor_save_tasks=tuple(saves.values()), writer_task=writer, staging=staging, finish=finish
    )
    return [finalize if isinstance(task, FinalizeModel) else saves.get(id(task), task) for task in tasks]


class Staging:
    """The folder in which the weights of one merge are written before they are moved to the output folder.

    It is removed if the merge fails: at once where a tensor is refused or cannot be written, else when the
    merge's tasks are no longer used, at the latest when Python ends. A folder that a killed process left is
    removed by the next merge into the same folder.

    Attributes:
        folder: the output folder.
        path: where weights are written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / UNFINISHED
        self._removal: weakref.finalize[..., Staging] | None = None

    def create(self) -> None:
        """Create the folder, empty, and those above it."""
        created = [place for place in (self.folder, *self.folder.parents) if not place.exists()]
        self._removal = weakref.finalize(self, _remove, self.path, created)
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path)
        self.path.mkdir(parents=True)

    def discard(self) -> None:
        """Remove what was written, and the output folder if it did not exist before."""
        if self._removal:
            self._removal()

    def publish(self) -> None:
        """Move all files into the output folder, indexes last, and remove the weights of an older model.

        Older shards must not stay: where an index and a single file lie side by side, mergekit reads the
        former and transformers the latter.
        """
        names = sorted(os.listdir(self.path), key=lambda name: (name.endswith(".index.json"), name))
        for name in names:
            os.replace(self.path / name, self.folder / name)
        older = [name for name in os.listdir(self.folder) if WEIGHTS.fullmatch(name) and name not in names]
        for name in sorted(older):
            (self.folder / name).unlink()
        if older:
            LOG.warning(
                "%s: weights of an older model, which this merge did not overwrite, were removed: %s",
                self.folder,
                ", ".join(sorted(older)),
            )
        self.path.rmdir()
        if self._removal:
            self._removal.detach()

    @contextmanager
    def removed_on_failure(self, writer: TensorWriter | None = None) -> Iterator[None]:
        """Remove what was written if the block raises; turn errors of the disk into a RecipeError."""
        try:
            yield
        except BaseException as error:
            if writer is not None and writer.use_async:  # or its threads would go on writing
                MERGEKIT.get(writer, "_executor").shutdown(wait=True, cancel_futures=True)
            self.discard()
            if isinstance(error, OSError | SafetensorError):
                raise RecipeError(
                    f"output {self.folder}: cannot be written ({first_line(error)}). Free some disk space, "
                    "or choose another output directory.",
                    id="output.not-writable",
                ) from error
            raise


def _remove(path: Path, created: list[Path]) -> None:
    """Remove a folder with its content, and then those of the created folders that are empty."""
    shutil.rmtree(path, ignore_errors=True)
    for place in created:  # the innermost first
        try:
            place.rmdir()
        except OSError:  # something else is in it
            return


class StagedWriterTask(TensorWriterTask):
    """mergekit's writer, which begins with an empty folder."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    staging: Staging

    def execute(self, **arguments: object) -> TensorWriter:
        with self.staging.removed_on_failure():
            self.staging.create()
            return super().execute(**arguments)


class CheckedSaveTensor(SaveTensor):
    """mergekit's task that writes one tensor, with a check of the tensor in the dtype that is stored."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    check: Check
    staging: Staging

    def execute(self, writer: TensorWriter, tensor: torch.Tensor | None) -> None:
        with self.staging.removed_on_failure(writer):
            if tensor is not None:
                tensor = tensor.to(dtype_from_name(self.dtype)) if self.dtype else tensor
                self.check(self.tensor_name, tensor)
            super().execute(writer=writer, tensor=tensor)


class FinalizeStaged(FinalizeModel):
    """mergekit's last task of the weights, after which they are moved to the output folder."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    staging: Staging
    finish: Finish | None

    def execute(self, writer: TensorWriter, **arguments: object) -> None:
        with self.staging.removed_on_failure(writer):
            super().execute(writer=writer, **arguments)
            if self.finish:
                self.finish(self.staging.path)
            self.staging.publish()
