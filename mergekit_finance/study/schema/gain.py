"""The model of gain.json: what `mergekit-finance run` measured."""

from mergekit_finance.evaluation.chat import ChatSettings
from mergekit_finance.file_models import BoundedFloat, Count, Part, PartWithNulls, Weight
from mergekit_finance.study.schema.effects import ItemFlips


class GainRow(PartWithNulls):
    """Scores of one task, or their means over all tasks, weighted by `weight` (`macro`).

    Attributes:
        merged: score of the merge in [0, 1], or its value in `unit`.
        constituents: score of each constituent.
        gain: `merged` minus the mean of the constituents; in a unit of which less is better, the reverse.
        og: `merged` minus the best constituent per task; likewise.
        intervals: 95 % intervals of `merged`, `gain` and `og`; left out with fewer than two clusters, and for
            metrics over all items at once.
        unit: the metric's name, if it is no score in [0, 1]; `lower_is_better` belongs to it.
        clusters: of a task: independent groups of items; intervals are made of these.
        n: of a task: items.
        weight: of a task in `macro`.
        truncated: of a task: items whose prompt did not fit the context of some model.
        is_zero_shot: of a task: whether its prompts lack demonstrations because train rows are missing.
        flips_gain, flips_og: items that flipped against all constituents, and against the best constituent of
            each task; left out for values in a unit.
    """

    merged: BoundedFloat
    constituents: dict[str, BoundedFloat]
    gain: BoundedFloat
    og: BoundedFloat
    intervals: dict[str, tuple[BoundedFloat, BoundedFloat]] | None = None
    clusters: Count = 0
    n: Count = 0
    weight: Weight = 1.0
    unit: str = ""
    lower_is_better: bool = False
    truncated: Count = 0
    is_zero_shot: bool = False
    flips_gain: ItemFlips | None = None
    flips_og: ItemFlips | None = None


class ChatUsed(Part):
    """The settings of `evaluation.chat`, where prompts are not as the tasks define them."""

    apply_chat_template: bool | str = False
    system_instruction: str = ""
    fewshot_as_multiturn: bool = False

    @property
    def words(self) -> str:
        """How prompts were rendered."""
        instruction = self.system_instruction or None
        return ChatSettings(self.apply_chat_template, instruction, self.fewshot_as_multiturn).words


FORMAT = 2  # of gain.json


class GainFile(PartWithNulls):
    """gain.json: the scores of a merge and its constituents, Gain and OG, and what they were measured with.

    Attributes:
        recipe: the recipe's text.
        seed: of mergekit's random methods.
        models: reference -> fingerprint.
        results: reference, or "merged" -> folder below points/.
        random_weights: references of models that were never trained.
        macro: means over the tasks with scores in [0, 1]; None without such a task.
        macros_by_unit: means over the tasks of each other unit.
        chat: the settings of `evaluation.chat`, where prompts are not as the tasks define them.
    """

    format: int
    recipe: str
    method: str
    semantics: str
    stage: int
    seed: int | None
    base: str | None
    models: dict[str, str]
    results: dict[str, str]
    limit: int | None
    source: str
    random_weights: list[str]
    tasks: dict[str, GainRow]
    macro: GainRow | None = None
    macros_by_unit: dict[str, GainRow] = {}
    chat: ChatUsed | None = None
