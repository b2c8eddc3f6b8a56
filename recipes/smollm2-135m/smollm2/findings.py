"""Compute every table of FINDINGS.md from the stored results.

In recipes/smollm2-135m: `python -m smollm2.findings results` prints the tables;
`--write FINDINGS.md` puts each between its two marks in the file:

    <!-- table: effects -->
    <!-- end -->

The text around the marks is not changed.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mergekit_finance.files import Json, atomic_write

from . import data
from .analysis.predictors import read_similarity
from .analysis.tables import Results, all_tables

MARK = re.compile(r"<!-- table: ([\w-]+) -->\n.*?<!-- end -->", re.DOTALL)
SIMILARITY = "similarity.json.xz"
CONSTANTS = "constants.json"  # that `smollm2.constants` writes


def load(folder: Path) -> Results:
    """Read a folder of results. Files other than the scores may be missing.

    Raises:
        SystemExit: there are no scores.
    """
    if not (folder / data.SCORES).is_file():
        raise SystemExit(f"Error: {folder}: has no {data.SCORES}. Name the folder that `collect` wrote.")
    similarity = folder / SIMILARITY
    scores = data.read(folder / data.SCORES)
    scores.constants = dict(_json(folder / CONSTANTS, {}))
    return Results(
        scores,
        read_similarity(similarity) if similarity.is_file() else None,
        _json(folder / "training.json", []),
        _json(folder / "steps.json", []),
        _json(folder / "tokens.json", {}),
    )


def _json(path: Path, missing: Json) -> "Json | list[Mapping[str, Json]]":
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else missing


def filled(text: str, tables: Mapping[str, str]) -> str:
    """Return a text with each table between its marks.

    Raises:
        SystemExit: a mark names no table, or a table has no mark.
    """
    marks = MARK.findall(text)
    if wrong := sorted(set(marks) ^ set(tables)):
        raise SystemExit(f"Error: tables and marks differ: {', '.join(wrong)}.")
    return MARK.sub(lambda mark: f"<!-- table: {mark[1]} -->\n\n{tables[mark[1]]}\n\n<!-- end -->", text)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables, or write them to a file."""
    parser = argparse.ArgumentParser(prog="python -m smollm2.findings", description=__doc__)
    parser.add_argument("results", type=Path, help="the folder of results")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the file with the marks")
    options = parser.parse_args(argv)
    tables = all_tables(load(options.results))
    if options.write:
        atomic_write(options.write, filled(options.write.read_text(encoding="utf-8"), tables))
        return
    for name, table in tables.items():
        sys.stdout.write(f"## {name}\n\n{table}\n\n")


if __name__ == "__main__":
    main()
