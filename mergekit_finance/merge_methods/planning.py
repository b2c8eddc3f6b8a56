"""The seam in mergekit's planner at which a recipe is checked before anything is written."""

from types import ModuleType


def install(host: ModuleType) -> None:
    """Wrap `MergePlanner._plan` of the module `mergekit.plan`, once."""
