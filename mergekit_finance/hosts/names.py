"""Look up private names of a host, and raise HostError if the installed version lacks one."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

from mergekit_finance.errors import HostError


@cache
def installed_version(distribution: str) -> str:
    """Return the installed version of a distribution, whose metadata is read once in a process.

    Raises:
        PackageNotFoundError: it is not installed.
    """
    return version(distribution)


@dataclass(frozen=True)
class Host:
    """A host and the version that this package was written for.

    Attributes:
        name: the name of its distribution.
        written_for: the version that the adapters were written for and tested with.
        requirement: what pip should install, as in pyproject.toml.
    """

    name: str
    written_for: str
    requirement: str

    def get(self, owner: object, attribute: str) -> Any:
        """Return an attribute of a host's module, class or object; HostError if it does not exist."""
        try:
            return getattr(owner, attribute)
        except AttributeError:
            raise HostError(self.lacks(f"{_label(owner)}.{attribute}")) from None

    @contextmanager
    def imports(self) -> Iterator[None]:
        """Turn an ImportError about one of the host's own modules or names into a HostError."""
        try:
            yield
        except ImportError as error:
            module = error.name or ""
            if module.split(".")[0] != self.name.replace("-", "_"):
                raise
            name = re.search(r"cannot import name '(\w+)'", str(error))
            missing = f"{module}.{name.group(1)}" if name else f"module {module}"
            raise HostError(self.lacks(missing)) from error

    @contextmanager
    def assertions(self) -> Iterator[None]:
        """Turn an AssertionError of another version than the adapters were written for into a HostError."""
        try:
            yield
        except AssertionError as error:
            if self.installed == self.written_for:
                raise
            reason = " ".join(str(error).split())[:300] or "an assertion fails"
            raise HostError(self._unfit(f"refuses a task ({reason})")) from error

    @property
    def installed(self) -> str:
        """The installed version."""
        try:
            return version(self.name)
        except PackageNotFoundError:
            return "(not installed)"

    def lacks(self, name: str) -> str:
        """Return the message for a name that the installed version does not have."""
        return self._unfit(f"has no {name}")

    def _unfit(self, problem: str) -> str:
        return (
            f"{self.name} {self.installed} {problem}; mergekit-finance was written for {self.name} "
            f"{self.written_for}. Install {self.requirement}."
        )


def _label(owner: object) -> str:
    if isinstance(owner, ModuleType | type):
        return owner.__name__
    return type(owner).__name__


MERGEKIT = Host("mergekit", "0.1.5", "mergekit>=0.1.5,<0.2")
LM_EVAL = Host("lm-eval", "0.4.13", "lm-eval>=0.4.13,<0.5")
TRANSFORMERS = Host("transformers", "5.23", "transformers>=5,<6")
