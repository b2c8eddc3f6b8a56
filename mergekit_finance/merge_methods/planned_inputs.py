"""The inputs of a planned merge, one output tensor at a time.

Some facts are known only after mergekit has planned: which tensors there are, how a `tokenizer:` block
permutes them, which dtype they are cast to. Whole-model quantities are therefore computed from the planned
gather tasks. Each is run alone through mergekit's own executor: the tensors are exactly those that the merge
will use, and only one output tensor's inputs are in memory at a time.
"""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, cast

import torch
import tqdm
from mergekit.common import ModelReference
from mergekit.graph import Executor, TaskHandle, TaskUniverse
from mergekit.io.tasks import GatherTensors, LoadTensor
from mergekit.merge_methods.base import (
    ParameterScope,
    ParameterSpec,
    PerInputValues,
    TensorEntry,
    TensorGroup,
    TensorMetadata,
)
from mergekit.merge_methods.task_adapter import ExecuteMergeMethodTask
from safetensors import SafetensorError

from mergekit_finance.checks.findings import Findings, finding
from mergekit_finance.checks.merge_facts import MergeFacts
from mergekit_finance.checks.resources import disk_findings, estimate
from mergekit_finance.errors import ModelError, print_to_stderr
from mergekit_finance.files import file_stamp
from mergekit_finance.hosts.mergekit import (
    adapter_folder,
    merged_adapter,
    stored_as_safetensors,
    stored_names,
)
from mergekit_finance.merge_methods.check_inputs import Tensors, check_shapes
from mergekit_finance.merge_methods.parameters import Parameters
from mergekit_finance.models.facts import FactsReader, is_pickled, read_tensors, require_folder, weight_files
from mergekit_finance.models.json_files import INDEXES

if TYPE_CHECKING:
    from mergekit.tokenizer import BuildTokenizer
    from mergekit.tokenizer.build import TokenizerInfo

CHECKED_FOLDERS: dict[Path, tuple[tuple[int, ...], ...]] = {}  # of safetensors files, with their stamps


@dataclass(frozen=True)
class TensorInputs:
    """One output tensor's inputs."""

    task: ExecuteMergeMethodTask
    stored: Tensors  # as the checkpoints hold them, cast to the recipe's dtype
    aligned: Tensors  # after a tokenizer block permuted them
    tied_to: str | None  # the output tensor that this one repeats

    @property
    def name(self) -> str:
        return self.task.output_weight.name

    @property
    def stored_names(self) -> dict[ModelReference, str]:
        """The tensor's name in each model's files."""
        return {model: weight.name for model, weight in stored_gather(self.task).weight_info.items()}

    @property
    def floating(self) -> bool:
        """False for buffers of integers, which mergekit copies instead of merging."""
        return all(tensor.is_floating_point() for tensor in self.aligned.values())

    @property
    def size(self) -> int:
        """Number of elements."""
        return next(iter(self.aligned.values())).numel()

    def group(self) -> TensorGroup:
        """Return the inputs as mergekit hands them to a method."""
        base = self.task.base_model
        entries = [
            TensorEntry(id=model, tensor=self.aligned[model], is_base=model == base)
            for model in self.task.model_order
        ]
        return TensorGroup(tuple(entries), TensorMetadata.from_weight_info(self.task.output_weight))

    def parameters(self, specs: Sequence[ParameterSpec]) -> Parameters:
        """Return the parameters as mergekit hands them to a method whose input parameters are `specs`."""
        group, values = self.group(), dict(self.task.parameters.items())
        for spec in specs:
            inputs = group.entries if spec.scope == ParameterScope.INPUT else group.non_base
            by_model = self.task.input_parameters
            values[spec.name] = PerInputValues(
                [(entry.id, by_model[entry.id][spec.name]) for entry in inputs]
            )
        return cast(Parameters, values)

    def as_in_files(self) -> Tensors:
        """Return the inputs without the cast to the recipe's dtype.

        Where a tokenizer block permutes them, the permuted tensors are returned, which are cast.
        """
        inner = stored_gather(self.task)
        if inner is not self.task.gather_tensors or inner.dtype is None:
            return self.aligned
        plain = inner.model_copy(update={"dtype": None})
        return plain.execute(**{key: _load(load) for key, load in plain.arguments().items()})


@dataclass(frozen=True)
class PlannedInputs:
    """Streams the inputs of planned tasks."""

    tasks: Sequence[ExecuteMergeMethodTask]
    tokenizer_task: "BuildTokenizer | None"
    device: str
    quiet: bool = False
    trust_remote_code: bool = False

    def stream(self, purpose: str) -> Iterator[TensorInputs]:
        """Yield every output tensor's inputs in the planner's order, which is that of the files.

        Args:
            purpose: label of the progress bar.
        """
        for task in tqdm.tqdm(self.tasks, desc=purpose, disable=self.quiet):
            yield self._gather(task)

    @cached_property
    def names(self) -> list[str]:
        """The output tensors."""
        return [task.output_weight.name for task in self.tasks]

    @cached_property
    def tokenizer(self) -> "TokenizerInfo | None":
        """The merged tokenizer; mergekit would build it again for every tensor and pass."""
        return self.tokenizer_task.execute() if self.tokenizer_task else None

    def _gather(self, task: ExecuteMergeMethodTask) -> TensorInputs:
        outer, inner = task.gather_tensors, stored_gather(task)
        if outer is inner and self.device == "cpu":
            return self._gather_without_executor(task)
        universe = TaskUniverse([outer])
        stored = self._run(universe.get_handle(inner), {})
        aligned = stored
        if outer is not inner:
            check_shapes(task, stored, free_axis=task.output_weight.vocabulary_axis)
            computed: dict[TaskHandle, Tensors | TokenizerInfo | None] = {universe.get_handle(inner): stored}
            if self.tokenizer_task and (handle := universe.get_handle(self.tokenizer_task)):
                computed[handle] = self.tokenizer
            aligned = self._run(universe.get_handle(outer), computed)
        check_shapes(task, aligned)
        return TensorInputs(task, stored, aligned, self._tied_to(task))

    def _gather_without_executor(self, task: ExecuteMergeMethodTask) -> TensorInputs:
        """Gather plain tensors on the CPU without mergekit's executor, slower than mapping files."""
        gather = stored_gather(task)
        tensors = gather.execute(**{key: _load(load) for key, load in gather.arguments().items()})
        check_shapes(task, tensors)
        return TensorInputs(task, tensors, tensors, self._tied_to(task))

    def _run(
        self, target: TaskHandle, computed: "Mapping[TaskHandle, Tensors | TokenizerInfo | None]"
    ) -> Tensors:
        executor = Executor([target], self.device, self.device, computed)
        ((_, tensors),) = executor.run(quiet=True)
        return tensors

    def _tied_to(self, task: ExecuteMergeMethodTask) -> str | None:
        """Return the tensor that this one repeats: every model's config ties the two, and they are equal."""
        present = [name for name in task.output_weight.tied_names or () if name in self.names]
        if not present or not all(map(self._ties, task.model_order)):
            return None
        loads = stored_gather(task).arguments().values()
        return present[0] if all(_repeats(load, present[0]) for load in loads) else None

    def _ties(self, model: ModelReference) -> bool:
        config = model.config(trust_remote_code=self.trust_remote_code)
        return bool(getattr(config, "tie_word_embeddings", False))


def stored_gather(task: ExecuteMergeMethodTask) -> GatherTensors:
    """Return the gather task under a permutation or truncation of the vocabulary, or the task itself."""
    return getattr(task.gather_tensors, "gather_tensors", task.gather_tensors)


def without_cast(task: ExecuteMergeMethodTask) -> ExecuteMergeMethodTask:
    """Return the same task on tensors as the files hold them, where that gives the same bits.

    `dtype: float32` in a recipe makes mergekit hold a float32 copy of every input. Our methods compute in
    float32 from any dtype, and need the copy of one block at a time only.
    """
    gather = task.gather_tensors
    if not isinstance(gather, GatherTensors) or gather.dtype != "float32":
        return task
    plain = gather.model_copy(update={"dtype": None})
    for load in plain.arguments().values():
        if load.dtype or not stored_as_safetensors(load.model):
            return task
        if not _load(load).is_floating_point():  # maps the file, reads nothing
            return task
    return task.model_copy(update={"gather_tensors": plain})


_checked = threading.local()  # `model`: whose files `name_broken_files` has checked in this thread


@contextmanager
def name_broken_files(model: ModelReference) -> Iterator[None]:
    """Turn errors about a truncated or damaged weights file into a ModelError that names the file.

    A local `.bin` file is checked before it is opened, so that only tensors are ever unpickled. A LoRA
    adapter is refused where mergekit has no folder to merge it in.
    """
    if getattr(_checked, "model", None) is model:  # a checkpoint is opened while a tensor of it is read
        yield
        return
    if model.lora and not adapter_folder():
        raise finding("model.adapter", f"model {str(model)!r} names a LoRA adapter").as_error()
    _warn_of_small_disk(model)
    require_folder(model.model.path)
    folder = Path(model.model.path)
    if folder.is_dir():
        _check_weights(folder, model.model.path)
    before, _checked.model = getattr(_checked, "model", None), model
    try:
        yield
    except (SafetensorError, EOFError, UnpicklingError) as error:
        if folder.is_dir():
            read_tensors(model.model.path)  # names the file
        raise ModelError(
            f"{model}: a weights file is truncated or broken ({error}). Fetch or copy it again.",
            id="model.broken",
        ) from error
    except (FileNotFoundError, PermissionError) as error:  # safetensors raises the former for both
        if folder.is_dir() and (unreadable := _unreadable(folder)):
            raise ModelError(f"{unreadable}: cannot be read. Copy it again.", id="model.broken") from error
        raise ModelError(
            f"{model}: a weights file is missing ({error}). Fetch or copy it again.",
            id="model.missing",
        ) from error
    finally:
        _checked.model = before


def _warn_of_small_disk(model: ModelReference) -> None:
    """Print a warning if a model with its LoRA adapter, which mergekit is about to write, has no room."""
    merged = merged_adapter(model)
    if merged is None or merged.exists():
        return
    needed = estimate(MergeFacts("", (FactsReader().read(str(model.model)),)))
    if needed:
        Findings(disk_findings(needed.disk, merged.parent)).print_rest(print_to_stderr)


def _load(load: LoadTensor) -> torch.Tensor:
    with name_broken_files(load.model):
        return load.execute()


def _repeats(load: LoadTensor, other: str) -> bool:
    """Return whether a model's tensor equals another one of its tensors, or is read from it."""
    stored = stored_names(load.model)
    if load.tensor not in stored or other not in stored:
        return True
    return torch.equal(_load(load), _load(load.model_copy(update={"tensor": other})))


def _check_weights(folder: Path, reference: str) -> None:
    """Refuse weights that are missing or not regular files, and `.bin` files with anything but tensors.

    This is called before every tensor. Safetensors files are checked again only if the folder's entries or an
    index have changed.
    """
    name = os.fspath(folder)
    stamps = tuple(file_stamp(path) for path in (name, *(os.path.join(name, index) for index in INDEXES)))
    if CHECKED_FOLDERS.get(folder) == stamps:
        return
    _require_regular_files(folder)
    if is_pickled(folder):
        read_tensors(reference)
    else:
        CHECKED_FOLDERS[folder] = stamps


def _require_regular_files(folder: Path) -> None:
    """Refuse missing weights, and those that are not regular files.

    Opening a pipe blocks, and reading /dev/zero never ends.
    """
    names = weight_files(folder)
    if not names:
        raise finding("model.missing", f"model {folder}: no weights there").as_error()
    for path in (folder / name for name in names):
        if path.exists() and not path.is_file():
            raise ModelError(f"{path}: not a regular file. Copy or fetch it again.", id="model.broken")


def _unreadable(folder: Path) -> Path | None:
    """Return a weights file that exists and that this user may not read."""
    for path in (folder / name for name in weight_files(folder)):
        try:
            path.open("rb").close()
        except PermissionError:
            return path
        except OSError:
            continue
    return None
