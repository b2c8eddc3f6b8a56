"""The blocks of study.yml besides its grids: experts, selection, search, evaluation."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AliasChoices, BeforeValidator, Field, model_validator

from mergekit_finance.errors import did_you_mean
from mergekit_finance.evaluation.chat import ChatSettings
from mergekit_finance.files import Json, is_name
from mergekit_finance.recipe.fields import (
    ConfigBlock,
    IsNumber,
    IsWhole,
    Name,
    PositiveCount,
    Reference,
    Seed,
    Text,
    as_list,
)

METHODS = ("grid", "successive_rejects")
DEFAULT_BUDGET = 0.25
ObjectiveWeight = Annotated[float, Field(gt=0, le=1e6), IsNumber]
MEMORY_SIZE = r"^\d{1,6}(\.\d{1,3})?([KMG]i?B)$"
Instruction = Annotated[str, Field(min_length=1, max_length=100_000)]


def _memory_size(value: Json) -> Json:
    if isinstance(value, str) and re.match(MEMORY_SIZE, value):
        return value
    raise ValueError("must be a number with KB, MB, GB, KiB, MiB or GiB, such as 40GiB")


def _template(value: Json) -> Json:
    """Refuse what is no member of the union, whose own messages name Python's types."""
    if isinstance(value, bool) or (isinstance(value, str) and 0 < len(value) <= 255 and is_name(value)):
        return value
    raise ValueError("must be true, false, or the name of a template of the models' tokenizers")


MemorySize = Annotated[str, Field(pattern=MEMORY_SIZE), BeforeValidator(_memory_size)]
Template = Annotated[bool | Name, BeforeValidator(_template)]


class StudyExpert(ConfigBlock):
    """A continually pre-trained model and what it is an expert in."""

    model: Reference
    skills: Annotated[tuple[Name, ...], Field(max_length=100), BeforeValidator(as_list)] = ()
    license: Text | None = Field(
        default=None,
        validation_alias=AliasChoices("license", "licence"),
        description="SPDX id or name of the model's license, for the card",
    )

    @model_validator(mode="before")
    @classmethod
    def _only_a_model(cls, data: Json) -> Json:
        """Read `legal: ./legal` as `legal: {model: ./legal}`."""
        return {"model": data} if isinstance(data, str) else data


class Selection(ConfigBlock):
    """How one hyperparameter per combination and operator is chosen."""

    share: Annotated[float, Field(gt=0, lt=1), IsNumber] = 0.3
    seed: Seed = 0
    same_items: bool = Field(
        default=False, description="select and report on the same items: optimistic, labelled"
    )


class Search(ConfigBlock):
    """Which settings are evaluated on all selection items: every one, or those that win a race on some."""

    method: Literal["grid", "successive_rejects"] = "grid"
    budget: Annotated[float, Field(gt=0, le=1), IsNumber] | None = Field(
        default=None, description="of a race: its share of the answers of the full grid; by default 0.25"
    )
    seed: Seed = 0

    @model_validator(mode="before")
    @classmethod
    def _method_is_known(cls, data: Json) -> Json:
        """Name the nearest method."""
        method = data.get("method", METHODS[0]) if isinstance(data, Mapping) else None
        if isinstance(method, str) and method not in METHODS:
            raise ValueError(f"method: there is no {method!r:.80}. {did_you_mean(method, METHODS)}")
        return data

    @model_validator(mode="after")
    def _only_a_race_has_a_budget(self) -> "Search":
        if self.budget is not None and not self.is_race:
            raise ValueError(
                "budget: the grid evaluates every setting. Set method: successive_rejects, or leave it out"
            )
        return self

    @property
    def is_race(self) -> bool:
        """Whether settings are dropped before they are evaluated on all selection items."""
        return self.method == "successive_rejects"

    @property
    def share(self) -> float:
        """The share of the answers that the full grid would ask for on selection items."""
        return DEFAULT_BUDGET if self.budget is None else self.budget


class Bound(ConfigBlock):
    """The least difference of a mean score from that of another model, in points of 100."""

    points: Annotated[float, Field(ge=-100, le=100), IsNumber]
    against: Name = Field(default="base", description="base, or the name of an expert")

    @model_validator(mode="before")
    @classmethod
    def _only_points(cls, data: Json) -> Json:
        """Read `retention: -2.0` as `retention: {points: -2.0}`."""
        return data if isinstance(data, Mapping) else {"points": data}


class Objective(ConfigBlock):
    """What selection maximizes, in place of the macro average, and which bounds a merge must keep."""

    maximize: Annotated[dict[Name, ObjectiveWeight], Field(min_length=1, max_length=1000)] = Field(
        default={"tasks": 1.0}, description="weight of each task or group in the objective"
    )
    subject_to: Annotated[dict[Name, Bound], Field(max_length=100)] = Field(
        default={}, description="task, group or kind: the least difference from the base, in points"
    )

    @property
    def names(self) -> list[str]:
        """All tasks, groups and kinds that are named."""
        return list(dict.fromkeys([*self.maximize, *self.subject_to]))


# Of torch, those that compute; whether this machine has one is checked when it is used.
DEVICE = re.compile(r"(cpu|cuda|mps|xpu|hpu|npu|xla|mtia|maia|ipu|hip|ve|vulkan|privateuseone)(:\d+)?")


class Evaluation(ConfigBlock):
    """How models are evaluated."""

    device: Name | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    engine: Literal["auto", "hf", "compiled"] = "auto"
    batch_size: Annotated[PositiveCount, Field(le=65536)] | None = Field(
        default=None, description="without it as many as fit"
    )
    parallelize: bool = Field(
        default=False, description="spread one model over all GPUs, layer by layer, as lm-eval does"
    )
    max_memory_per_gpu: MemorySize | None = Field(
        default=None, description="with parallelize: weights that one GPU may hold, such as 40GiB"
    )
    max_gen_toks: Annotated[PositiveCount, Field(le=10**6)] | None = None
    threads: Annotated[int, Field(ge=1, le=1024), IsWhole] = Field(
        default=1, description="CPU threads of one worker"
    )
    samples: Literal["all", "none"] = "all"
    apply_chat_template: Template | None = Field(
        default=None, description="prompts in each model's chat format; a name where a tokenizer has several"
    )
    system_instruction: Instruction | None = None
    fewshot_as_multiturn: bool | None = Field(
        default=None, description="few-shot examples as turns; by default with apply_chat_template"
    )

    @model_validator(mode="after")
    def _turns_need_a_template(self) -> "Evaluation":
        if self.fewshot_as_multiturn and not self.apply_chat_template:
            raise ValueError("fewshot_as_multiturn: needs apply_chat_template: true, as in lm-eval")
        return self

    @model_validator(mode="after")
    def _device_exists(self) -> "Evaluation":
        if self.device and not DEVICE.fullmatch(self.device):
            raise ValueError(f"device: {self.device} is no device of torch. Write cpu, cuda, cuda:0 or mps.")
        return self

    @model_validator(mode="after")
    def _parallelize_fits(self) -> "Evaluation":
        if self.max_memory_per_gpu and not self.parallelize:
            raise ValueError("max_memory_per_gpu: needs parallelize: true, as in lm-eval")
        if self.max_memory_per_gpu and not set(self.max_memory_per_gpu) & set("123456789"):
            raise ValueError(f"max_memory_per_gpu: {self.max_memory_per_gpu} holds nothing; write 40GiB")
        if self.parallelize and (self.device or "").startswith("cuda:"):
            raise ValueError(
                f"device: {self.device} is one GPU; with parallelize write cuda, and choose GPUs with "
                "CUDA_VISIBLE_DEVICES"
            )
        if self.parallelize and self.engine == "compiled":
            raise ValueError(
                "engine: compiled answers on one GPU; with parallelize, leave engine out: hf answers"
            )
        return self

    @property
    def chat(self) -> ChatSettings:
        """How prompts are formatted."""
        return ChatSettings(
            self.apply_chat_template or False, self.system_instruction, self.fewshot_as_multiturn
        )
