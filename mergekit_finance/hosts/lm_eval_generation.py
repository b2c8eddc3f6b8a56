"""Adapters for lm-eval's handling of stop strings and generation settings. Written for lm-eval 0.4.13."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mergekit_finance.files import Json

GENERATED_BY_DEFAULT = 256  # tokens of an answer for which nothing else is said
GREEDY: "Mapping[str, Json]" = {"do_sample": False, "temperature": 0.0}


@dataclass(frozen=True)
class Generation:
    """The settings of a generation.

    Attributes:
        until: strings that end an answer, the end-of-sequence text among them.
        max_gen_toks: the largest number of tokens of an answer.
        is_greedy: whether there are no other settings, and nothing is sampled.
    """

    until: tuple[str, ...]
    max_gen_toks: int
    is_greedy: bool


def read_generation_settings(settings: "Mapping[str, Json]", default_max: int, eos: str) -> Generation:
    """Read a request's settings as lm-eval's `hf` model does.

    Args:
        settings: the request's.
        default_max: the model's largest number of tokens for requests without one.
        eos: the text of the end-of-sequence token.
    """
    from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

    normalized = normalize_gen_kwargs(dict(settings), default_max)
    until = handle_stop_sequences(normalized.pop("until", None), eos=eos)
    most = int(normalized.pop("max_gen_toks"))
    is_greedy = all(name in GREEDY and value == GREEDY[name] for name, value in normalized.items())
    return Generation(tuple(until), most, is_greedy)


def cut_at_stop(text: str, until: Sequence[str]) -> str:
    """Return an answer's text before the first stop string."""
    from lm_eval.models.utils import postprocess_generated_text

    answer: str = postprocess_generated_text(generation=text, stop=list(until), think_end_token=None)
    return answer
