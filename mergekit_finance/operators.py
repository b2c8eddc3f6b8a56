"""The merge operators of the study: names, parameters and sources; and the values of hyperparameters."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mergekit_finance.files import Json


@dataclass(frozen=True)
class Operator:
    """A merge operator.

    Attributes:
        key: its name in study.yml and in result files.
        method: the name of the merge method that mergekit runs.
        label: its name in text and figures.
        short: its name where there is little room.
        slug: its name in file and point names.
        parameters: the hyperparameters that a study sweeps, slowest first.
        citation: the paper that introduced it.
    """

    key: str
    method: str
    label: str
    short: str
    slug: str
    parameters: tuple[str, ...]
    citation: str


_ALL = (
    Operator(
        key="task_arithmetic",
        method="cpt_task_arithmetic",
        label="Task Arithmetic",
        short="TA",
        slug="ta",
        parameters=("lambda", "weight"),
        citation="Task Arithmetic: Ilharco et al., Editing Models with Task Arithmetic, arXiv 2212.04089",
    ),
    Operator(
        key="ties",
        method="cpt_ties",
        label="TIES",
        short="TIES",
        slug="ties",
        parameters=("density", "lambda", "weight"),
        citation="TIES: Yadav et al., TIES-Merging, arXiv 2306.01708",
    ),
    Operator(
        key="dare_ties",
        method="cpt_dare_ties",
        label="DARE-TIES",
        short="DARE-TIES",
        slug="dare-ties",
        parameters=("density", "lambda", "weight", "seed"),
        citation=(
            "DARE-TIES: Yu et al., Language Models are Super Mario, arXiv 2311.03099; TIES: arXiv 2306.01708"
        ),
    ),
)

OPERATORS = {operator.key: operator for operator in _ALL}  # simplest first: the first is selected in a tie
BY_METHOD = {operator.method: operator for operator in _ALL}
BY_SLUG = {operator.slug: operator for operator in _ALL}
MIN_DENSITY = 2.0**-32  # resolution of a DARE mask; below, TIES keeps nothing of 2 billion parameters
MIN_FLOAT32 = 2.0**-126  # smaller numbers lose digits in float32, or are 0 there
PARAMETER_SYMBOLS = {"lambda": "λ", "density": "d", "weight": "w", "seed": "seed"}


# ---- merge methods of mergekit and its plugins

OF_HOST = "mergekit_"  # begins the keys of mergekit's own methods that have the name of one of our operators
# Method of mergekit 0.1.5: its label, and its source.
_METHODS = {
    "arcee_fusion": ("Arcee Fusion", "Arcee AI, https://arcee.ai"),
    "breadcrumbs": ("Model Breadcrumbs", "Davari and Belilovsky, Model Breadcrumbs, arXiv 2312.06795"),
    "breadcrumbs_ties": (
        "Model Breadcrumbs with TIES",
        "Davari and Belilovsky, Model Breadcrumbs, arXiv 2312.06795; TIES: arXiv 2306.01708",
    ),
    "dare_linear": ("DARE Linear", "Yu et al., Language Models are Super Mario, arXiv 2311.03099"),
    "dare_ties": ("DARE-TIES", "Yu et al., Language Models are Super Mario, arXiv 2311.03099"),
    "della": ("DELLA", "Deep et al., DELLA-Merging, arXiv 2406.11617"),
    "della_linear": ("DELLA Linear", "Deep et al., DELLA-Merging, arXiv 2406.11617"),
    "karcher": ("Karcher Mean", "arXiv 2603.04972"),
    "linear": ("Linear", "Wortsman et al., Model soups, arXiv 2203.05482"),
    "model_stock": ("Model Stock", "Jang et al., Model Stock, arXiv 2403.19522"),
    "multislerp": ("Multi-SLERP", "https://goddard.blog/posts/multislerp-wow-what-a-cool-idea"),
    "nearswap": ("NearSwap", "https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001"),
    "nuslerp": ("NuSLERP", ""),
    "passthrough": ("Passthrough", ""),
    "ram": ("RAM", "Reinforced Agent Merging, arXiv 2601.13572"),
    "ramplus_tl": ("RAM+ (tensor-local)", "Reinforced Agent Merging, arXiv 2601.13572"),
    "sce": ("SCE", "Wan et al., FuseChat, arXiv 2408.07990"),
    "slerp": ("SLERP", "Shoemake, Animating rotation with quaternion curves, SIGGRAPH 1985"),
    "task_arithmetic": (
        "Task Arithmetic",
        "Ilharco et al., Editing Models with Task Arithmetic, arXiv 2212.04089",
    ),
    "ties": ("TIES", "Yadav et al., TIES-Merging, arXiv 2306.01708"),
}
RANDOM = (
    "dare_linear",
    f"{OF_HOST}dare_ties",
    "della",
    "della_linear",
)  # keys of mergekit's methods that draw
# mergekit's methods without random numbers; arcee_fusion draws from large tensors, and plugins' methods may.
DRAWS_NOTHING = frozenset(_METHODS) - {"arcee_fusion", *(key.removeprefix(OF_HOST) for key in RANDOM)}


def method_name(key: str) -> str:
    """Return the name in mergekit of an operator of study.yml that is not in `OPERATORS`."""
    return key.removeprefix(OF_HOST) if key.removeprefix(OF_HOST) in OPERATORS else key


def method_key(name: str) -> str:
    """Return the key in study.yml of a merge method of mergekit or a plugin."""
    return f"{OF_HOST}{name}" if name in OPERATORS else name


def operator_of(key: str) -> Operator:
    """Return an operator: one of ours, or any merge method of mergekit or a plugin.

    A method that is not in the table, of a plugin or another version, has its key as its label.
    """
    if key in OPERATORS:
        return OPERATORS[key]
    name = method_name(key)
    label, source = _METHODS.get(name, (key, ""))
    label = f"{label} (mergekit)" if name != key else label
    citation = f"{label}: {source}" if source else f"{label}: merge method `{name}` of mergekit or a plugin"
    return Operator(key, name, label, label, key.replace("_", "-"), (), citation)


def operator_rank(key: str) -> tuple[int, str]:
    """Return a sort key: the operators of `OPERATORS` in their order, then others by name."""
    return (list(OPERATORS).index(key) if key in OPERATORS else len(OPERATORS), key)


# ---- the hyperparameters of a point: a value for all experts (`lambda`), or one for each (`lambda.finance`)
#
# A value is a number, a word, true or false; a list of numbers, mergekit's gradient over the layers; or a
# list of mergekit's filters, such as [{filter: mlp, value: 0.4}, {value: 0.8}].


def key_of(parameter: str, expert: str) -> str:
    """Return the key of an expert's value of a hyperparameter."""
    return f"{parameter}.{expert}"


def parameter_of(key: str) -> str:
    """Return the hyperparameter that a key is about: `lambda` of `lambda.finance`."""
    return key.partition(".")[0]


def by_parameter(values: Mapping[str, Json]) -> dict[str, Json]:
    """Return the values of a point with those by expert as mappings: `{"lambda": {"finance": 0.6}}`."""
    nested: dict[str, Json] = {}
    for key, value in values.items():
        parameter, _, expert = key.partition(".")
        of_experts = nested.setdefault(parameter, {}) if expert else value
        if expert and isinstance(of_experts, dict):
            of_experts[expert] = value
        else:
            nested[parameter] = value
    return nested


def value_of(value: Json, expert: str) -> Json:
    """Return an expert's value of a hyperparameter. Raises KeyError: it has none."""
    return value[expert] if isinstance(value, Mapping) else value


def size_error(name: str, number: float) -> str:
    """Return what is wrong with a number that is too small for the arithmetic of a merge, or "".

    Args:
        name: the parameter: a density has a bound of its own.
    """
    if name == "density" and number < MIN_DENSITY:
        return f"keeps nothing; the smallest density is {MIN_DENSITY:.1g}"
    if 0 < abs(number) < MIN_FLOAT32:
        return f"is too small for float32, whose smallest number above 0 is {MIN_FLOAT32:.2g}"
    return ""


def number_of(value: Json) -> float | None:
    """Return a value that is a number, else None."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def value_text(value: Json) -> str:
    """Return `0.4`, `[0.2, 0.8]` for a gradient, or `[mlp 0.4, else 0.8]` for filters."""
    if isinstance(value, list):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, dict):
        return f"{value.get('filter') or 'else'} {value_text(value.get('value'))}"
    number = number_of(value)
    return str(value).lower() if isinstance(value, bool) else str(value) if number is None else f"{number:g}"


def format_value(value: Json) -> str:
    """Return a hyperparameter as names and comments write it: 0.5, 1.0; whole numbers (seeds) as they are.

    A gradient or filters become their first characters and a hash, because a name is a folder's, too.
    """
    if isinstance(value, list):
        text = re.sub(r"[^\w.]+", "_", value_text(value)).strip("_")[:24]
        return f"{text}~{hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:6]}"
    if isinstance(value, str):
        return re.sub(r"[^\w.]", "_", value)
    return repr(value) if isinstance(value, float) else str(value).lower()


def value_order(value: Json) -> tuple[int, float, str]:
    """Return a sort key of values: numbers by size, then others by their text."""
    number = number_of(value)
    return (0, number, "") if number is not None else (1, 0.0, json.dumps(value, sort_keys=True))


def values_text(values: Mapping[str, Json], symbols: Mapping[str, str] = PARAMETER_SYMBOLS) -> str:
    """Return `d 0.2, λ 0.4` in the order of `values`; values by expert as `λ (finance 0.6, math 0.4)`."""
    texts = []
    for parameter, value in by_parameter(values).items():
        text = value_text(value)
        if isinstance(value, dict):
            text = f"({', '.join(f'{expert} {value_text(each)}' for expert, each in value.items())})"
        texts.append(f"{symbols.get(parameter, parameter)} {text}")
    return ", ".join(texts)
