"""`similarity: true` in a recipe: similarity.json beside the merged model.

The tensors are measured while they are checked; the file appears in the output folder with the weights.
Its numbers are those of `mergekit-finance similarity` on the same models, in the recipe's order; where a
tokenizer block aligns vocabularies, they are those of the aligned tensors. A merge in memory has no output
folder and writes nothing.
"""

from pathlib import Path

from mergekit.common import ModelReference
from mergekit.config import MergeConfiguration

from mergekit_finance.merge_methods.check_recipe import SIMILARITY_FILE, experts_of
from mergekit_finance.merge_methods.planned_inputs import TensorInputs
from mergekit_finance.similarity.entries import result
from mergekit_finance.similarity.measures import Accumulator
from mergekit_finance.similarity.table import write_similarity


class MeasuredInputs:
    """The similarity of a recipe's models over the tensors added so far."""

    def __init__(self, base: ModelReference, experts: list[ModelReference]) -> None:
        self._base, self._skipped = str(base), list[str]()
        self._accumulator = Accumulator(self._base, [str(expert) for expert in experts])

    @classmethod
    def of(cls, config: MergeConfiguration) -> "MeasuredInputs":
        """Return an empty measurement of a checked recipe's base and experts."""
        assert config.base_model is not None  # check_recipe requires it
        return cls(config.base_model, experts_of(config))

    def add(self, inputs: TensorInputs) -> None:
        """Measure one output tensor's inputs. Tied tensors count once, buffers of integers not at all."""
        if inputs.tied_to:
            return
        if not inputs.floating:
            self._skipped.append(inputs.name)
            return
        tensors = {str(model): tensor for model, tensor in inputs.as_in_files().items()}
        self._accumulator.add(inputs.name, tensors[self._base], tensors)

    def write(self, folder: Path) -> None:
        """Write similarity.json into `folder`, atomically."""
        write_similarity(result(self._accumulator, sorted(self._skipped)), folder / SIMILARITY_FILE)
