"""Texts of the page: counts, the recommendation, cautions, choices, recipes, versions and hashes."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from mergekit_finance.data.registry import GENERATED
from mergekit_finance.errors import first_line
from mergekit_finance.files import JsonObject
from mergekit_finance.operators import value_order, value_text
from mergekit_finance.plugins.manager import report_sections
from mergekit_finance.report import labels
from mergekit_finance.study.analysis import advice_wording, combination_wording, phrases, verdict, wording
from mergekit_finance.study.operator_grids import Values
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import AdviceKind

PACKAGES = ("mergekit-finance", "matplotlib", "jinja2")
UNSET = {"limit": "all items", "max_gen_toks": "as each task says"}  # what settings without a value mean
Pairs = list[tuple[str, str]]  # term and description


@dataclass(frozen=True)
class PointRecipe:
    """The mergekit recipe of a selected point."""

    name: str
    label: str
    text: str


def title(results: StudyResults) -> str:
    """Return the study's name, or its folder's name."""
    return results.study.name or results.folder.resolve().name


def partial_note(results: StudyResults) -> str:
    """Return what is missing from the results of an unfinished study; "" of a finished one."""
    if results.partial_summary is None:
        return ""
    again = "Run the same study command again; it continues."
    if not results.missing_merges:
        return f"Partial: the study was interrupted before its last analysis. {again}"
    evaluated = len(results.points)
    total = evaluated + results.missing_merges
    return f"Partial: {evaluated} of {total} merges are evaluated, and this page shows only these. {again}"


def counts(results: StudyResults) -> Pairs:
    """Return the size of the study in four numbers."""
    items = sum(task.items for task in results.summary.tasks.values())
    return [
        ("merges evaluated", str(len(results.summary.points))),
        ("combinations", str(len(results.combinations))),
        ("tasks", str(len(results.task_names))),
        ("items each model answers", f"{items:,}"),
    ]


@dataclass(frozen=True)
class CombinationSentence:
    """The verdict on a combination: its name, the verdict in a word, and in a sentence."""

    label: str
    word: str
    sentence: str


@dataclass(frozen=True)
class Recommendation:
    """The box at the top of the page. Texts about the decision are those of study.analysis.

    Attributes:
        answer: what to do, in one sentence.
        name: the model or point that the study recommends or selected.
        label: its combination, operator and hyperparameters.
        style: "yes" (green), "unclear" (amber) or "no", for the color of the box.
        is_recommended: whether the study recommends to ship it.
        macro: its macro score with interval.
        gap: the best merge over the best single model, with interval.
        best_single: the best single model.
        has_objective: whether they are compared in the study's own objective, not in the macro average.
        note: what to know about that comparison; may be empty.
        numbers: the intervals that the answer was decided by, in a sentence.
    """

    answer: str
    name: str
    label: str
    style: str
    is_recommended: bool
    macro: str
    gap: str
    best_single: str
    has_objective: bool
    note: str
    numbers: str


def recommendation(results: StudyResults) -> Recommendation:
    """Return the texts of the box at the top of the page."""
    summary, ship = results.summary, results.summary.ship
    advice, point = verdict.advice(summary), summary.points.get(ship.model)
    look = advice_wording.advice_look(summary)
    return Recommendation(
        answer=advice_wording.short_advice(summary),
        name=ship.model,
        label=labels.point_name(point, short=False) if point else f"{ship.model}, not merged",
        style="unclear" if results.partial_summary and look == "yes" else look,
        is_recommended=advice.kind is AdviceKind.SHIP and not verdict.losses(summary),
        macro=phrases.interval(ship.macro),
        gap=phrases.interval(ship.merge_over_single, sign=True),
        best_single=ship.best_single,
        has_objective=summary.objective is not None,
        note=f"{advice_wording.OPTIMISTIC.capitalize()}." if advice.optimistic else "",
        numbers=advice_wording.advice_numbers(summary),
    )


def combination_sentences(results: StudyResults) -> list[CombinationSentence]:
    """Return the verdict on every combination, by stage, for readers who ask what a word means."""
    summary = results.summary
    return [
        CombinationSentence(
            labels.combination(name.split("+")),
            wording.short_effect_word(verdict.effect(summary, name), row.stage),
            combination_wording.combination_sentence(summary, name),
        )
        for name, row in results.combinations.items()
    ]


def cautions(results: StudyResults) -> list[str]:
    """Return what a reader must know before relying on the numbers."""
    notes = [line.text for line in wording.verdict_sentences(results.summary) if line.about == "caution"]
    if limit := results.summary.limit:
        evaluated = "item of every task was" if limit == 1 else f"{limit} items of every task were"
        notes.append(f"Only the first {evaluated} evaluated (a random sample).")
    for task, number in sorted(_object(results.host_results("base"), "truncated_prompts").items()):
        if number:
            prompts, were = ("prompt", "was") if number == 1 else ("prompts", "were")
            notes.append(
                f"{labels.task_name(task)}: {number} {prompts} did not fit the context and {were} cut."
            )
    if results.study.source in GENERATED:
        notes.append(
            "The rows are generated by this project and the models are tiny: results may not carry over to "
            "real models."
        )
    notes.append(
        "Macro scores are means over tasks of different sizes and kinds. Intervals account for the choice of "
        "items, not for other training runs of the models."
    )
    return notes


def choices(results: StudyResults) -> list[tuple[str, Pairs]]:
    """Return what the study file set, what the selection items chose, and what was measured."""
    selected = [
        (
            labels.combination(name.split("+")),
            labels.operator_and_values(results.summary.points[combination.selected], short=False),
        )
        for name, combination in results.combinations.items()
    ]
    items = "reported" if results.summary.selection.is_split else "all"
    return [
        ("Set by the study file", study_settings(results)),
        (f"Hyperparameters {phrases.chosen_by(results.summary.selection)}", selected),
        (f"Measured on {items} items", _measured(results)),
    ]


def study_settings(results: StudyResults) -> Pairs:
    """Return what the study file set."""
    study, selection = results.study, results.summary.selection
    experts = [
        f"{name}: {expert.model} ({', '.join(expert.skills or (name,))})"
        for name, expert in study.experts.items()
    ]
    grids = [
        f"{labels.operator_name(key)} {_grid(operator.parameters())}"
        for key, operator in study.operators.present().items()
    ]
    if not results.summary.has_selection:
        selection_items = "none: nothing was selected"
    elif selection.is_split:
        selection_items = f"{100 * study.selection.share:g} % of the clusters, seed {study.selection.seed}"
    else:
        selection_items = (
            "the reported items themselves" if selection.same_items else "none: nothing was swept"
        )
    return [
        ("base", study.base),
        ("experts and their skills", "; ".join(experts)),
        ("grids", "; ".join(grids)),
        ("search", _search(results)),
        ("semantics", study.semantics),
        (
            "stages 2 and 3 merge",
            "experts" if study.chain == "experts" else "merges of the stage before",
        ),
        ("tasks", ", ".join(study.tasks)),
        ("selection items", selection_items),
        (
            "named tasks",
            "listed in the study file" if study.named else "the tasks of each combination's skills",
        ),
    ]


def _search(results: StudyResults) -> str:
    race = results.study.race
    if race is None:
        return "the full grid"
    return f"successive rejects, {race.share:g} of the grid's answers, seed {race.seed}"


def _grid(parameters: Mapping[str, Values]) -> str:
    """Return the values of each hyperparameter: `density 0.1, 0.2; λ 1`, or `λ of finance 0.6, 1`."""
    by_key = {
        key: list(dict.fromkeys(map(value_text, sorted(of_key, key=value_order))))
        for name, values in parameters.items()
        for key, of_key in (
            {f"{name} of {expert}": each for expert, each in values.items()}
            if isinstance(values, Mapping)
            else {name: values}
        ).items()
    }
    lists = [f"{key} {', '.join(values)}" for key, values in by_key.items()]
    return "; ".join(lists).replace("lambda", "λ") or "without hyperparameters"


def selection_note(results: StudyResults) -> str:
    """Return which items the numbers in the box were computed on."""
    if results.summary.selection.is_split:
        return "best on the selection items; its numbers are from the other items, with 95 % intervals."
    return "best on all items; its numbers are from the same items, with 95 % intervals."


def _measured(results: StudyResults) -> Pairs:
    selection = results.summary.selection
    items = "items not used for selection" if selection.is_split else "all items"
    pairs = [
        ("scores, Gain, OG, retention", f"{items}; bootstrap over clusters of items"),
        ("resamples", str(results.study.resamples)),
    ]
    optimism = selection.optimism.mean if selection.optimism else None
    if optimism is not None and (selection.is_split or selection.same_items):
        gap = f"{phrases.in_points(optimism, sign=True)} points"
        pairs.append(("optimism of selecting and evaluating on the same items", gap))
    return pairs


def selected_recipes(results: StudyResults) -> list[PointRecipe]:
    """Return the mergekit recipe of every selected point."""
    return [
        PointRecipe(name, labels.point_name(results.summary.points[name]), results.recipe_text(name))
        for name in results.selected
    ]


def stored_versions(results: StudyResults) -> Pairs:
    """Return the versions and settings that made the stored results, then the versions that made this page.

    Only the last lines depend on the machine that makes the page: elsewhere the same results give the same
    bytes.
    """
    key = results.key("base").as_json()
    pairs = [(f"{name} (results)", str(v)) for name, v in sorted(_object(key, "versions").items())]
    settings = ("device", "dtype", "engine", "limit", "max_gen_toks")
    hashes = ("answer_code", "request_code", "score_code", "merge_code")
    pairs += [
        (f"{name} (results)", UNSET.get(name, "not set") if key[name] is None else str(key[name]))
        for name in (*settings, *hashes)
        if name in key
    ]
    chat = results.study.evaluation.chat.as_json()
    pairs += [(f"{name} (results)", " ".join(str(value).split())) for name, value in chat.items()]
    pairs += [(f"{name} (this page)", _version(name)) for name in PACKAGES]
    return [*pairs, ("Python (this page)", platform.python_version())]


def _object(content: JsonObject, key: str) -> JsonObject:
    """Return the object under a key, or an empty one."""
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def hashes(results: StudyResults) -> list[tuple[str, Pairs]]:
    """Return what identifies the models, the tasks and the results."""
    task_hashes = _object(results.host_results("base"), "task_hashes")
    of_tasks = []
    others = [name for unit in results.summary.units for name in unit.tasks]
    for name in (*results.task_names, *others):
        task = results.summary.all_tasks[name]
        parts = (task.version, task.license, task_hashes.get(name))
        of_tasks.append((labels.task_name(name), "  ".join(str(part) for part in parts if part)))
    return [
        (
            "Models (fingerprint of files)",
            [(name, f"{m.reference}  {m.fingerprint}") for name, m in results.summary.models.items()],
        ),
        ("Tasks (version, license, hash of prompts and answers)", of_tasks),
        (
            "Results (folder: name and hash of what determines them)",
            [(n, results.summary.points[n].folder) for n in results.selected or results.summary.points],
        ),
    ]


def plugin_sections(results: StudyResults) -> list[tuple[str, str]]:
    """Return (title, text) of the sections that plugins add. If a plugin fails, the text is its error."""
    texts = []
    for section in report_sections():
        if section.render_study is None:
            continue
        try:
            text = str(section.render_study(results.summary.as_json()) or "")
        except Exception as error:  # a plugin may raise anything; the report is built without it
            text = f"(left out: {type(error).__name__}: {first_line(error)})"
        if text:
            texts.append((section.title, text))
    return texts
