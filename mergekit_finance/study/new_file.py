"""The text of a new study.yml, with comments that explain each key."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mergekit_finance.errors import DataError
from mergekit_finance.files import load_yaml
from mergekit_finance.study.config import parse_study
from mergekit_finance.study.json_schema import SCHEMA_FILE

TEXT = """\
# yaml-language-server: $schema={schema}
# docs/study.md explains all keys. Next:
#   mergekit-finance check {file}           finds mistakes
#   mergekit-finance study plan {file}      estimates the cost
#   mergekit-finance study {file} -o out    runs the study
name: {name}

# Models: local folders (./name or absolute paths) or Hub ids. The experts were trained from the base.
base: {base}
# base_license: apache-2.0  # for the model card; needed only if the model's own card has none
experts:  # by name; `skills` are free words, by default the expert's name
{experts}

# How models are merged. Every value of a list is a merge to evaluate.
operators:
  task_arithmetic: {{lambda: [0.2, 0.4, 0.6, 0.8, 1.0]}}
  ties: {{density: [0.2, 0.5, 0.8]}}
  # dare_ties: {{density: [0.2, 0.5, 0.8], seeds: [0, 1]}}
  # task_arithmetic: {{lambda: {by_expert}}}  # each expert's own values
  # slerp: {{t: [0.3, 0.5]}}  # any merge method of mergekit or a plugin, with its own parameters
stages: {stages}{stage_note}

# Tasks of the macro average: names of lm-eval tasks or groups, or mappings that say more:
#   - {{task: arc_easy, metric: acc_norm, filter: none, skills: [general], weight: 2}}
{include_path}
tasks:
{tasks}
{retention}
{limit}
{source}
# search: {{method: successive_rejects, budget: 0.25}}  # a quarter of the answers; without it the full grids
# evaluation: {{dtype: bfloat16}}  # also: device, engine, batch_size, max_gen_toks
"""
STAGE_NOTE = "  # 1: base and one expert, 2: pairs of experts, 3: triples"
INCLUDE_NOTE = "# include_path: ./my_tasks  # folder of your own lm-eval tasks; their Python code runs"
LIMIT_NOTE = "# limit: 200                # the first items of every task; without it all items"
SOURCE_NOTE = (
    "# source: lab               # generated rows of finance_bench tasks, to try it out without a download"
)
RETENTION_NOTE = "# retention: [arc_easy]     # what the base can do and experts may lose; not in the macro"


def new_study(
    file: Path,
    base: str,
    experts: Mapping[str, str],
    tasks: Sequence[str] = ("finance_bench_open",),
    *,
    name: str = "study",
    retention: Sequence[str] = (),
    include_path: Path | None = None,
    source: str = "",
    limit: int | None = None,
) -> str:
    """Return the text of a study.yml.

    Args:
        file: where it will be written; `include_path` becomes relative to its folder.
        base: reference of the base model.
        experts: references by name.
        tasks, retention: names of lm-eval tasks or groups.
        name: shown in the report.
        include_path: folder of the user's own tasks, relative to the working directory.
        source: where rows come from; "" for the mirror or the public sources.
        limit: items of every task; None for all.

    Raises:
        RecipeError: a value is not allowed in a study; one line that names the key.
        DataError: `include_path` is not a folder.
    """
    if include_path is not None and not include_path.is_dir():
        raise DataError(
            f"--include-path {include_path}: no such directory. Name a folder of lm-eval task files.",
            id="task.include-path",
        )
    text = TEXT.format(
        schema=SCHEMA_FILE.as_uri(),
        file=file.name,
        name=_scalar(name),
        base=_scalar(base),
        experts="\n".join(f"  {_scalar(expert)}: {{model: {_scalar(m)}}}" for expert, m in experts.items()),
        by_expert=f"{{{', '.join(f'{_scalar(expert)}: [0.4, 0.8]' for expert in experts)}}}",
        stages=list(range(1, min(len(experts), 3) + 1)),
        stage_note=STAGE_NOTE,
        include_path=_include_line(file, include_path),
        tasks="\n".join(f"  - {_scalar(task)}" for task in tasks),
        source=f"source: {_scalar(source)}" if source else SOURCE_NOTE,
        limit=LIMIT_NOTE if limit is None else f"limit: {limit}  # the first items of every task",
        retention=f"retention: [{', '.join(map(_scalar, retention))}]" if retention else RETENTION_NOTE,
    )
    parse_study(load_yaml(text, str(file)), str(file))
    return text


def _include_line(file: Path, folder: Path | None) -> str:
    if folder is None:
        return INCLUDE_NOTE
    relative = os.path.relpath(folder.resolve(), file.parent.resolve())
    return f"include_path: {_scalar(relative)}  # folder of your own lm-eval tasks; their Python code runs"


def _scalar(text: str) -> str:
    """Return text as a YAML scalar: plain where that is safe, else in double quotes."""
    is_plain = text[:1].isalpha() or text.startswith(("./", "../", "/"))
    if is_plain and all(c.isalnum() and c.isascii() or c in "_-./+@" for c in text) and not _is_word(text):
        return text
    return json.dumps(text, ensure_ascii=False)


def _is_word(text: str) -> bool:
    """Return whether YAML reads this text as true, false or null."""
    return text.lower() in ("true", "false", "yes", "no", "on", "off", "null", "y", "n")
