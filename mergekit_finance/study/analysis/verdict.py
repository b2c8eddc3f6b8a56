"""The answer in words: what came back, what complements, what emerged, what interfered, what to ship."""

import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from mergekit_finance.statistics.power import MIN_CLUSTERS
from mergekit_finance.study import schema

Summary = Mapping[str, Any]


def sentences(summary: schema.Summary) -> list[schema.Sentence]:
    """[{about, text}]: about is recovery, complementarity, emergence, interference, operators, similarity,
    ship or caution."""
    found = _content(summary)
    made = [
        *_stage_one(found),
        *_later(found, 2, "complementarity"),
        *_later(found, 3, "emergence"),
        *_interference(found),
        *_operators(found),
        *_similarity(found),
        *_ship(found),
        *_cautions(found),
    ]
    return [schema.Sentence(about=about, text=text) for about, text in made]


def _content(summary: schema.Summary) -> Summary:
    return summary.model_dump(mode="json", by_alias=True)


def interval(numbers: Sequence[float], unit: str = "points") -> str:
    """`+3.1 points [+1.0, +5.2]`. A difference that is the same in every cluster resamples to itself: that is
    no interval, and [+0.0, +0.0] would look like certainty about other items."""
    value, low, high = (signed(100 * number) for number in numbers)
    if numbers[1] == numbers[2]:
        return f"{value}{unit and ' '}{unit} [the same on every item]"
    return f"{value}{unit and ' '}{unit} [{low}, {high}]"


def signed(number: float, digits: int = 1) -> str:
    """With its sign; what rounds to nothing is +0.0."""
    return f"{round(number, digits) + 0.0:+.{digits}f}"


def sign(numbers: Sequence[float]) -> str:
    """above, below or unclear: where the interval lies."""
    _, low, high = numbers
    return "above" if low > 0 else "below" if high < 0 else "unclear"


def title(combination: str) -> str:
    return combination.replace("+", " + ")


def _of_stage(found: Summary, stage: int) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    for name, known in found["combinations"].items():
        if known["stage"] == stage:
            yield name, known, found["selected"][known["selected"]]


def _stage_one(found: Summary) -> Iterator[tuple[str, str]]:
    """Recovery: what of the base's general knowledge the merge has again, and what of the skill it kept."""
    for name, known, row in _of_stage(found, 1):
        parts = []
        if row["recovery"]:
            parts.append(_recovered(row["recovery"]) + _few(row["sets"]["retention"]))
        if "own" in row["sets"]:
            parts.append(_kept(row["sets"]["own"], name))
        if parts:
            yield "recovery", f"base + {name} ({_how(found, known['selected'])}): {'; '.join(parts)}."


def _recovered(numbers: Mapping[str, Sequence[float]]) -> str:
    """A share of a loss only where there clearly was one."""
    beside = f"against the base {interval(numbers['over_base'])}"
    if sign(numbers["lost"]) != "above":
        return f"no loss of retention by CPT is clear ({interval(numbers['lost'])}); the merge: {beside}"
    lost = f"{100 * numbers['lost'][0]:.1f} points of retention that CPT had lost"
    return f"{interval(numbers['recovered'])} of the {lost} came back ({beside})"


def _few(tested: Mapping[str, Any]) -> str:
    """Numbers of a set that is too small to be judged by."""
    return f", on {tested['clusters']} clusters, too few for a verdict" if tested["clusters"] < LEAST else ""


def _kept(row: Mapping[str, Any], expert: str) -> str:
    score, base, own = (100 * n[0] for n in (row["score"], row["base"], row["constituents"][expert]))
    return (
        f"on its own skill's tasks {score:.1f} where the expert has {own:.1f} and the base {base:.1f} "
        f"(OG {interval(row['og'])}){_few(row)}"
    )


def _later(found: Summary, stage: int, about: str) -> Iterator[tuple[str, str]]:
    """Complementarity and emergence: the merge against its best constituent, as a whole and task by task.
    What study.yml named in advance is what the sentence is about."""
    for name, known, row in _of_stage(found, stage):
        tested, which = _tested(found, name, row)
        yield (
            about,
            f"{title(name)} ({_how(found, known['selected'])}): {_effect(tested, about)}: "
            f"{_against_mean(tested, about)}{interval(tested['over_best_constituent'])} over the best "
            f"constituent, {tested['best_constituent']}, and {interval(tested['over_base'])} over the base"
            f"{_over_raw(row, tested)}, {_mean_of(tested['tasks'])} {which}"
            f"{_task_by_task(row, tested)}.",
        )


def _tested(found: Summary, name: str, row: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The set that a pair's or triple's sentence is about, and what it is."""
    if name in found["study"].get("named", {}):
        return row["sets"]["named"], "named in study.yml"
    own = row["sets"].get("own")
    return (own, "of their skills") if own else (row["sets"]["macro"], "of the macro")


def _task_by_task(row: Mapping[str, Any], tested: Mapping[str, Any]) -> str:
    """No one constituent is the best in every task: over the best of each the merge has less (Macro-OG)."""
    parts = []
    if len(tested["tasks"]) > 1:
        parts.append(f"; against the best of each task, {interval(tested['og'])} (OG)")
    if better := [t for t in row["tasks"] if row["tasks"][t]["verdict"] == "outperforms"]:
        parts.append(f"; {_listed('outperforms all of its constituents on', better)}")
    return "".join(parts)


def _against_mean(tested: Mapping[str, Any], about: str) -> str:
    """The number that "they interfere" goes by."""
    if _effect(tested, about) != INTERFERE:
        return ""
    return f"{interval(tested['gain'])} against the mean of the constituents (Gain), "


def _over_raw(row: Mapping[str, Any], tested: Mapping[str, Any]) -> str:
    """With `chain: best` the constituents are merges: the experts as they are may be better."""
    if set(row["constituents"]) <= set(row["base_and_experts"]):
        return ""
    return (
        f", {interval(tested['over_best_raw'])} over {tested['best_raw']}, the best of base and raw experts"
    )


def _mean_of(tasks: Sequence[str]) -> str:
    return "on the 1 task" if len(tasks) == 1 else f"on average over the {len(tasks)} tasks"


def _counted(tasks: Collection[str]) -> str:
    return "1 task" if len(tasks) == 1 else f"{len(tasks)} tasks"


def _effect(tested: Mapping[str, Any], about: str) -> str:
    """What is above the constituents only is not called by the stage's name: base or a raw expert could do
    it already. What is below the best of them, but not below their mean, does not interfere."""
    if tested["clusters"] < LEAST:
        return "too few items for a verdict"
    gap, over_base = sign(tested["over_best_constituent"]), sign(tested["over_base"])
    if gap == "above" and over_base != "above":
        return "above its constituents, but not clearly above the base"
    if gap == "above" and sign(tested["over_best_raw"]) != "above":
        return "above its constituents, but not clearly above the experts as they are"
    if gap == "unclear" and over_base == "below":
        return "no clear effect on what the best constituent has, and below the base"
    if gap == "below":
        return INTERFERE if _interferes(tested) else "below the best constituent"
    if gap == "above" and tested["holm_over_all_models"] >= ALPHA:
        return "above its constituents, but not clearly once the other combinations are allowed for"
    return _WORDS[about] if gap == "above" else "no clear effect"


def _interferes(tested: Mapping[str, Any]) -> bool:
    return sign(tested["gain"]) == "below" and bool(tested["holm_below_mean"] < ALPHA)


ALPHA = 0.05  # of Holm's p over the combinations of a stage
LEAST = MIN_CLUSTERS  # over all tasks of a set
INTERFERE = "they interfere"
_WORDS = {"complementarity": "they complement each other", "emergence": "emergence"}


def _interference(found: Summary) -> Iterator[tuple[str, str]]:
    for name, known in found["combinations"].items():
        row = found["selected"][known["selected"]]
        worse = [t for t, v in row["tasks"].items() if v["verdict"] == "interferes"]
        if worse:
            yield (
                "interference",
                f"{title(name)}: {_listed('scores below the mean of its constituents on', worse)}.",
            )


def _listed(words: str, tasks: Sequence[str], most: int = 6) -> str:
    if not tasks:
        return f"{words} no task"
    names = [t.removeprefix("finance_bench_") for t in tasks]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{words} {', '.join(names[:most])}{more}"


def _how(found: Summary, point: str) -> str:
    known = found["points"][point]
    values = ", ".join(
        f"{'λ' if k == 'lambda' else k} {v:g}" for k, v in known["values"].items() if k != "seed"
    )
    return f"{_NAMES[known['operator']]}, {values}{_masks(found, point)}"


def _masks(found: Summary, point: str) -> str:
    """Of a cell with several mask seeds, which was chosen as their mean, one is reported."""
    own = found["points"][point]
    same = [p for p in found["points"].values() if _cell(p) == _cell(own)]
    return f", mask seed {own['values']['seed']:g}, the first of {len(same)}" if len(same) > 1 else ""


def _cell(point: Mapping[str, Any]) -> tuple[Any, ...]:
    values = {key: value for key, value in point["values"].items() if key != "seed"}
    return point["combination"], point["operator"], values


_NAMES = {"task_arithmetic": "Task Arithmetic", "ties": "TIES", "dare_ties": "DARE-TIES"}


def _operators(found: Summary) -> Iterator[tuple[str, str]]:
    """Is Task Arithmetic strong but sensitive, TIES robust?"""
    for pair, row in found["operators"]["differences"].items():
        first, second = pair.split(" - ")
        if first != "task_arithmetic":
            continue
        best, spread = _AT_BEST[sign(row["best"])], _SENSITIVE[sign(row["spread"])]
        if found["ship"]["clusters"] < LEAST:
            yield "operators", f"{_NAMES[first]} against {_NAMES[second]}: too few items for a verdict."
            continue
        names = " against ".join(f"{_NAMES[o]} ({_grid(found, o)})" for o in (first, second))
        text = f"{names}: {best} at its best ({interval(row['best'])})"
        if all(found["operators"]["operators"][operator]["swept"] for operator in (first, second)):
            text += (
                f", {spread} sensitive (its score spreads {interval(row['spread'])} further over its grid; "
                f"the share of it within a point of the best differs by {interval(row['near'], '%')})"
            )
        yield "operators", f"{text}."


def _grid(found: Summary, operator: str) -> str:
    """What was tried: `density 0.1 to 1, λ 1`. Another grid may give another answer."""
    tried = [p["values"] for p in found["points"].values() if p["operator"] == operator]
    return ", ".join(_range(key, {values[key] for values in tried}) for key in tried[0] if key != "seed")


def _range(key: str, values: set[float]) -> str:
    ends = dict.fromkeys((min(values), max(values)))
    return f"{'λ' if key == 'lambda' else key} {' to '.join(f'{v:g}' for v in ends)}"


_AT_BEST = {"above": "better", "below": "worse", "unclear": "not clearly different"}
_SENSITIVE = {"above": "more", "below": "less", "unclear": "not clearly more or less"}


def _similarity(found: Summary) -> Iterator[tuple[str, str]]:
    rows = [r for r in found["similarity"]["correlations"] if r["over"] == "all" and r["rho"] is not None]
    for row in rows:
        if row["outcome"] != "macro_gain":
            continue
        n, needed = row["n"], row["needed"]
        enough = "; too few for any ρ" if needed is None else f"; |ρ| ≥ {needed:.3f} would be needed"
        yield (
            "similarity",
            f"{_PREDICTORS[row['predictor']]} against Macro-Gain: ρ = {signed(row['rho'], 2)} "
            f"(p = {row['p']:.3f}, {n} combinations{enough}): a description of these merges, not a law.",
        )


_PREDICTORS = {"l2": "L2 distance", "cosine": "cosine", "headroom": "complementarity headroom"}


def _ship(found: Summary) -> Iterator[tuple[str, str]]:
    """The choice is made on the items that choose; it is advice only where the other items bear it out."""
    ship = found["ship"]
    gap, single = ship["merge_over_single"], ship["best_single"]
    split = found["selection"]["split"]
    chosen, other = (" on the items that choose", "on the other items ") if split else ("", "")
    words, which = (_CLEAR, "") if split else (_SAME_ITEMS, " (chosen and measured on the same items)")
    compared = f"{words[sign(gap)]} the best single model{chosen}, {single}: {interval(gap)}{which}"
    name, macro = ship["model"], f"{other}its macro is {compared}{_cost(ship)}."
    if ship["clusters"] < LEAST:
        few = f"Too few items to advise ({ship['clusters']} clusters)"
        yield "ship", f"{few}: {name} is best{chosen}; of the best merge, {ship['best_merge']}, {macro}"
    elif not ship["is_merge"] and split and sign(gap) == "above":
        best = f"the best merge is {ship['best_merge']}: {macro}"
        yield "ship", f"No clear advice: {name} is best{chosen}, but {best}"
    elif not ship["is_merge"]:
        yield "ship", f"Ship no merge: {name} is best{chosen}; the best merge, {ship['best_merge']}: {macro}"
    elif sign(gap) == "above":
        yield "ship", f"Ship {name}: {macro}"
    else:
        yield "ship", f"No merge is clearly worth shipping: {name} is best{chosen}, but {macro}"


def _cost(ship: Mapping[str, Any]) -> str:
    if not ship["retention_over_base"]:
        return ""
    return f"; its retention against the base: {interval(ship['retention_over_base'])}"


_CLEAR = {
    "above": "clearly better than",
    "below": "clearly worse than",
    "unclear": "not clearly different from",
}
# The best of several on the items that chose it is flattered: nothing is clear about it.
_SAME_ITEMS = {"above": "better than", "below": "worse than", "unclear": "not clearly different from"}


def _cautions(found: Summary) -> Iterator[tuple[str, str]]:
    small = [t for t, known in found["tasks"].items() if known["report_clusters"] < LEAST]
    if small:
        yield (
            "caution",
            f"{len(small)} of {_counted(found['tasks'])} {'has' if len(small) == 1 else 'have'} fewer than "
            "100 clusters to report on: numbers, but no verdict of a task's own.",
        )
    if not found["selection"]["split"] and not found["selection"]["same_items"]:
        yield (
            "caution",
            "nothing was swept, so all items are reported; what to ship was chosen on the same items.",
        )
    gap = found["selection"]["optimism"]["mean"]
    if found["selection"]["same_items"]:
        yield (
            "caution",
            f"hyperparameters were chosen on the items that are reported: scores are optimistic, by "
            f"{100 * gap:.1f} points as measured on random halves.",
        )


def text(summary: schema.Summary, width: int | None = None) -> str:
    """What the command prints: a table of the combinations, then the sentences, wrapped at `width`."""
    found = _content(summary)
    from mergekit_finance.report.markdown import markdown_table

    header = ["stage", "combination", "selected", "macro", "Macro-Gain", "Macro-OG", "retention"]
    ordered = sorted(found["combinations"].items(), key=lambda item: item[1]["stage"])
    rows = [_line(found, name, known) for name, known in ordered]
    lines = [markdown_table([header, *rows]), ""]
    for about in dict.fromkeys(s["about"] for s in found["verdict"]):
        lines.append(about.capitalize())
        lines += [_wrapped(s["text"], width) for s in found["verdict"] if s["about"] == about]
    return "\n".join(lines)


def _wrapped(sentence: str, width: int | None) -> str:
    if width is None:
        return f"  - {sentence}"
    return textwrap.fill(
        sentence, width, initial_indent="  - ", subsequent_indent="    ", break_on_hyphens=False
    )


def _line(found: Summary, name: str, known: Mapping[str, Any]) -> list[str]:
    macro = found["selected"][known["selected"]]["sets"]["macro"]
    kept = found["points"][known["selected"]].get("retention")
    return [
        str(known["stage"]),
        title(name),
        _how(found, known["selected"]),
        f"{100 * macro['score'][0]:.1f}",
        interval(macro["gain"], unit=""),
        interval(macro["og"], unit=""),
        f"{100 * kept[0]:.1f}" if kept else "",
    ]
