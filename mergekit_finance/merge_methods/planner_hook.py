"""Check a recipe and its inputs inside mergekit's planner, before anything is written.

For a recipe with one of our methods, planning does this:

    check the output        if the merge goes to disk: it must not overwrite an input or the recipe
    check the recipe        parameters, semantics, models; no weight is read
    open the checkpoints    again, because mergekit would reuse those that are open although files changed
    check the side files    tokenizer, generation config, chat template, if the merge goes to disk
    mergekit's own plan
    check the inputs        missing tensors, shapes, NaN, Inf; the same pass ranks for TIES in paper semantics
                            and measures for `similarity: true` where the merge goes to disk
    add a Context           to the parameters of each planned task
    check the models        as `mergekit-finance check` does, with its warnings, if the merge goes to disk
    write all or nothing    where the merge goes to disk: each merged tensor is checked for NaN and Inf

Recipes with other methods are planned by mergekit alone.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

import torch
from mergekit.common import ImmutableMap, dtype_from_name
from mergekit.graph import Task
from mergekit.merge_methods.task_adapter import ExecuteMergeMethodTask

from mergekit_finance.engine.finite import require_finite
from mergekit_finance.errors import ModelError
from mergekit_finance.hosts.mergekit import (
    install_planner_hooks,
    merge_errors,
    planned_tensors,
    planner_method,
    reopen,
    set_planned_tensors,
    tokenizer_task,
)
from mergekit_finance.hosts.mergekit_recipes import install_recipe_hook
from mergekit_finance.merge_methods import check_inputs
from mergekit_finance.merge_methods.check_recipe import (
    check_recipe,
    has_similarity_output,
    semantics_of,
    sort_models,
    validate_recipe,
)
from mergekit_finance.merge_methods.method import CptMethod
from mergekit_finance.merge_methods.parameters import CONTEXT, Call, Context
from mergekit_finance.merge_methods.planned_inputs import (
    PlannedInputs,
    TensorInputs,
    name_broken_files,
    stored_gather,
    without_cast,
)
from mergekit_finance.merge_methods.side_files import check_side_files
from mergekit_finance.merge_methods.whole_vector_thresholds import VectorHistograms, WholeVectorThresholds

if TYPE_CHECKING:
    from mergekit.config import MergeConfiguration
    from mergekit.options import MergeOptions
    from mergekit.plan import MergePlanner

    Plan = Callable[[MergePlanner], None]


class InputMeasurement(Protocol):
    """The measurement of the inputs of a merge to disk (`similarity_file.MeasuredInputs`)."""

    def add(self, inputs: TensorInputs) -> None:
        """Measure the inputs of one output tensor."""

    def write(self, folder: Path) -> None:
        """Write what was measured into the folder of the merged weights."""


class Models(Protocol):
    """The models of a merge to disk (`check_models.MergedModels`)."""

    def check(self, out: Path | None = None) -> None:
        """Check the models of the planned merge, and print warnings."""

    def while_planning(self, out: Path | None = None) -> AbstractContextManager[None]:
        """Replace mergekit's error about models that it cannot plan by the finding of `check`."""


class WriteWhole(Protocol):
    """The change of the tasks of a merge to disk (`hosts.mergekit_writer.write_whole`)."""

    def __call__(
        self,
        tasks: list[Task],
        folder: Path,
        check: Callable[[str, torch.Tensor], object],
        finish: Callable[[Path], object] | None,
    ) -> list[Task]:
        """Return tasks that check every tensor, and leave all weights in the output folder or none."""


@dataclass(frozen=True)
class DiskHooks:
    """The steps for merges to disk only.

    Attributes:
        measure: begins a measurement for `similarity: true`.
        check_before_writing: checks a planner and its output folder.
        models: returns the models of a merge, before it is planned.
        write_whole: changes mergekit's tasks so that all weights are written or none.
    """

    measure: "Callable[[MergeConfiguration], InputMeasurement]"
    check_before_writing: "Callable[[MergePlanner, Path], None]"
    models: "Callable[[MergeConfiguration, MergeOptions], Models]"
    write_whole: WriteWhole


# Set by `install_planner_hook`, not imported: they change no merge, and the keys of stored results hash all
# imports.
_disk: DiskHooks | None = None

# Planners whose merge goes to disk, with what was measured for `similarity: true`.
_to_disk: "WeakKeyDictionary[MergePlanner, InputMeasurement | None]" = WeakKeyDictionary()


@dataclass(frozen=True)
class CheckedPlan:
    """A planned merge whose recipe and inputs passed all checks."""

    inputs: PlannedInputs
    whole: WholeVectorThresholds | None  # None unless TIES in paper semantics was ranked


def install_planner_hook(disk: DiskHooks | None = None) -> None:
    """Add our checks to every merge that this process plans; a second call changes nothing.

    Args:
        disk: for merges that go to disk (`to_disk.HOOKS`). None keeps the steps of an earlier call.
    """
    global _disk
    _disk = disk or _disk
    install_recipe_hook(validate_recipe)
    install_planner_hooks(
        handles=lambda method: isinstance(method, CptMethod),
        plan=_plan,
        tasks_to_disk=_tasks_to_disk,
        opening=name_broken_files,
    )


def check_and_plan(planner: "MergePlanner", mergekit_plan: "Plan", ranks: bool = True) -> CheckedPlan:
    """Check a recipe, plan it, check its inputs, and return the plan.

    Args:
        planner: of a recipe with one of our methods, not planned yet.
        mergekit_plan: mergekit's own planning.
        ranks: False leaves the ranking for TIES in paper semantics out.

    Raises:
        RecipeError, ModelError: what is wrong.
    """
    method, config = planner_method(planner), planner.config
    paper = semantics_of(config) == "paper"  # read before mergekit rewrites the configuration
    check_recipe(config, method, planner.options)
    measured = None
    if planner in _to_disk and has_similarity_output(config) and _disk:
        measured = _to_disk[planner] = _disk.measure(config)
    reopen(config.referenced_models())
    if planner in _to_disk:  # before anything is written; a merge in memory has made them already
        check_side_files(config, planner.options)
    sort_models(planner)
    try:
        mergekit_plan(planner)
    except (RuntimeError, ValueError, LookupError) as error:  # mergekit's about models that do not fit
        raise ModelError(f"mergekit cannot plan this merge: {error}", id="merge.failed") from error
    inputs = _planned_inputs(planner)
    ranks = ranks and paper and method.ranks_whole_vector
    # mergekit aligns vocabularies while tensors are read, and rejects what it cannot align there.
    with merge_errors() if inputs.tokenizer_task else nullcontext():
        histograms = _check_inputs(inputs, method, ranks, measured)
    if paper or method.draws_masks:
        histograms.check_densities()
    return CheckedPlan(inputs, WholeVectorThresholds(inputs, histograms) if ranks else None)


def output_dtypes(planner: "MergePlanner") -> list[torch.dtype | None]:
    """Return the dtype of every output tensor; None: that of its inputs."""
    config = planner.config
    return [
        dtype_from_name(weight.force_dtype or config.out_dtype or config.dtype)
        for weight, _ in planned_tensors(planner)
    ]


def _plan(planner: "MergePlanner", mergekit_plan: "Plan") -> None:
    """Do what mergekit's `_plan` does, with all checks, and give every task its Context."""
    checked = check_and_plan(planner, mergekit_plan)
    rounds_later = planner.config.out_dtype is not None
    tasks = [
        (weight, _with_context(task, Context(checked.whole, rounds_later, dtype)))
        for (weight, _), task, dtype in zip(
            planned_tensors(planner), checked.inputs.tasks, output_dtypes(planner), strict=True
        )
    ]
    set_planned_tensors(planner, tasks)


def _tasks_to_disk(
    planner: "MergePlanner", folder: Path, mergekit_tasks: Callable[[], list[Task]]
) -> list[Task]:
    """Do what mergekit's `plan_to_disk` does, checked first; the weights are written all or not at all."""
    if _disk is None:
        return mergekit_tasks()
    _disk.check_before_writing(planner, folder)
    models = _disk.models(planner.config, planner.options)
    _to_disk[planner] = None
    try:
        with models.while_planning(folder):
            tasks = mergekit_tasks()
        measured = _to_disk[planner]
    finally:
        del _to_disk[planner]
    models.check(folder)
    return _disk.write_whole(tasks, folder, require_finite, measured.write if measured else None)


def _with_context(task: ExecuteMergeMethodTask, context: Context) -> ExecuteMergeMethodTask:
    parameters = ImmutableMap(data={**dict(task.parameters.items()), CONTEXT: context})
    return task.model_copy(update={"parameters": parameters})


def _planned_inputs(planner: "MergePlanner") -> PlannedInputs:
    options = planner.options
    tasks = [task for _, task in planned_tensors(planner)]
    for task in tasks:
        for load in stored_gather(task).arguments().values():
            check_inputs.check_present(load)
    return PlannedInputs(
        tasks=[without_cast(task) for task in tasks],
        tokenizer_task=tokenizer_task(planner),
        # With --multi-gpu a later pass may run on any GPU's thread.
        device="cpu" if options.multi_gpu else options.device or "cpu",
        quiet=options.quiet,
        trust_remote_code=options.trust_remote_code,
    )


def _check_inputs(
    inputs: PlannedInputs, method: CptMethod, ranks: bool, measured: InputMeasurement | None
) -> VectorHistograms:
    """Run one pass over all inputs that checks, counts and measures."""

    def bind(tensor: TensorInputs) -> Call:
        return Call.of(tensor.group(), tensor.parameters(method.spec.input_parameters))

    histograms = VectorHistograms(bind, ranks)
    for tensor in inputs.stream("Checking inputs"):
        check_inputs.check_values(tensor.stored_names, tensor.stored)
        if tensor.floating:
            histograms.add(tensor)
        else:
            check_inputs.check_buffers(tensor.task, tensor.aligned)
        if measured:
            measured.add(tensor)
    return histograms
