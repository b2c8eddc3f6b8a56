"""What `mergekit-finance run` prints."""

from collections.abc import Mapping, Sequence

from mergekit_finance.files import JsonObject
from mergekit_finance.models.facts import short_name
from mergekit_finance.plugins.api import Section
from mergekit_finance.plugins.manager import report_sections
from mergekit_finance.report.markdown import markdown_table
from mergekit_finance.statistics.power import enough
from mergekit_finance.study.analysis.item_flips import GAIN_AND_OG, flips_text
from mergekit_finance.study.analysis.phrases import weights_note
from mergekit_finance.study.schema import GainFile, GainRow


def run_text(result: GainFile) -> str:
    """Return what `run` prints: the sections of all plugins, in order."""
    content = result.as_json()
    texts = [(section.title, section.render(content)) for section in report_sections()]
    return "\n\n".join(f"{title}\n\n{text}" for title, text in texts if text)


def builtin_sections() -> Sequence[Section]:
    """Return this package's own sections."""
    return (Section("gain", "Gain and Outperform Gap", gain_table), Section("notes", "Notes", notes))


def gain_table(content: JsonObject) -> str:
    """Return a Markdown table of gain.json: scores of constituents and merge, Gain and OG, by task."""
    result = GainFile.model_validate(content)
    models = list(next(iter(result.tasks.values())).constituents)
    short_names = [short_name(model) for model in models]
    names = short_names if len(set(short_names)) == len(models) else models
    macros = ({"": result.macro} if result.macro else {}) | result.macros_by_unit
    tables = []
    for unit, macro in macros.items():
        of_unit = {task: row for task, row in result.tasks.items() if row.unit == unit}
        has_flips = any(row.flips_gain for row in of_unit.values())
        effects = ("Gain", "items (Gain)", "OG", "items (OG)") if has_flips else ("Gain", "OG")
        rows = [["task", "n", *names, "merged", *effects]]
        rows += [[task, str(row.n), *_scores(row, models, has_flips)] for task, row in of_unit.items()]
        rows.append(
            [
                "macro (weighted)" if _weights_note(of_unit) else "macro",
                "",
                *_scores(macro, models, has_flips),
            ]
        )
        tables.append(_unit_title(macro) + markdown_table(rows))
    return "\n\n".join(tables)


def _unit_title(row: GainRow) -> str:
    if not row.unit:
        return ""
    turned = "lower is better: Gain and OG have the sign turned"
    direction = turned if row.lower_is_better else "higher is better"
    return f"In {row.unit} ({direction}; above 0 the merge is better)\n\n"


def _weights_note(rows: Mapping[str, GainRow]) -> str:
    return weights_note({task: row.weight for task, row in rows.items()})


def _scores(row: GainRow, models: Sequence[str], has_flips: bool) -> list[str]:
    scores = [*(row.constituents[model] for model in models), row.merged]
    effects = [f"{row.gain:+.3f}", flips_text(row.flips_gain), f"{row.og:+.3f}", flips_text(row.flips_og)]
    return [*(f"{score:.3f}" for score in scores), *(effects if has_flips else effects[::2])]


def notes(content: JsonObject) -> str:
    """Return what a reader must know before relying on the table, as a Markdown list."""
    result = GainFile.model_validate(content)
    lines = [f"semantics: {result.semantics} ({result.method}, stage {result.stage})"]
    if result.chat:
        lines.append(f"prompts were rendered {result.chat.words}.")
    if any(row.flips_gain for row in result.tasks.values()):
        lines.append(f"items: the answers that became right (+) and wrong (-), {GAIN_AND_OG}.")
    if result.random_weights:
        names = ", ".join(map(short_name, result.random_weights))
        lines.append(
            f"these models have random, untrained weights: {names}. The table shows that the pipeline runs, "
            "not what merging does."
        )
    if result.source == "sample":
        lines.append("the rows are a few examples written for this project, not a benchmark.")
    if without := [task for task, row in result.tasks.items() if row.is_zero_shot]:
        lines.append(
            f"evaluated without demonstrations (0-shot), because there are no train rows: "
            f"{', '.join(without)}."
        )
    for task, row in result.tasks.items():
        if row.truncated:
            lines.append(
                f"{task}: {row.truncated} of {row.n} prompts did not fit the context; they were cut "
                "from the left, so that the question is kept."
            )
    if weighted := _weights_note(result.tasks):
        lines.append(weighted)
    if without := [task for task, row in result.tasks.items() if not row.intervals]:
        names = ", ".join(without)
        lines.append(f"no interval for {names}: there are no scores of several independent items.")
    smallest = min(row.clusters or row.n for row in result.tasks.values())
    if not enough(smallest):
        lines.append(
            f"the smallest task has only {smallest} independent items: differences on it are mostly noise."
        )
    return "\n".join(f"- {line}" for line in lines)
