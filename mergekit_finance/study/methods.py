"""Merge methods of mergekit and its plugins as operators: their input models, recipes and checks.

What a method declares comes from mergekit's registry, which is loaded only for studies that name a method
besides the three operators.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

from mergekit_finance.checks.findings import Finding, finding
from mergekit_finance.errors import RecipeError, did_you_mean
from mergekit_finance.files import Json
from mergekit_finance.hosts.mergekit_methods import MethodFacts, MethodParameter, method_facts, trial_error
from mergekit_finance.hosts.mergekit_recipes import register_methods
from mergekit_finance.operators import (
    BY_METHOD,
    DRAWS_NOTHING,
    OPERATORS,
    by_parameter,
    method_key,
    method_name,
    number_of,
)
from mergekit_finance.plugins.manager import merge_methods
from mergekit_finance.study.operator_grids import BASE, MethodGrid, Operators, Values, check_grid

MAX_TRIALS = 200  # points of a method whose parameters are tried on small tensors
STAGES = (1, 2, 3)
TRIED = tuple("abcdefghi")  # names of models with which a method's numbers of models are tried
WEIGHT = "weight"  # 1 where a recipe must give it and a study does not


@cache
def registered() -> dict[str, MethodFacts]:
    """Return the facts about the methods of mergekit and of all plugins, by name."""
    register_methods(merge_methods())
    return method_facts()


@dataclass(frozen=True)
class InputModels:
    """The models of a recipe by name: those under `models:`, and `base_model`, which may be one of them."""

    listed: tuple[str, ...]
    base: str | None

    @property
    def every(self) -> list[str]:
        """The names of all input models."""
        return list(dict.fromkeys([*([self.base] if self.base else []), *self.listed]))


def input_models(method: MethodFacts, sources: Sequence[str]) -> InputModels | None:
    """Return which models a method merges for some experts, or None if their number does not fit.

    A method that needs a base gets the study's. If it then refuses two experts, it gets the first of them as
    its base: SLERP goes from the first to the second. Other methods merge the experts, in stage 1 the base
    and the expert.

    Args:
        sources: names of the experts, or of the merges that `chain: best` merges.
    """
    names = tuple(sources)
    with_base = InputModels(names, BASE)
    plain = InputModels((BASE, *names) if len(names) == 1 else names, None)
    choices = {
        "required": [with_base, *([InputModels(names, names[0])] if len(names) == 2 else [])],
        "optional": [plain, with_base] if len(names) == 1 else [with_base, plain],
        "none": [plain],
    }
    return next((one for one in choices[method.base] if not method.accepts(one.every, one.base)), None)


def fits(key: str, sources: Sequence[str]) -> bool:
    """Return whether an operator merges this number of models; the three operators merge any."""
    return key in OPERATORS or input_models(_method(key), sources) is not None


def method_recipe(
    key: str, values: Mapping[str, Json], sources: Mapping[str, str], base: str, out_dtype: str
) -> dict[str, Json]:
    """Return the plain mergekit recipe of a point. The seed of random numbers is not a part of it.

    Args:
        key: of the operator.
        values: of the point.
        sources: references of the merged models by name.
        base: reference of the base.
        out_dtype: of the merged weights.

    Raises:
        ValueError: the method does not merge so many models.
    """
    method = _method(key)
    models = input_models(method, list(sources))
    if models is None:
        raise ValueError(f"{key} does not merge {len(sources)} models")
    references = {BASE: base, **sources}
    shared, of_models = _bound(method, values, models)
    return {
        "merge_method": method.name,
        **({"base_model": references[models.base]} if models.base else {}),
        "models": [
            {"model": references[name], "parameters": {p: v[name] for p, v in of_models.items() if name in v}}
            for name in models.listed
        ],
        "parameters": shared,
        "dtype": "float32",
        "out_dtype": out_dtype,
    }


def _method(key: str) -> MethodFacts:
    """Return the facts about an operator's method. Raises KeyError if it is not registered."""
    return registered()[method_name(key)]


def _bound(
    method: MethodFacts, values: Mapping[str, Json], models: InputModels
) -> tuple[dict[str, Json], dict[str, dict[str, Json]]]:
    """Return the merge's parameters, and the values by model of those that belong to models."""
    nested = by_parameter(values)
    shared: dict[str, Json] = {}
    of_models: dict[str, dict[str, Json]] = {}
    for name, parameter in method.parameters.items():
        if name not in nested and not (name == WEIGHT and parameter.required):
            continue
        value = nested.get(name, 1.0)
        if parameter.scope == "merge":
            shared[name] = value
            continue
        having = [model for model in models.every if parameter.scope == "model" or model != models.base]
        by_model = value if isinstance(value, dict) else dict.fromkeys(having, value)
        if name == WEIGHT:
            by_model = {**dict.fromkeys(having, 1.0), **by_model}
        of_models[name] = {model: by_model[model] for model in having if model in by_model}
    return shared, of_models


# ---- checks


def check_methods(operators: Operators, stages: Sequence[int], experts: Sequence[str], where: str) -> None:
    """Check the merge methods of a study and their parameters against what the methods declare.

    Args:
        operators: the grids of all operators.
        stages: numbers of the stages that are run.
        experts: names of all experts.
        where: the study file, for messages.

    Raises:
        RecipeError: a method or parameter does not exist, a value is wrong, or no stage has so many models.
    """
    if not operators.methods:
        return
    for key, grid in operators.methods.items():
        if problem := _unknown_method(key):
            raise RecipeError(f"{where}: operators: {problem}", id="study.unknown-key")
        for problem in _problems(key, grid, stages, experts):
            raise RecipeError(f"{where}: operators.{key}{problem}")
    for stage in stages:
        if not any(fits(key, experts[:stage]) for key in operators.present()):
            raise RecipeError(
                f"{where}: operators: none merges the models of stage {stage}. Add one, such as "
                f"task_arithmetic, or leave the stage out."
            )


def skipped_stages(operators: Operators, stages: Sequence[int], experts: Sequence[str]) -> list[Finding]:
    """Return a note for every stage in which an operator is not run; arguments as for `check_methods`."""
    notes = []
    for key in operators.methods:
        for stage in sorted(stages):
            if fits(key, experts[:stage]):
                continue
            refusal = _refusal(_method(key), stage)
            notes.append(finding("study.skipped-stage", f"{key} is not run in stage {stage}: {refusal}"))
    return notes


def _refusal(method: MethodFacts, stage: int) -> str:
    """Return how many models a method takes, how many a stage has, and which stages it fits."""
    stages = [number for number in STAGES if input_models(method, TRIED[:number])]
    fitting = (
        f"stage{'s' if len(stages) > 1 else ''} {' and '.join(map(str, stages))}" if stages else "no stage"
    )
    experts = "1 expert" if stage == 1 else f"{stage} experts"
    return (
        f"it merges {_counts(method)}, and a combination of stage {stage} has {experts} and the base. "
        f"It fits {fitting}"
    )


def _counts(method: MethodFacts) -> str:
    """Return the numbers of models that a method takes, the base included."""
    bases: list[str | None] = [TRIED[0]] if method.base != "none" else []
    bases += [None] if method.base != "required" else []
    counts = [
        n for n in range(1, len(TRIED) + 1) if any(not method.accepts(TRIED[:n], base) for base in bases)
    ]
    if counts and counts[-1] == len(TRIED):
        return f"{counts[0]} or more models"
    return f"{' or '.join(map(str, counts)) or 'no number of'} model{'' if counts == [1] else 's'}"


def _unknown_method(key: str) -> str:
    """Return what is wrong with the name of a method, or ""."""
    if key in BY_METHOD:
        return f"{key!r} is written {BY_METHOD[key].key!r} in a study"
    names = registered()
    if method_name(key) in names and method_key(method_name(key)) == key:
        return ""
    others = [method_key(name) for name in names if name not in BY_METHOD]
    return f"unknown merge method {key!r}. {did_you_mean(key, [*OPERATORS, *others])}"


def _problems(key: str, grid: MethodGrid, stages: Sequence[int], experts: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with a method's grid, after its key."""
    method, parameters = _method(key), grid.parameters()
    if grid.seeds:
        del parameters["seed"]
        if method.name in DRAWS_NOTHING:
            reason = f"{key} draws no random numbers, so each seed would give the same model"
            yield f".seeds: {reason}. Remove seeds"
    for name in parameters:
        if name not in method.parameters:
            yield f": unknown parameter {name!r}. {did_you_mean(name, method.parameters)}"
            return
    every = [names for stage in stages for names in combinations(experts, stage)]
    try:
        check_grid(grid, every, () if method.base == "required" else (BASE,))
    except ValueError as error:
        yield f".{error}"
    for name, parameter in method.parameters.items():
        if name in parameters:
            yield from _parameter_problems(parameter, parameters[name], experts)
        elif parameter.required and name != WEIGHT:
            yield f": parameter {name!r} is missing, which the method requires. Write values for it"
    yield from _trial_problems(method, grid, every)


def _parameter_problems(parameter: MethodParameter, values: Values, experts: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the values of one parameter."""
    name, each = parameter.name, [values]
    if isinstance(values, Mapping):
        if parameter.scope == "merge":
            yield f".{name}: is one value for the merge, not one for each model. Write a value or a list"
        missing = [expert for expert in experts if expert not in values]
        if missing and parameter.required and name != WEIGHT:
            text = "and the method requires one. Write one for each expert"
            yield f".{name}: no value for {', '.join(missing)}, {text}"
        each = list(values.values())
    for value in (value for settings in each for value in settings):
        if problem := _value_problem(parameter, value) or _density_problem(parameter, value):
            yield f".{name}: {value!r} {problem}"


def _value_problem(parameter: MethodParameter, value: Json) -> str:
    """Return what is wrong with a value, or ""."""
    if isinstance(value, list):
        is_gradient = not any(isinstance(part, Mapping) for part in value)
        if is_gradient and parameter.kind != "a number":
            return f"is a gradient, but the parameter is {parameter.kind}"
        parts = value if is_gradient else [part.get("value") for part in value if isinstance(part, dict)]
        if not is_gradient and parameter.required and any("filter" in part for part in value[-1:]):
            return "has no last entry without `filter`, which a required parameter needs"
        return next(filter(None, (_value_problem(parameter, part) for part in parts)), "")
    number = number_of(value)
    is_right = {
        "a number": number is not None,
        "a whole number": isinstance(value, int) and number is not None,
        "true or false": isinstance(value, bool),
        "text": isinstance(value, str),
    }
    if not is_right[parameter.kind]:
        return f"is not {parameter.kind}{_as_number(value)}"
    return ""


def _density_problem(parameter: MethodParameter, value: Json) -> str:
    """Return what is wrong with a density of the whole model, or "". With 0 the merge is the base."""
    number = number_of(value) if parameter.name == "density" and not isinstance(value, list) else None
    if number is None or 0 < number <= 1:
        return ""
    return "is not above 0 and at most 1: it is the share of the changes that is kept"


def _as_number(value: Json) -> str:
    """Return how to write text that looks like a number: YAML reads `1e-3` as text."""
    try:
        number = float(value) if isinstance(value, str) else math.nan
    except ValueError:
        number = math.nan
    return f". Write {number!r}" if math.isfinite(number) else ""


def _trial_problems(method: MethodFacts, grid: MethodGrid, every: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield what the method says of the number of models, or of points' values, tried on small tensors."""
    merged = [(names, models) for names in every if (models := input_models(method, names))]
    if not merged:
        fits_some = any(input_models(method, TRIED[:number]) for number in STAGES)
        remedy = "Remove it, or list a stage that it fits" if fits_some else "Remove it"
        yield f": {_refusal(method, len(every[-1]))}. {remedy}"
        return
    tried: set[str] = set()
    for names, models in merged:
        for values in grid.grid(names):
            shared, of_models = _bound(method, {k: _plain(v) for k, v in values.items()}, models)
            trial = repr((len(names), shared, [list(by_model.values()) for by_model in of_models.values()]))
            if trial in tried or len(tried) >= MAX_TRIALS:
                continue
            tried.add(trial)
            if problem := trial_error(method.name, models.every, models.base, shared, of_models):
                yield f": {problem}. Tried with {values}"


def _plain(value: Json) -> Json:
    """Return the first scalar of a gradient or of filters, as a trial has one tensor."""
    while isinstance(value, list):
        value = value[0]
        value = value.get("value") if isinstance(value, dict) else value
    return value
