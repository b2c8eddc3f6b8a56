"""The seam in mergekit's planner: a recipe and its inputs are checked before anything is written.

For a recipe with one of our methods, `MergePlanner._plan` does this:

    check the recipe        parameters, semantics, models; no weight is read
    open the checkpoints    anew, since mergekit would reuse stale ones
    mergekit's own plan
    check the inputs        missing tensors, shapes, NaN, Inf; the ranking of paper TIES rides along, and
                            so does `similarity: true` where the merge goes to disk
    hand over               each planned task gets a Context beside its parameters

Other methods' recipes go through untouched.
"""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from mergekit.common import ImmutableMap, dtype_from_name
from mergekit.merge_methods.task_adapter import ExecuteMergeMethodTask

from mergekit_finance.errors import ModelError
from mergekit_finance.merge_methods import input_checks, measuring
from mergekit_finance.merge_methods.measuring import Measured
from mergekit_finance.merge_methods.method import CptMethod
from mergekit_finance.merge_methods.parameters import CONTEXT, Call, Context
from mergekit_finance.merge_methods.planned import (
    Gathered,
    PlannedInputs,
    as_stored,
    bound_parameters,
    broken_files,
    reload,
    stored_gather,
)
from mergekit_finance.merge_methods.recipe_checks import check_recipe, put_in_order, semantics_of
from mergekit_finance.merge_methods.whole_vector import Census, WholeVector

Plan = Callable[[Any], None]  # MergePlanner._plan


def install(host: ModuleType) -> None:
    """Wrap `MergePlanner._plan` of the module `mergekit.plan`, once."""
    original = host.MergePlanner._plan
    if getattr(original, "checks_cpt_recipes", False):
        return

    @functools.wraps(original)
    def plan(planner: Any) -> None:
        if isinstance(planner._method, CptMethod):
            _plan_ours(planner, original)
        else:
            original(planner)

    plan.checks_cpt_recipes = True  # type: ignore[attr-defined]
    host.MergePlanner._plan = plan
    host.MergePlanner.plan_to_disk = _measuring(host.MergePlanner.plan_to_disk)
    _name_broken_files(host.LoaderCache)


def _measuring(original: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """`plan_to_disk`, which lets `similarity: true` be measured on the way and written at the end."""

    @functools.wraps(original)
    def plan_to_disk(planner: Any, *arguments: Any, **options: Any) -> list[Any]:
        if not isinstance(planner._method, CptMethod):
            return original(planner, *arguments, **options)
        planner._measures = True
        tasks = original(planner, *arguments, **options)
        measured = getattr(planner, "_measured", None)
        return measuring.finalized(tasks, measured) if measured else tasks

    return plan_to_disk


def _name_broken_files(cache: Any) -> None:
    """mergekit opens all checkpoints before it plans: a truncated one is named there, too."""
    original = cache.get

    @functools.wraps(original)
    def get(self: Any, model: Any) -> Any:
        with broken_files(model):
            return original(self, model)

    cache.get = get


def _plan_ours(planner: Any, original: Plan) -> None:
    inputs, _, whole = checked(planner, original)
    planner._tensors = [
        (weight, _hand_over(task, Context(whole, planner.config.out_dtype is not None, dtype)))
        for (weight, _), task, dtype in zip(planner._tensors, inputs.tasks, dtypes(planner), strict=True)
    ]


def checked(
    planner: Any, original: Plan, ranks: bool = True
) -> tuple[PlannedInputs, Census, WholeVector | None]:
    """Plan, check recipe and inputs; what the passes found out. `ranks=False` leaves the ranking out."""
    semantics = semantics_of(planner.config)  # before mergekit rewrites the configuration
    check_recipe(planner.config, planner._method, planner.options)
    measured = None
    if getattr(planner, "_measures", False) and measuring.wanted(planner.config):
        measured = planner._measured = measuring.begin(planner.config)
    reload(planner.config.referenced_models())
    put_in_order(planner)
    try:
        original(planner)
    except (RuntimeError, ValueError) as fault:  # what mergekit raises for models that do not fit
        raise ModelError(f"mergekit cannot plan this merge: {fault}") from fault
    inputs, method, paper = _inputs(planner), planner._method, semantics == "paper"
    ranks = ranks and paper and method.ranks_whole_vector
    census = _scan(inputs, method, ranks, measured)
    if paper or method.draws_masks:
        census.refuse_empty()
    return inputs, census, WholeVector(inputs, census) if ranks else None


def dtypes(planner: Any) -> list[Any]:
    """Of every output tensor; None: that of its inputs."""
    config = planner.config
    return [dtype_from_name(w.force_dtype or config.out_dtype or config.dtype) for w, _ in planner._tensors]


def _inputs(planner: Any) -> PlannedInputs:
    options = planner.options
    tasks = [task for _, task in planner._tensors]
    for task in tasks:
        for load in stored_gather(task).arguments().values():
            input_checks.refuse_missing(load)
    return PlannedInputs(
        tasks=[as_stored(task) for task in tasks],
        tokenizer_task=planner._tokenizer_task,
        # With --multi-gpu a later pass may run on any GPU's thread.
        device="cpu" if options.multi_gpu else options.device or "cpu",
        quiet=options.quiet,
        trust_remote_code=options.trust_remote_code,
    )


def _scan(inputs: PlannedInputs, method: CptMethod, ranks: bool, measured: Measured | None) -> Census:
    """One pass over all inputs, that checks, counts and measures."""

    def bind(gathered: Gathered) -> Call:
        group = gathered.group()
        return Call.of(group, bound_parameters(gathered.task, group, method.spec.input_parameters))

    census = Census(bind, ranks)
    for gathered in inputs.stream("Checking inputs"):
        input_checks.refuse_values(gathered.stored_names, gathered.stored)
        if gathered.floating:
            census.add(gathered)
        else:
            input_checks.refuse_buffers(gathered.task, gathered.aligned)
        if measured:
            measured.add(gathered)
    return census


def _hand_over(task: ExecuteMergeMethodTask, context: Context) -> ExecuteMergeMethodTask:
    parameters = ImmutableMap(data={**dict(task.parameters.items()), CONTEXT: context})
    return task.model_copy(update={"parameters": parameters})
