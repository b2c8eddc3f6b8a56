"""The seam in mergekit's planner: a recipe and its inputs are checked before anything is written.

For a recipe with one of our methods, `MergePlanner._plan` does this:

    check the recipe        parameters, semantics, models; no weight is read
    open the checkpoints    anew, since mergekit would reuse stale ones
    mergekit's own plan
    check the inputs        missing tensors, shapes, NaN, Inf; the ranking of paper TIES rides along
    hand over               each planned task gets a Context beside its parameters

Other methods' recipes go through untouched.
"""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from mergekit.common import ImmutableMap
from mergekit.merge_methods.task_adapter import ExecuteMergeMethodTask

from mergekit_finance.errors import ModelError
from mergekit_finance.merge_methods import input_checks
from mergekit_finance.merge_methods.method import CptMethod
from mergekit_finance.merge_methods.parameters import CONTEXT, Call, Context
from mergekit_finance.merge_methods.planned import Gathered, PlannedInputs, bound_parameters, reload
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


def _plan_ours(planner: Any, original: Plan) -> None:
    semantics = semantics_of(planner.config)  # before mergekit rewrites the configuration
    check_recipe(planner.config, planner._method, planner.options)
    reload(planner.config.referenced_models())
    put_in_order(planner)
    try:
        original(planner)
    except (RuntimeError, ValueError) as fault:  # what mergekit raises for models that do not fit
        raise ModelError(f"mergekit cannot plan this merge: {fault}") from fault
    context = _context(planner, paper=semantics == "paper")
    planner._tensors = [(weight, _hand_over(task, context)) for weight, task in planner._tensors]


def _context(planner: Any, paper: bool) -> Context:
    """Check every planned input; what the passes found out comes back."""
    method, inputs = planner._method, _inputs(planner)
    ranks = paper and method.ranks_whole_vector
    census = _scan(inputs, method, ranks)
    if paper or method.draws_masks:
        census.refuse_empty()
    whole = WholeVector(inputs, census) if ranks else None
    return Context(whole=whole, rounds_later=planner.config.out_dtype is not None)


def _inputs(planner: Any) -> PlannedInputs:
    options = planner.options
    return PlannedInputs(
        tasks=[task for _, task in planner._tensors],
        tokenizer_task=planner._tokenizer_task,
        # With --multi-gpu a later pass may run on any GPU's thread.
        device="cpu" if options.multi_gpu else options.device or "cpu",
        quiet=options.quiet,
        trust_remote_code=options.trust_remote_code,
    )


def _scan(inputs: PlannedInputs, method: CptMethod, ranks: bool) -> Census:
    """One pass over all inputs, that checks and counts."""

    def bind(gathered: Gathered) -> Call:
        group = gathered.group()
        return Call.of(group, bound_parameters(gathered.task, group, method.spec.input_parameters))

    for task in inputs.tasks:
        for load in inputs.loads(task):
            input_checks.refuse_missing(load)
    census = Census(bind, ranks)
    for gathered in inputs.stream("Checking inputs"):
        input_checks.refuse_values(gathered.stored_names, gathered.stored)
        if gathered.floating:
            census.add(gathered)
        else:
            input_checks.refuse_buffers(gathered.task, gathered.aligned)
    return census


def _hand_over(task: ExecuteMergeMethodTask, context: Context) -> ExecuteMergeMethodTask:
    parameters = ImmutableMap(data={**dict(task.parameters.items()), CONTEXT: context})
    return task.model_copy(update={"parameters": parameters})
