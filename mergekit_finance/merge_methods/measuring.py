"""`similarity: true` in a recipe: measured while the inputs are checked, written when the merge is whole.

The numbers are those of `mergekit-finance similarity` on the same models, in the recipe's order; where a
tokenizer block aligns vocabularies they are of the aligned tensors. `similarity.json` appears in the
output folder after the weights, all at once. A merge in memory has no such folder and measures nothing.
"""

import logging
from pathlib import Path
from typing import Any

from mergekit.common import ModelReference
from mergekit.config import MergeConfiguration
from mergekit.io.tasks import FinalizeModel

from mergekit_finance.merge_methods.planned import Gathered, in_files
from mergekit_finance.merge_methods.recipe_checks import experts_of

LOG = logging.getLogger(__name__)
FILE = "similarity.json"


class Measured:
    """The similarity of a recipe's models, as far as their tensors have been seen."""

    def __init__(self, base: ModelReference, experts: list[ModelReference]) -> None:
        from mergekit_finance.similarity.measures import Accumulator

        self._base, self._skipped = str(base), list[str]()
        self._accumulator = Accumulator(self._base, [str(expert) for expert in experts])

    def add(self, gathered: Gathered) -> None:
        """Measure one output tensor's inputs; a tied one counts once, a buffer of integers not at all."""
        if gathered.tied_to:
            return
        if not gathered.floating:
            self._skipped.append(gathered.name)
            return
        tensors = {str(model): tensor for model, tensor in in_files(gathered).items()}
        self._accumulator.add(gathered.name, tensors[self._base], tensors)

    def write(self, folder: Path) -> None:
        """`similarity.json` in `folder`; whole or not there."""
        from mergekit_finance.similarity import table

        table.write(table.result(self._accumulator, sorted(self._skipped)), folder / FILE)


class FinalizeAndMeasure(FinalizeModel):
    """mergekit's last task of the weights, and then the file."""

    measured: Any  # Measured

    def execute(self, writer: Any, **arguments: Any) -> None:
        super().execute(writer=writer, **arguments)
        self.measured.write(Path(self.writer_task.out_path))


def wanted(config: MergeConfiguration) -> bool:
    """Whether a checked recipe asks for it; ask before mergekit plans, which rewrites the recipe."""
    return bool((config.parameters or {}).get("similarity"))


def begin(config: MergeConfiguration) -> Measured:
    """An empty measurement of a recipe's base and experts."""
    assert config.base_model is not None  # recipe_checks saw to it
    return Measured(config.base_model, experts_of(config))


def finalized(tasks: list[Any], measured: Measured) -> list[Any]:
    """mergekit's tasks to disk, the last one of the weights replaced."""
    return [
        FinalizeAndMeasure(**dict(task), measured=measured) if type(task) is FinalizeModel else task
        for task in tasks
    ]


def say_left_out(config: MergeConfiguration) -> None:
    """One line, for a merge in memory."""
    if wanted(config):
        LOG.warning(
            "similarity: true is left out: a merge in memory has no output folder; "
            "mergekit-yaml writes %s, or run mergekit-finance similarity",
            FILE,
        )
