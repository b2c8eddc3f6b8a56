"""The card's text: what was merged, how well it does, obligations, limits, how to reproduce it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from mergekit_finance.data.registry import GENERATED
from mergekit_finance.files import Json
from mergekit_finance.models.licenses import License, find_license
from mergekit_finance.operators import operator_of, values_text
from mergekit_finance.plugins.api import Dataset
from mergekit_finance.plugins.manager import datasets
from mergekit_finance.report import labels
from mergekit_finance.share import languages
from mergekit_finance.share.bibliography import bibtex
from mergekit_finance.share.card_tables import cell, imported_models, table
from mergekit_finance.share.choice import SharedPoint, is_foreign
from mergekit_finance.share.facts import CardFacts
from mergekit_finance.share.front_matter import aggregation_in_words
from mergekit_finance.share.source_models import (
    SourceModel,
    missing_texts,
    obstacles,
    required_licenses,
)
from mergekit_finance.share.usage import reproduce, use
from mergekit_finance.study.analysis import search_wording
from mergekit_finance.study.analysis.advice_wording import OPTIMISTIC, advice_for_point
from mergekit_finance.study.analysis.item_flips import (
    GAIN_AND_OG,
    flips_note,
    flips_of_gain,
    flips_of_og,
    flips_text,
)
from mergekit_finance.study.analysis.objective_wording import objective_sentences
from mergekit_finance.study.analysis.phrases import (
    in_points,
    interval,
    interval_in_words,
    task_list,
    weights_note,
)
from mergekit_finance.study.analysis.unit_wording import NO_INTERVAL, amount, unit_title
from mergekit_finance.study.analysis.verdict import advice
from mergekit_finance.study.analysis.wording import too_few_clusters
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import TaskEffect, TaskSet, UnitResults

SEMANTICS = {
    "paper": "the operators are as their papers define them (TIES ranks the whole task vector)",
    "mergekit": "the operators are as mergekit defines them (ranked and normalized tensor by tensor)",
}
TASK_SETS = {"macro": "all tasks", "own": "tasks of its skills", "retention": "retention", "probes": "probes"}
STUDY_PAPER = "The study's stages, Gain and OG: Ueda, Portet, Suwa, Yasumoto, "
STUDY_TITLE = "Merging Continual Pretraining Models for Domain-Specialized LLMs: A Case Study in Finance, "
STUDY_NUMBER = "arXiv 2511.02451"


def body_text(choice: SharedPoint, facts: CardFacts) -> str:
    """Return everything below the front matter."""
    sections = (
        _head(choice),
        use(choice, facts),
        _scores(choice),
        _figures(choice, facts),
        _recipe(facts),
        _licenses(choice, facts),
        _limits(choice),
        _reproduction(choice, facts),
        _citation(choice),
    )
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _head(choice: SharedPoint) -> Iterator[str]:
    summary = choice.results.summary
    yield f"# {choice.title}"
    yield ""
    yield from (f"**{x.built_with}**\n" for x in required_licenses(choice.models) if x.built_with)
    yield _what_it_is(choice)
    yield ""
    yield advice_for_point(summary, choice.point)
    yield ""
    if summary.has_selection and advice(summary).optimistic:
        yield f"*{OPTIMISTIC.capitalize()}.*"
        yield ""
    rows = [[m.name, _role(choice, m), _link(m), f"`{m.fingerprint}`"] for m in choice.models]
    yield table(["name", "role", "model", "fingerprint"], rows)
    if local := [model.name for model in choice.models if not model.hub_id]:
        yield ""
        yield f"Not on the Hub: {', '.join(local)}."


def _what_it_is(choice: SharedPoint) -> str:
    """Return one sentence on the models, the operator and the study."""
    entry = choice.entry
    first, *others = [f"`{name}`" for name in (["base"] if entry.stage == 1 else []) + entry.combination]
    names = " and ".join(filter(None, [", ".join([first, *others[:-1]]), *others[-1:]]))
    hyperparameters = _hyperparameters(entry.values)
    in_study = f" Its name in the study is `{choice.point}`." if choice.title != choice.point else ""
    return (
        f"A merge of {names} with {labels.operator_name(entry.operator)} ({hyperparameters}), made with "
        "[mergekit](https://github.com/arcee-ai/mergekit) and `mergekit-finance`. It is "
        f"{one_of(len(choice.results.points))} of a study.{in_study}"
    )


def _role(choice: SharedPoint, model: SourceModel) -> str:
    """Return `base`, or `expert in finance`."""
    if model.name == "base":
        return "base"
    return f"expert in {', '.join(sorted(choice.results.study.skills[model.name]))}"


def _link(model: SourceModel) -> str:
    """Return a link to a model on the Hub, or the path of a local folder."""
    if not model.hub_id:
        return f"`{model.reference}`"
    name, _, revision = model.hub_id.partition("@")
    return f"[{name}](https://huggingface.co/{name}{f'/tree/{revision}' if revision else ''})"


def one_of(merges: int) -> str:
    """Return `one of the 3 merges`, or `the only merge`."""
    return "the only merge" if merges == 1 else f"one of the {merges} merges"


def _hyperparameters(values: Mapping[str, Json]) -> str:
    return values_text(values, {"lambda": "λ"}) or "no hyperparameters"


# ---- scores


def _scores(choice: SharedPoint) -> Iterator[str]:
    yield "## Scores"
    if choice.effects.tasks:
        yield ""
        yield from _score_tables(choice)
    for unit in choice.results.summary.units:
        yield ""
        yield from _unit(choice, unit)
    yield from imported_models(choice.results)


def _score_tables(choice: SharedPoint) -> Iterator[str]:
    """Yield the tables of scores in [0, 1], by set of tasks and by task."""
    effects = choice.effects
    base_columns = [] if _base_is_constituent(choice) else ["base", "over base"]
    yield from _definitions(choice)
    yield _selection_note(choice)
    for _, sentence in objective_sentences(choice.results.summary, "+".join(choice.entry.combination)):
        yield ""
        yield sentence
    if weighted := weights_note({name: task.weight for name, task in choice.results.tasks.items()}):
        yield ""
        yield weighted
    if base_columns:
        yield ""
        yield (
            "The base is not a constituent here, so Gain and OG do not compare with it; the columns "
            "`base` and `over base` do."
        )
    yield ""
    columns = [*effects.constituents, "Gain", "OG", *base_columns, "items vs base"]
    sets = {name: effects.sets[name] for name in TASK_SETS if name in effects.sets}
    rows = [_set_row(choice, row, TASK_SETS[name]) for name, row in sets.items()]
    yield table(["mean over (tasks)", "score", *columns], rows)
    yield ""
    header = [
        "task",
        "items",
        "score",
        *effects.constituents,
        "Gain",
        "OG",
        "verdict",
        *base_columns,
        "items vs base",
    ]
    yield table(header, [_task_row(choice, name, row) for name, row in effects.tasks.items()])
    yield ""
    yield f"Metrics: {_aggregations(choice)}."


def _definitions(choice: SharedPoint) -> Iterator[str]:
    """Yield the terms of the two tables, as a list."""
    sets = choice.effects.sets
    yield (
        "Scores are in points of 100, with 95 % confidence intervals (bootstrap over clusters: a cluster is "
        "an item, or several items from one source)."
    )
    yield ""
    yield "- **Constituents** are the models that go into the merge; their columns have their names."
    yield "- **Gain**: the merge's score minus the mean of its constituents' scores."
    yield "- **OG** (outperform gap): the merge's score minus the score of the best constituent on each task."
    yield (
        f"- **Items**: answers that became right (+) and wrong (-), {GAIN_AND_OG}, and against the base in "
        "the last column."
    )
    if "retention" in sets:
        yield "- **Retention** tasks measure general skills that continual pre-training may reduce."
    if "probes" in sets:
        yield "- **Probes** measure single skills outside the tasks."
    yield ""


def _unit(choice: SharedPoint, unit: UnitResults) -> Iterator[str]:
    """Yield a table of values in a unit of their own, which are in no mean above."""
    models = [*choice.effects.constituents, choice.point]
    yield f"In {unit_title(unit)}; Gain and OG above 0 mean that the merge is better:"
    yield ""
    rows = [
        [
            labels.task_name(task),
            *(amount(unit.models[model].values[task]) for model in models),
            amount(unit.models[choice.point].gain[task], True),
            amount(unit.models[choice.point].og[task], True),
        ]
        for task in unit.tasks
    ]
    macro = unit.models[choice.point]
    means = [amount(unit.models[model].macro) for model in models]
    rows.append(["macro", *means, amount(macro.macro_gain, True), amount(macro.macro_og, True)])
    yield table(["task", *models[:-1], "merge", "Gain", "OG"], rows)
    if unit.without_items:
        yield ""
        yield NO_INTERVAL.format(tasks=task_list(unit.without_items))


def _selection_note(choice: SharedPoint) -> str:
    selection = choice.results.summary.selection
    if not choice.results.summary.has_selection:
        return "All scores are on all items."
    if selection.is_split:
        note = search_wording.search_note(choice.results.summary)
        return f"Hyperparameters were selected on other items of the same datasets. {note}".rstrip()
    if selection.same_items:
        return "Hyperparameters were selected on these same items: the scores are optimistic."
    return "Nothing was swept, so the scores are on all items."


def _base_is_constituent(choice: SharedPoint) -> bool:
    return "base" in choice.effects.constituents


def _set_row(choice: SharedPoint, row: TaskSet, title: str) -> list[str]:
    constituents = [in_points(row.constituents[name].value) for name in choice.effects.constituents]
    cells = [f"{title} ({len(row.tasks)})", interval(row.score), *constituents]
    cells += _gain_and_og(choice, row, row.tasks)
    if not _base_is_constituent(choice):
        if row.base is None or row.over_base is None:  # a summary of an older version
            cells += ["", ""]
        else:
            cells += [in_points(row.base.value), interval_in_words(row.over_base, sign=True)]
    return [*cells, flips_text(row.flips.get("base"))]


def _task_row(choice: SharedPoint, name: str, row: TaskEffect) -> list[str]:
    constituents = [in_points(row.constituents[model]) for model in choice.effects.constituents]
    cells = [name.removeprefix("finance_bench_"), str(row.items), interval(row.score), *constituents]
    cells += [*_gain_and_og(choice, row, [name]), row.verdict]
    if not _base_is_constituent(choice):
        base = choice.results.measured("base").scores[name]
        cells += [in_points(base), in_points(row.score.value - base, sign=True)]
    return [*cells, flips_text(row.flips.get("base"))]


def _gain_and_og(choice: SharedPoint, row: TaskSet | TaskEffect, tasks: Sequence[str]) -> list[str]:
    """Return Gain and OG over these tasks, each with the items that flipped."""
    return [
        f"{interval_in_words(row.gain, sign=True)}{flips_note(flips_of_gain(choice.effects, tasks))}",
        f"{interval_in_words(row.og, sign=True)}{flips_note(flips_of_og(choice.effects, tasks))}",
    ]


def _aggregations(choice: SharedPoint) -> str:
    tasks: dict[str, list[str]] = {}
    for name, task in choice.results.tasks.items():
        tasks.setdefault(aggregation_in_words(task), []).append(name.removeprefix("finance_bench_"))
    return "; ".join(f"{aggregation} ({', '.join(names)})" for aggregation, names in sorted(tasks.items()))


# ---- figures, recipe, licenses


def _figures(choice: SharedPoint, facts: CardFacts) -> Iterator[str]:
    yield "## Figures"
    yield ""
    if not choice.results.summary.has_selection:
        yield "None: the figures show selected merges, and nothing was selected."
    elif not facts.figures:
        yield "None: matplotlib was missing when this card was made."
    for name, caption in facts.figures.items():
        yield f"![{caption}](figures/{name})\n"


def _recipe(facts: CardFacts) -> Iterator[str]:
    yield "## Recipe"
    yield ""
    yield "`mergekit_config.yml`, for `mergekit-yaml` with mergekit-finance installed:"
    yield ""
    yield f"```yaml\n{facts.recipe.rstrip()}\n```"


def _licenses(choice: SharedPoint, facts: CardFacts) -> Iterator[str]:
    yield "## Licenses and duties"
    yield ""
    rows = []
    for model in choice.models:
        for one in model.licenses:
            named_by = [where for where, name in model.claims.items() if find_license(name).id == one.id]
            link = f"[{one.title}]({one.link})" if one.link else one.title
            rows.append([model.name, f"`{model.shown}`", link, ", ".join(named_by) or "nowhere"])
    yield table(["name", "model", "license", "stated in"], rows)
    yield ""
    yield "A merge has the duties of all its source models:"
    yield ""
    licenses: list[License] = required_licenses(choice.models)
    yield from dict.fromkeys(f"- {duty}" for one in licenses for duty in one.duties)
    yield from _authors(choice.models)
    if reasons := obstacles(choice.models):
        yield ""
        yield f"**Do not share this, with or without weights,** until you have checked: {'; '.join(reasons)}."
    for model in choice.models:
        if len(model.licenses) > 1:
            claims = ", ".join(f"{where}: {name}" for where, name in model.claims.items())
            yield ""
            yield f"Sources name different licenses for {model.name} ({claims}): the duties of all apply."
    if facts.license_texts:
        yield ""
        names = ", ".join(f"`{name}`" for name in facts.license_texts)
        yield f"License texts that came with the source models: {names}."
    if missing := missing_texts(choice.models, facts.license_texts):
        yield ""
        yield (
            f"**Before you share the weights**: put the text of {' and '.join(missing)} here as `LICENSE`; "
            "no such file came with these models."
        )


def _authors(models: Iterable[SourceModel]) -> Iterator[str]:
    """Yield whom to name under Creative Commons licenses; no file says who the authors are."""
    for model in models:
        if any(one.id.startswith("cc-by") for one in model.licenses):
            yield f"- Name the authors of {model.name}: those of `{model.shown}`, as far as we know."


# ---- limits, reproduction, citation


def _limits(choice: SharedPoint) -> Iterator[str]:
    results, effects = choice.results, choice.effects.tasks.values()
    few = too_few_clusters([effect.clusters for effect in effects])
    items = [effect.items for effect in effects]
    items += [task.items for unit in results.summary.units for task in unit.tasks.values()]
    yield "## Limits"
    yield ""
    yield f"- Semantics `{results.study.semantics}`: {SEMANTICS[results.study.semantics]}."
    yield f"- {count_range(items)} per task.{f' {few}' if few else ''}"
    yield "- Intervals account for the choice of items, not for training: each model was trained once."
    spoken = languages.in_words(languages.of_experts(choice))
    yield f"- Languages of the experts: {spoken}.{_languages_of_tasks(results)}"
    foreign = [is_foreign(name, task) for name, task in results.all_tasks.items()]
    if (source := results.study.source) in GENERATED and not all(foreign):
        whose = "Rows of finance_bench tasks" if any(foreign) else "All rows"
        yield f"- **{whose} are generated (`source: {source}`)**: scores do not apply to the real datasets."
    yield from _chat(results)
    advised = " Not investment advice." if "finance" in choice.skills else ""
    yield f"- Not evaluated: safety, bias, whether models have seen the benchmarks.{advised}"


def _languages_of_tasks(results: StudyResults) -> str:
    codes = languages.of_tasks(results.all_tasks)
    return f" Languages of the tasks: {languages.in_words(codes)}." if codes else ""


def _chat(results: StudyResults) -> Iterator[str]:
    """Yield how prompts were formatted, where they are not as the tasks define them."""
    chat = results.study.evaluation.chat
    if chat.is_default:
        return
    yield (
        f"- Prompts were rendered {cell(chat.words)} (`apply_chat_template`, `system_instruction`, "
        "`fewshot_as_multiturn` of lm-eval). Other prompts give other scores."
    )


def count_range(items: Sequence[int]) -> str:
    """Return `1 to 3 items`, or `6 items` if all numbers are equal."""
    low, high = min(items), max(items)
    largest = "1 item" if high == 1 else f"{high} items"
    return largest if low == high else f"{low} to {largest}"


def _reproduction(choice: SharedPoint, facts: CardFacts) -> Iterator[str]:
    yield from reproduce(choice, facts)
    yield table(["what", "hash"], [[name, f"`{value}`"] for name, value in facts.hashes.items()])
    yield ""
    if facts.samples:
        samples = "`results/samples_*.jsonl` has prompts and answers: every dataset allows sharing its text."
    else:
        samples = "No text of a dataset is in this folder."
    yield (
        "`results/summary.json` has all results of the study, `results/scores.json` the score of every item "
        "for this merge, and `results/key.json` the models, tasks, code and package versions behind it. "
        f"{samples}"
    )


def _citation(choice: SharedPoint) -> Iterator[str]:
    """Yield the method, and BibTeX of method, tools, study and the datasets whose rows were used."""
    tasks = choice.results.all_tasks
    citation = operator_of(choice.entry.operator).citation
    in_finance = any("finance" in skills for skills in choice.results.study.skills.values())
    yield "## Citation"
    yield ""
    yield f"- {citation}"
    yield f"- {STUDY_PAPER}{STUDY_TITLE if in_finance else ''}{STUDY_NUMBER}"
    yield ""
    yield f"```bibtex\n{bibtex(citation, used_datasets(choice))}\n```"
    if foreign := [name for name, task in tasks.items() if is_foreign(name, task)]:
        yield ""
        names = task_list(foreign)
        yield f"Cite also the sources of the tasks that are not part of mergekit-finance: {names}."


def used_datasets(choice: SharedPoint) -> list[Dataset]:
    """Return the datasets of the tasks; none if their rows were generated."""
    if choice.results.study.source in GENERATED:
        return []
    by_name = datasets()
    names = {
        task.dataset: None for name, task in choice.results.all_tasks.items() if not is_foreign(name, task)
    }
    return [by_name[name] for name in names if name in by_name]
