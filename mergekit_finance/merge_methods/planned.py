"""The inputs of a planned merge, one output tensor at a time.

mergekit's planner knows what a method cannot see: which tensors there are, how a `tokenizer:` block
permutes them, which dtype they are cast to. Whole-model quantities are therefore taken from the
planned gather tasks, each run alone through mergekit's own executor, so that they are the very
tensors that the merge will see, and never more than one output tensor's worth is in memory.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tqdm
from mergekit.common import ModelReference
from mergekit.graph import Executor, Task, TaskHandle, TaskUniverse
from mergekit.io.tasks import GatherTensors, LoaderCache, LoadTensor
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

from mergekit_finance.errors import ModelError
from mergekit_finance.merge_methods.input_checks import Tensors, refuse_shapes
from mergekit_finance.models.facts import read_tensors


@dataclass(frozen=True)
class Gathered:
    """One output tensor's inputs."""

    task: ExecuteMergeMethodTask
    stored: Tensors  # as the checkpoints hold them, cast to the recipe's dtype
    aligned: Tensors  # after a tokenizer block has had its way
    tied_to: str | None  # the output tensor that this one repeats

    @property
    def name(self) -> str:
        return self.task.output_weight.name

    @property
    def stored_names(self) -> dict[ModelReference, str]:
        """What each model calls it."""
        return {model: weight.name for model, weight in stored_gather(self.task).weight_info.items()}

    @property
    def floating(self) -> bool:
        """False for buffers of integers, which mergekit copies instead of merging."""
        return all(tensor.is_floating_point() for tensor in self.aligned.values())

    @property
    def size(self) -> int:
        return next(iter(self.aligned.values())).numel()

    def group(self) -> TensorGroup:
        base = self.task.base_model
        entries = [
            TensorEntry(id=model, tensor=self.aligned[model], is_base=model == base)
            for model in self.task.model_order
        ]
        return TensorGroup(tuple(entries), TensorMetadata.from_weight_info(self.task.output_weight))


@dataclass(frozen=True)
class PlannedInputs:
    """Streams the inputs of planned tasks."""

    tasks: Sequence[ExecuteMergeMethodTask]
    tokenizer_task: Task | None
    device: str
    quiet: bool = False
    trust_remote_code: bool = False

    def stream(self, purpose: str) -> Iterator[Gathered]:
        """Every output tensor in the planner's order, which is that of the files."""
        for task in tqdm.tqdm(self.tasks, desc=purpose, disable=self.quiet):
            yield self._gather(task)

    @cached_property
    def names(self) -> list[str]:
        return [task.output_weight.name for task in self.tasks]

    def _gather(self, task: ExecuteMergeMethodTask) -> Gathered:
        outer, inner = task.gather_tensors, stored_gather(task)
        if outer is inner and self.device == "cpu":
            return self._plain(task)
        universe = TaskUniverse([outer])
        stored = self._run(universe.get_handle(inner), {})
        aligned = stored
        if outer is not inner:
            refuse_shapes(task, stored, free_axis=task.output_weight.vocabulary_axis)
            known = {universe.get_handle(inner): stored, **self._known(universe)}
            aligned = self._run(universe.get_handle(outer), known)
        refuse_shapes(task, aligned)
        return Gathered(task, stored, aligned, self._tied_to(task))

    def _plain(self, task: ExecuteMergeMethodTask) -> Gathered:
        """Without the executor, whose graph takes longer than the mapping of a few files."""
        gather = stored_gather(task)
        loaded = {key: _load(load) for key, load in gather.arguments().items()}
        tensors = gather.execute(**loaded)
        refuse_shapes(task, tensors)
        return Gathered(task, tensors, tensors, self._tied_to(task))

    def _run(self, target: TaskHandle, known: dict[TaskHandle, Any]) -> Tensors:
        executor = Executor([target], self.device, self.device, known)
        ((_, tensors),) = executor.run(quiet=True)
        return tensors

    def _known(self, universe: TaskUniverse) -> dict[TaskHandle, Any]:
        """The merged tokenizer, which would otherwise be built again for every tensor and pass."""
        handle = universe.get_handle(self.tokenizer_task) if self.tokenizer_task else None
        return {handle: self._tokenizer} if handle else {}

    @cached_property
    def _tokenizer(self) -> Any:
        return self.tokenizer_task.execute() if self.tokenizer_task else None

    def _tied_to(self, task: ExecuteMergeMethodTask) -> str | None:
        """The tensor that this one repeats, if every model's config ties the two."""
        present = [name for name in task.output_weight.tied_names or () if name in self.names]
        return present[0] if present and all(map(self._ties, task.model_order)) else None

    def _ties(self, model: ModelReference) -> bool:
        config = model.config(trust_remote_code=self.trust_remote_code)
        return bool(getattr(config, "tie_word_embeddings", False))


def stored_gather(task: ExecuteMergeMethodTask) -> GatherTensors:
    """The gather task under a permutation or truncation of the vocabulary, or the task itself."""
    return getattr(task.gather_tensors, "gather_tensors", task.gather_tensors)


def as_stored(task: ExecuteMergeMethodTask) -> ExecuteMergeMethodTask:
    """The same task on tensors as the files hold them, where that gives the same bits.

    A recipe that says `dtype: float32` makes mergekit hold a float32 copy of every input. Our methods
    compute in float32 whatever they are given, so that a copy of a block at a time will do.
    """
    gather = task.gather_tensors
    if not isinstance(gather, GatherTensors) or gather.dtype != "float32":
        return task
    plain = gather.model_copy(update={"dtype": None})
    for load in plain.arguments().values():
        if load.dtype or not LoaderCache().get(load.model).index.is_safetensors:
            return task
        if not _load(load).is_floating_point():  # mapped, not read
            return task
    return task.model_copy(update={"gather_tensors": plain})


def in_files(gathered: Gathered) -> Tensors:
    """One output tensor's inputs as the files hold them, not cast to the recipe's dtype; where a tokenizer
    block has had its way, as aligned by it."""
    inner = stored_gather(gathered.task)
    if inner is not gathered.task.gather_tensors or inner.dtype is None:
        return gathered.aligned
    plain = inner.model_copy(update={"dtype": None})
    return plain.execute(**{key: _load(load) for key, load in plain.arguments().items()})


def bound_parameters(
    task: ExecuteMergeMethodTask, group: TensorGroup, specs: Sequence[ParameterSpec]
) -> dict[str, Any]:
    """The task's resolved parameters, as mergekit hands them to the method."""
    values = dict(task.parameters.items())
    for spec in specs:
        inputs = group.entries if spec.scope == ParameterScope.INPUT else group.non_base
        values[spec.name] = PerInputValues([(e.id, task.input_parameters[e.id][spec.name]) for e in inputs])
    return values


@contextmanager
def broken_files(model: ModelReference) -> Iterator[None]:
    """A truncated or garbled safetensors file is the user's to mend: say whose it is."""
    try:
        yield
    except (SafetensorError, EOFError) as fault:
        if Path(model.model.path).is_dir():
            read_tensors(model.model.path)  # names the file
        raise ModelError(
            f"{model}: a weights file is truncated or broken ({fault}); fetch or copy it again"
        ) from fault
    except FileNotFoundError as fault:
        raise ModelError(f"{model}: a weights file is missing ({fault}); fetch or copy it again") from fault


def _load(load: LoadTensor) -> Any:
    with broken_files(load.model):
        return load.execute()


def reload(models: Sequence[ModelReference]) -> None:
    """Forget every open checkpoint and open these anew.

    mergekit keeps loaders for the life of the process: a model whose files changed would silently be
    merged with its old weights. Opened here, on the main thread, since mergekit's GPU threads do not
    know the cache folder that was set.
    """
    LoaderCache.loaders.clear()
    for model in models:
        LoaderCache().get(model)
