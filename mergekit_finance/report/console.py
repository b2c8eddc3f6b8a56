"""What `mergekit-finance run` prints."""

from collections.abc import Sequence

from mergekit_finance.files import JsonObject
from mergekit_finance.models.facts import short_name
from mergekit_finance.plugins.api import Section
from mergekit_finance.plugins.manager import report_sections
from mergekit_finance.report.markdown import markdown_table
from mergekit_finance.statistics.power import enough
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
    models = list(result.macro.constituents)
    short_names = [short_name(model) for model in models]
    names = short_names if len(set(short_names)) == len(models) else models
    rows = [["task", "n", *names, "merged", "Gain", "OG"]]
    rows += [[task, str(row.n), *_scores(row, models)] for task, row in result.tasks.items()]
    macro = "macro (weighted)" if _weights_note(result) else "macro"
    rows.append([macro, "", *_scores(result.macro, models)])
    return markdown_table(rows)


def _weights_note(result: GainFile) -> str:
    return weights_note({task: row.weight for task, row in result.tasks.items()})


def _scores(row: GainRow, models: Sequence[str]) -> list[str]:
    scores = [*(row.constituents[model] for model in models), row.merged]
    return [*(f"{score:.3f}" for score in scores), f"{row.gain:+.3f}", f"{row.og:+.3f}"]


def notes(content: JsonObject) -> str:
    """Return what a reader must know before relying on the table, as a Markdown list."""
    result = GainFile.model_validate(content)
    lines = [f"semantics: {result.semantics} ({result.method}, stage {result.stage})"]
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
    if weighted := _weights_note(result):
        lines.append(weighted)
    smallest = min(row.clusters or row.n for row in result.tasks.values())
    if not enough(smallest):
        lines.append(
            f"the smallest task has only {smallest} independent items: differences on it are mostly noise."
        )
    return "\n".join(f"- {line}" for line in lines)
