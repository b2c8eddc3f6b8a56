"""The findings of checks, with an id, a level and a remedy."""

from collections.abc import Callable
from dataclasses import dataclass

from mergekit_finance.checks.catalog import CATALOG, LEVELS, Level
from mergekit_finance.errors import (
    DataError,
    MergekitFinanceError,
    ModelError,
    RecipeError,
    printable,
    with_id,
)

# The exception that an error becomes, by the first part of its id; RecipeError for all others.
ERRORS: dict[str, type[MergekitFinanceError]] = {"model": ModelError, "data": DataError, "task": DataError}
_printed: set[str] = set()  # lines that this process printed already


def forget_printed() -> None:
    """Clear the record of printed lines, so that they are printed again."""
    _printed.clear()


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    Attributes:
        id: its kind, a key of the catalog, e.g. `model.rope`.
        level: error, warning or note.
        message: what is wrong, and where; without a full stop at the end.
        remedy: what to do about it, a sentence; empty if the message says so itself.
    """

    id: str
    level: Level
    message: str
    remedy: str

    @property
    def line(self) -> str:
        """Message and remedy as one printable line."""
        text = f"{self.message.rstrip('.')}. {self.remedy}" if self.remedy else self.message
        return printable(" ".join(text.split()))

    def as_error(self, where: str = "") -> MergekitFinanceError:
        """Return the exception that stands for this finding; `where` names a file at its start."""
        kind = ERRORS.get(self.id.partition(".")[0], RecipeError)
        return kind(f"{where}: {self.line}" if where else self.line, id=self.id)


def finding(id: str, message: str, remedy: str | None = None) -> Finding:
    """Return a finding of the catalog; without `remedy`, with the catalog's."""
    entry = CATALOG[id]
    return Finding(id, entry.level, message, entry.remedy if remedy is None else remedy)


def finding_of(error: MergekitFinanceError, id: str) -> Finding:
    """Return the finding that an error stands for; `id` is that of an error without one.

    The error's message contains the remedy, so the finding has none.
    """
    return finding(error.id or id, error.message, "")


class Findings(list[Finding]):
    """The findings of a check, in the order of its parts."""

    @property
    def errors(self) -> list[Finding]:
        """Those that stop a command."""
        return self.of_level("error")

    @property
    def warnings(self) -> list[Finding]:
        """Those that a command prints and goes on."""
        return self.of_level("warning")

    @property
    def notes(self) -> list[Finding]:
        """Those that are worth knowing."""
        return self.of_level("note")

    def of_level(self, level: Level) -> list[Finding]:
        """Return the findings of one level."""
        return [one for one in self if one.level == level]

    def raise_errors(self, where: str = "") -> None:
        """Raise the first error as an exception of one line: ModelError, DataError or RecipeError."""
        for error in self.errors:
            raise error.as_error(where)

    def print_rest(self, say: Callable[[str], object]) -> None:
        """Print warnings, then notes, a line each; a line that this process printed before is left out."""
        for level in LEVELS[1:]:
            for one in self.of_level(level):
                line = with_id(f"{level}: {one.line}", one.id)
                if line not in _printed:
                    _printed.add(line)
                    say(line)
