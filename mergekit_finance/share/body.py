"""The card's text: what was merged, how good that is and how sure, duties, limits, how to do it again."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote
from typing import Any

from mergekit_finance.evaluation.keys import PACKAGES
from mergekit_finance.report.markdown import markdown_table
from mergekit_finance.share.choice import Choice
from mergekit_finance.share.front_matter import languages, spoken
from mergekit_finance.share.licenses import License, find_license
from mergekit_finance.share.source_models import (
    SourceModel,
    is_hub_id,
    missing_texts,
    obstacles,
    required_licenses,
)
from mergekit_finance.share.stored import scores_of_base
from mergekit_finance.statistics.power import MIN_CLUSTERS as LEAST
from mergekit_finance.study.analysis import wording
from mergekit_finance.study.schema import Interval
from mergekit_finance.study.tasks import GENERATED

OPERATORS = {"task_arithmetic": "Task Arithmetic", "ties": "TIES", "dare_ties": "DARE-TIES"}
SEMANTICS = {
    "paper": "the operators are as their papers define them (TIES ranks the whole task vector)",
    "mergekit": "the operators are as mergekit defines them (ranked and normalised tensor by tensor)",
}
SPOKEN = {"en": "English", "ja": "Japanese"}
SETS = {"macro": "all tasks", "own": "tasks of its skills", "retention": "retention", "probes": "probes"}

VERSION = re.compile(r"[A-Za-z0-9.][A-Za-z0-9.+!-]*")


@dataclass(frozen=True)
class Facts:
    """What is known only while the folder is made."""

    recipe: str
    figures: Mapping[str, str] = field(default_factory=dict)  # file -> caption
    hashes: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    samples: bool = False
    license_texts: Sequence[str] = ()


def text(choice: Choice, facts: Facts) -> str:
    """All sections below the front matter."""
    sections = (_head, _scores, _figures, _recipe, _licenses, _limits, _again, _citation)
    return "\n\n".join("\n".join(section(choice, facts)) for section in sections) + "\n"


def _head(choice: Choice, facts: Facts) -> Iterator[str]:
    known = choice.known
    names = " + ".join(known["combination"])
    yield f"# {choice.title}"
    yield ""
    yield from (f"**{x.built_with}**\n" for x in required_licenses(choice.models) if x.built_with)
    what = f"base + {names}" if known["stage"] == 1 else names
    yield (
        f"A merge ({what}; {OPERATORS[known['operator']]}, {_values(known['values'])}) made with "
        "[mergekit](https://github.com/arcee-ai/mergekit) by `mergekit-finance`, "
        f"{_of_how_many(len(choice.loaded.points))} of a study in stages."
    )
    yield ""
    yield _standing(choice)
    yield ""
    yield _table(["name", "model", "on the Hub", "fingerprint"], map(_parent, choice.models))
    yield from _not_on_the_hub(choice)


def _of_how_many(merges: int) -> str:
    return "the only merge" if merges == 1 else f"one of the {merges} merges"


def _not_on_the_hub(choice: Choice) -> Iterator[str]:
    there = [parent for parent in choice.models if parent.hub_id]
    if len(there) < len(choice.models):
        yield ""
    if not there:
        yield "No source model is on the Hub, so there is no `base_model`; `--hub-id` gives one."
    elif len(there) < len(choice.models):
        yield "`base_model` above names only models that are on the Hub: it takes no folders."


def _parent(parent: SourceModel) -> list[str]:
    return [parent.name, f"`{parent.reference}`", parent.hub_id or "no", f"`{parent.fingerprint}`"]


def _standing(choice: Choice) -> str:
    """What the study advises about this point."""
    if (clusters := choice.summary["ship"].get("clusters", LEAST)) < LEAST:
        return f"**Too few items to advise** ({clusters} clusters): {_chosen(choice)}."
    ship, gap = choice.summary["ship"], sign(choice.summary["ship"]["merge_over_single"])
    # One half of the items against the other.
    unsure = not ship["is_merge"] and choice.splits and gap == "above"
    if choice.shipped and gap == "above":
        return f"The study advises to ship this point: it is {_compared(choice)}."
    if choice.shipped:
        where = "the other items" if choice.splits else "these items"
        return f"The study chose this point; on {where} it is {_compared(choice)}."
    if choice.point == ship["best_merge"] and unsure:
        return (
            f"**The study gives no clear advice**: {ship['model']} is best on the items that choose; on the "
            f"other items this, the best merge, is {_compared(choice)}."
        )
    if choice.point == ship["best_merge"]:
        return (
            f"**The study advises to ship no merge**: {ship['model']} is best. This is the best merge; it is "
            f"{_compared(choice)}."
        )
    verb = "chose" if unsure or ship["is_merge"] and gap != "above" else "advises to ship"
    return f"**The study {verb} {ship['model']}**, not this point, which was chosen by hand."


def _chosen(choice: Choice) -> str:
    """Which model did best, where that is no advice."""
    best = choice.summary["ship"]["model"]
    if choice.shipped:
        return f"the study chose this point; on these items it is {_compared(choice)}"
    if choice.point == choice.summary["ship"]["best_merge"]:
        return f"the study chose {best}. This is the best merge; it is {_compared(choice)}"
    return f"the study chose {best}, not this point, which was chosen by hand"


def _compared(choice: Choice) -> str:
    """The best merge against the best single model; on the items that chose it, nothing is clear."""
    ship = choice.summary["ship"]
    gap, single = ship["merge_over_single"], ship["best_single"]
    clearly, which = ("clearly ", "") if choice.splits else ("", ", chosen and measured on the same items")
    words = {"above": f"{clearly}better than", "below": f"{clearly}worse than"}
    shown = words.get(sign(gap), "not clearly different from")
    return f"{shown} the best single model, {single} ({interval(gap)}{which})"


def sign(numbers: Sequence[float]) -> str:
    return Interval(*numbers).side


def interval(numbers: Sequence[float], unit: str = " points") -> str:
    return f"{wording.interval(numbers, sign=True)}{unit}"


def _values(values: Mapping[str, float]) -> str:
    return ", ".join(f"{'λ' if key == 'lambda' else key} {value:g}" for key, value in values.items())


def _scores(choice: Choice, facts: Facts) -> Iterator[str]:
    yield "## Scores"
    yield ""
    yield (
        "In points of 100, with 95 % intervals (cluster bootstrap). Gain: over the mean of the constituents; "
        f"OG: over the best constituent of each task. {_items(choice)}"
    )
    if _base(choice):
        yield ""
        yield "The base is not a constituent here: Gain and OG do not compare with it, its own columns do."
    yield ""
    header = ["over", "score", *_names(choice), "Gain", "OG", *_base(choice)]
    sets = choice.row["sets"]
    yield _table(header, [_set(choice, sets[k], title) for k, title in SETS.items() if k in sets])
    yield ""
    header = ["task", "items", "score", *_names(choice), "Gain", "OG", "verdict", *_base(choice)]
    yield _table(header, [_task(choice, name, row) for name, row in choice.row["tasks"].items()])
    yield ""
    yield "What each score is: " + "; ".join(_aggregations(choice)) + "."


def _items(choice: Choice) -> str:
    if not choice.splits and not choice.loaded.study.selection.same_items:
        return "Nothing was swept: these are all items."
    if choice.loaded.study.selection.same_items:
        return "Hyperparameters were chosen on these same items: the scores are optimistic."
    return "Hyperparameters were chosen on other items of the same datasets."


def _names(choice: Choice) -> list[str]:
    return list(choice.row["constituents"])


def _base(choice: Choice) -> list[str]:
    """Columns of the base where it is no parent: what beats two experts may have less than it had."""
    return [] if "base" in choice.row["constituents"] else ["base", "over base"]


def _set(choice: Choice, row: Mapping[str, Any], title: str) -> list[str]:
    parents = [f"{100 * row['constituents'][name][0]:.1f}" for name in _names(choice)]
    label = f"{title} ({len(row['tasks'])})"
    effects = [interval(row["gain"], ""), interval(row["og"], "")]
    return [label, _score(row["score"]), *parents, *effects, *_of_base(choice, row)]


def _of_base(choice: Choice, row: Mapping[str, Any]) -> list[str]:
    """A set's score of the base, and the merge over it; an older summary has none."""
    if not _base(choice):
        return []
    return [f"{100 * row['base'][0]:.1f}", interval(row["over_base"], "")] if "base" in row else ["", ""]


def _base_on(choice: Choice, task: str, score: float) -> list[str]:
    """A task's: the difference of two numbers, for which no interval is stored."""
    if not _base(choice):
        return []
    base = scores_of_base(choice.summary).get(task)
    return ["", ""] if base is None else [f"{100 * base:.1f}", f"{100 * (score - base):+.1f}"]


def _task(choice: Choice, name: str, row: Mapping[str, Any]) -> list[str]:
    parents = [f"{100 * row['constituents'][parent]:.1f}" for parent in _names(choice)]
    effects = [interval(row["gain"], ""), interval(row["og"], ""), row["verdict"]]
    short = name.removeprefix("finance_bench_")
    shown = [short, str(row["items"]), _score(row["score"]), *parents, *effects]
    return [*shown, *_base_on(choice, name, row["score"][0])]


def _score(numbers: Sequence[float]) -> str:
    value, low, high = (100 * number for number in numbers)
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _aggregations(choice: Choice) -> list[str]:
    found: dict[str, list[str]] = {}
    for name, known in choice.loaded.tasks.items():
        found.setdefault(spoken(known.as_json()), []).append(name.removeprefix("finance_bench_"))
    return [f"{how}: {', '.join(names)}" for how, names in sorted(found.items())]


def _figures(choice: Choice, facts: Facts) -> Iterator[str]:
    yield "## Figures"
    yield ""
    if not facts.figures:
        yield "None: matplotlib was missing when this card was made."
    for name, caption in facts.figures.items():
        yield f"![{caption}](figures/{name})\n"


def _recipe(choice: Choice, facts: Facts) -> Iterator[str]:
    yield "## Recipe"
    yield ""
    yield "`mergekit_config.yml`, which plain `mergekit-yaml` runs where mergekit-finance is installed:"
    yield ""
    yield f"```yaml\n{facts.recipe.rstrip()}\n```"


def _licenses(choice: Choice, facts: Facts) -> Iterator[str]:
    yield "## Licenses and duties"
    yield ""
    rows = [
        [p.name, f"`{p.hub_id or p.reference}`", _linked(one), ", ".join(_claimed(p, one)) or "nobody"]
        for p in choice.models
        for one in p.licenses
    ]
    yield _table(["name", "model", "license", "said by"], rows)
    yield ""
    yield "A merge carries the duties of all its source models:"
    yield ""
    yield from dict.fromkeys(f"- {duty}" for one in required_licenses(choice.models) for duty in one.duties)
    yield from _authors(choice.models)
    stops = obstacles(choice.models)
    if stops:
        yield ""
        yield (
            "**Sharing is refused, with weights or without,** until a person has checked: "
            + "; ".join(stops)
            + "."
        )
    yield from _differing(choice.models)
    yield from _texts(choice, facts)


def _linked(one: License) -> str:
    return f"[{one.title}]({one.link})" if one.link else one.title


def _authors(parents: Iterable[SourceModel]) -> Iterator[str]:
    """Whom Creative Commons wants named; no file says who they are."""
    for parent in parents:
        if any(one.id.startswith("cc-by") for one in parent.licenses):
            shown = f"`{parent.hub_id or parent.reference}`"
            yield f"- Name the authors of {parent.name}: those of {shown}, as far as we know."


def _claimed(parent: SourceModel, one: License) -> list[str]:
    return [where for where, name in parent.claims.items() if find_license(name).id == one.id]


def _differing(parents: Iterable[SourceModel]) -> Iterator[str]:
    for parent in parents:
        if len(parent.licenses) > 1:
            yield ""
            said = ", ".join(f"{where}: {name}" for where, name in parent.claims.items())
            yield f"Not everyone names the same license for {parent.name} ({said}): keep the duties of all."


def _texts(choice: Choice, facts: Facts) -> Iterator[str]:
    if facts.license_texts:
        names = ", ".join(f"`{name}`" for name in facts.license_texts)
        yield ""
        yield f"License texts that came with the source models: {names}."
    if missing := missing_texts(choice.models, facts.license_texts):
        yield ""
        yield (
            f"**Left to whoever shares the weights**: put the text of {' and '.join(missing)} here as "
            "`LICENSE`; no such file lay beside these models."
        )


def _limits(choice: Choice, facts: Facts) -> Iterator[str]:
    loaded, rows = choice.loaded, choice.row["tasks"].values()
    few = sum(row["clusters"] < 100 for row in rows)
    made = " and ".join(SPOKEN[x] for x in languages(choice))
    japanese = any("japanese" in known.skills for known in loaded.tasks.values())
    measured = "English and Japanese" if japanese else "English"
    yield "## Limits"
    yield ""
    yield f"- Semantics `{loaded.study.semantics}`: {SEMANTICS[loaded.study.semantics]}."
    yield f"- {_ranged([row['items'] for row in rows])} a task{_too_few(few, len(rows))}."
    yield "- Intervals cover the choice of items, not training: there is one training run of each model."
    yield f"- Languages: merged for {made}, measured in {measured}, and in no other."
    if loaded.study.source in GENERATED:
        source = loaded.study.source
        yield f"- **All rows are generated (`source: {source}`)**: scores say nothing of the real datasets."
    yield "- Not measured: safety, bias, whether the model had seen the benchmarks. No advice on investments."


def _packages(versions: Mapping[str, str]) -> Iterator[str]:
    """Ours with their pins, for a shell: whoever wrote key.json names no package that people install."""
    for name, number in versions.items():
        if name in PACKAGES:
            yield f"{name}=={number.split('+')[0]}" if VERSION.fullmatch(number) else name


def _ranged(items: Sequence[int]) -> str:
    low, high = min(items), max(items)
    most = "1 item" if high == 1 else f"{high} items"
    return most if low == high else f"{low} to {most}"


def _too_few(few: int, tasks: int) -> str:
    """Which tasks are too small for a verdict of their own, if any."""
    if not few:
        return ""
    if tasks == 1:
        return "; the one task has fewer than 100 independent clusters: it gets numbers, but no verdict"
    has, they = ("has", "it gets") if few == 1 else ("have", "they get")
    return (
        f"; {few} of {tasks} tasks {has} fewer than 100 independent clusters: {they} numbers, but no verdict"
    )


def _again(choice: Choice, facts: Facts) -> Iterator[str]:
    yield "## How to reproduce"
    yield ""
    packages = " ".join(_packages(facts.versions)) or "mergekit-finance"
    yield "```sh"
    yield f"pip install {packages}"
    yield "mergekit-yaml mergekit_config.yml merged          # the weights, bit for bit on the CPU"
    yield "mergekit-finance study study.yml -o out           # the study that chose them"
    yield f"mergekit-finance card out --point {quote(choice.point)} -o card --weights"
    yield "```"
    yield ""
    recipe = choice.known["recipe"]
    merged = [recipe["base_model"], *(entry["model"] for entry in recipe["models"])]
    local = [reference for reference in merged if not is_hub_id(reference)]
    if local:
        yield f"Models that are folders must lie where the recipe says: {', '.join(f'`{x}`' for x in local)}."
        yield ""
    yield _table(["what", "hash"], [[name, f"`{value}`"] for name, value in facts.hashes.items()])
    yield ""
    yield (
        "`results/summary.json` is the study's whole answer, `results/scores.json` right and wrong per item "
        f"of this point, `results/key.json` what those depend on. {_samples(facts)}"
    )


def _samples(facts: Facts) -> str:
    if facts.samples:
        return "`results/samples_*.jsonl` hold prompts and answers: every dataset allows to share its text."
    return "No text of a dataset is in this folder."


def _citation(choice: Choice, facts: Facts) -> Iterator[str]:
    from mergekit_finance.operators import OPERATORS as TABLE

    yield "## Citation"
    yield ""
    yield f"- {TABLE[choice.known['operator']].citation}"
    yield (
        "- The study follows Ueda, Portet, Suwa, Yasumoto: Merging Continual Pretraining Models for "
        "Domain-Specialized LLMs: A Case Study in Finance, arXiv 2511.02451"
    )


def _cell(text: str) -> str:
    """One line, and no markup but our own code marks."""
    shown = " ".join(text.split()).replace("<", "&lt;").replace(">", "&gt;")
    return shown.replace("|", "\\|")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return markdown_table([list(header), *([_cell(cell) for cell in row] for row in rows)])
