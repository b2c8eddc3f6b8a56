"""Tasks and their scores as task files declare them, for checks that load neither lm-eval nor rows.

The answers are those of an `Evaluator` that loaded the same tasks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from mergekit_finance.evaluation.task_measures import CORPUS, OURS, MetricChoice, choose, unit_of
from mergekit_finance.hosts.task_files import FunctionName, TaskEntry, TaskFiles, configs
from mergekit_finance.hosts.task_metrics import declared_filters, declared_metrics, is_readable
from mergekit_finance.plugins.manager import plugin_packages

if TYPE_CHECKING:
    from mergekit_finance.hosts.task_files import Settings


@dataclass(frozen=True)
class DeclaredMeasure:
    """What a task file declares as the task's score.

    Attributes:
        metric: its name in lm-eval's results.
        unit: the metric's name if it is measured in a unit of its own, or "" for a score in [0, 1].
        per_item: whether the task's value can be computed again from stored scores of items.
    """

    metric: str
    unit: str
    per_item: bool


@dataclass
class DeclaredTasks:
    """The tasks behind names, with what their files declare.

    Attributes:
        names: names of tasks, groups or tags.
        files: the task files, in which the names were looked up.
        choices: by name of `names`: which metric and filter is the score.
    """

    names: Sequence[str]
    files: TaskFiles
    choices: Mapping[str, MetricChoice] = field(default_factory=dict)

    @cached_property
    def configs(self) -> "dict[str, Settings]":
        """The content of the file of every single task that could be read."""
        return {task: config for name in self.names for task, config in configs(name, self.files.index)}

    @cached_property
    def unread(self) -> list[str]:
        """The names of which files do not say all: tags of lm-eval, and tasks that are Python classes."""
        return [name for name in self.names if not self._is_read(name)]

    def _is_read(self, name: str) -> bool:
        of_name = dict(configs(name, self.files.index))
        return (
            bool(of_name)
            and self.files.reached([name]) is not None
            and all(map(is_readable, of_name.values()))
        )

    @cached_property
    def measures(self) -> dict[str, DeclaredMeasure]:
        """What the score of each task is, by task.

        Raises:
            DataError: a task has no metric, or not the metric or filter of its choice.
        """
        return {name: self.measure(name) for name, config in self.configs.items() if is_readable(config)}

    def measure(self, name: str) -> DeclaredMeasure:
        """Return what the score of one task is. Raises DataError as `measures`."""
        config = self.configs[name]
        metrics = declared_metrics(name, config)
        metric, _ = choose(name, list(metrics), declared_filters(name, config), self._choice(name))
        declared = metrics[metric]
        unit = unit_of(metric, declared.higher_is_better)
        return DeclaredMeasure(metric, unit, _is_per_item(declared.aggregation))

    def _choice(self, task: str) -> MetricChoice:
        return next(
            (self.choices[name] for name in self.choices if task in self.members(name)), MetricChoice()
        )

    def members(self, name: str) -> list[str]:
        """Return the single tasks of a name: those of a group or tag, or the task itself."""
        return sorted(task for task, _ in configs(name, self.files.index))

    @cached_property
    def selectable(self) -> list[str]:
        """Names whose `members` are tasks of `names`."""
        return sorted({*self.names, *self._entries, *self.configs})

    @property
    def task_names(self) -> list[str]:
        """Names of the single tasks, sorted."""
        return sorted(self.configs)

    def is_group(self, name: str) -> bool:
        """Return whether a name is that of a group, of these tasks or of lm-eval."""
        return (
            not self.files.look_up([name])
            and name in self.files.index
            and self.files.index[name].kind == "group"
        )

    @property
    def _entries(self) -> Mapping[str, TaskEntry]:
        return self.files.reached(self.names) or {}


def _is_per_item(aggregation: str) -> bool:
    """Return what `Measure.per_item` is for an aggregation with this name in a task file."""
    if isinstance(aggregation, FunctionName):
        package = aggregation.partition(".")[0]
        return package == OURS or package in plugin_packages()
    return aggregation.replace("+", "p") not in CORPUS
