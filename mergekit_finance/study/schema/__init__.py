"""Every file that a study writes, as a typed model: what the writer returns and what all readers use.

    OUT/study.json        StudyFile     the study as it was run
    OUT/unfinished.json   UnfinishedStudy  what an unfinished study will evaluate
        tasks.json        TaskInfo      by task
        index.json        Index         models and points, and which folder holds their results
        similarity.json   StudySimilarity  how far the models are apart before a merge
        summary.json      Summary       the whole answer
        timings.json      Timings       seconds
        timings/<id>.json ProcessTimes  seconds of one process by kind of work
        analysis.json     AnalysisFile  what summary.json was computed from
        plan.json         PlanFile      the limit that a budget led to
        gain.json         GainFile      what `mergekit-finance run` measured, in place of all above
        points/<folder>/scores.json     Columns       by task
                        key.json        Key           what the folder's hash is of
                        timings.json    Timings
        answers/<folder>/key.json       a mapping     what the hash is of; see evaluation.answer_store
        (results.json and samples_*.jsonl are lm-eval's, recipe.yml mergekit's, files.json is {name: sha256})

Scores and differences of scores are in [0, 1] and [-1, 1]. Keys that older versions wrote are read as aliases
(`parents`, `best_parent`, `over_best_parent`, `licence`, ...); the new keys are written.
"""

from mergekit_finance.evaluation.columns import Columns
from mergekit_finance.file_models import MAX_NUMBER, BoundedFloat, Count, Part, Value
from mergekit_finance.study.schema.answer import (
    FORMAT,
    NOT_SELECTED,
    Advice,
    AdviceKind,
    CombinationResult,
    Correlation,
    Evaluated,
    ModelResult,
    OperatorComparison,
    OperatorDifference,
    OperatorScores,
    Optimism,
    PointResult,
    PredictorRow,
    Predictors,
    SelectionResult,
    Sentence,
    Ship,
    Summary,
    TaskResult,
)
from mergekit_finance.study.schema.effects import (
    Effect,
    EffectKind,
    Effects,
    ItemFlips,
    Recovery,
    TaskEffect,
    TaskSet,
)
from mergekit_finance.study.schema.gain import ChatUsed, GainFile, GainRow
from mergekit_finance.study.schema.objective import BoundResult, Keeps, ObjectiveModel, ObjectiveResult
from mergekit_finance.study.schema.stored import (
    NO_SKILL,
    AnalysisFile,
    Dropped,
    Index,
    Key,
    MergeRecipe,
    ModelEntry,
    PlanFile,
    PointEntry,
    ProcessTimes,
    RaceResult,
    RaceRound,
    RecipeModel,
    StudyFile,
    StudySimilarity,
    TaskInfo,
    Timings,
    UnfinishedStudy,
)
from mergekit_finance.study.schema.units import Estimated, UnitResults, UnitScores, UnitTask, estimated
from mergekit_finance.study.schema.values import (
    Interval,
    Ranges,
    Side,
    rounded,
)

__all__ = [
    "ChatUsed",
    "ObjectiveResult",
    "ObjectiveModel",
    "Keeps",
    "BoundResult",
    "FORMAT",
    "NO_SKILL",
    "NOT_SELECTED",
    "MAX_NUMBER",
    "Advice",
    "AdviceKind",
    "AnalysisFile",
    "Columns",
    "CombinationResult",
    "Correlation",
    "Count",
    "Dropped",
    "Effect",
    "EffectKind",
    "Effects",
    "Estimated",
    "Evaluated",
    "GainFile",
    "GainRow",
    "Index",
    "Interval",
    "ItemFlips",
    "Key",
    "MergeRecipe",
    "ModelEntry",
    "ModelResult",
    "BoundedFloat",
    "OperatorComparison",
    "OperatorDifference",
    "OperatorScores",
    "Optimism",
    "Part",
    "PlanFile",
    "ProcessTimes",
    "PointEntry",
    "PointResult",
    "PredictorRow",
    "Predictors",
    "RaceResult",
    "RaceRound",
    "Ranges",
    "RecipeModel",
    "Recovery",
    "SelectionResult",
    "Sentence",
    "Ship",
    "Side",
    "StudyFile",
    "StudySimilarity",
    "Summary",
    "TaskEffect",
    "TaskInfo",
    "TaskResult",
    "TaskSet",
    "Timings",
    "UnfinishedStudy",
    "UnitResults",
    "UnitScores",
    "UnitTask",
    "Value",
    "estimated",
    "rounded",
]
