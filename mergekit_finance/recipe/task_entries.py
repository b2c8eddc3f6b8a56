"""Entries of a list of tasks that say more than a name: `{task: arc_easy, metric: acc_norm, weight: 2}`."""

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field

from mergekit_finance.files import Json
from mergekit_finance.recipe.fields import ConfigBlock, IsNumber, Name, as_list

MAX_WEIGHT = 10**6


class TaskSettings(ConfigBlock):
    """What an entry of `tasks`, `retention` or `probes` says of a task or group besides its name."""

    metric: Name | None = Field(default=None, description="the metric that is the score; default: the first")
    filter: Name | None = Field(default=None, description="the filter of the metric; default: the first")
    skills: Annotated[tuple[Name, ...], Field(max_length=100), BeforeValidator(as_list)] = Field(
        default=(), description="the skills that the task needs, free words; default: the task's own"
    )
    weight: Annotated[float, Field(gt=0, le=MAX_WEIGHT), IsNumber] = Field(
        default=1.0, description="the weight of the task, or of each task of the group, in macro averages"
    )


def split_entries(place: str, entries: Iterable[Json], settings: dict[str, Json]) -> list[Json]:
    """Return the names in a list of tasks, and add what its entries say besides them to `settings`, by name.

    Args:
        place: the key of the list, for messages.
        entries: names, and mappings with `task` and keys of TaskSettings. Other values are returned as they
            are, for the caller's validation.
        settings: where the other keys of a mapping are put.

    Raises:
        ValueError: a mapping has no name.
    """
    return [_name(place, entry, settings) if isinstance(entry, Mapping) else entry for entry in entries]


def _name(place: str, entry: Mapping[str, Json], settings: dict[str, Json]) -> str:
    name = entry.get("task")
    if not isinstance(name, str):
        raise ValueError(f"{place}: an entry that is a mapping needs `task`, a name")
    settings[name] = {key: value for key, value in entry.items() if key != "task"}
    return name
