"""Private names of transformers, written for transformers 5.23."""

from typing import TYPE_CHECKING

from mergekit_finance.errors import HostError, ModelError
from mergekit_finance.hosts.names import TRANSFORMERS

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


def causal_model_class(config: "PretrainedConfig") -> "type[PreTrainedModel]":
    """Return the class of causal language models that a config belongs to.

    Written for transformers 5.23 (`AutoModelForCausalLM._model_mapping`). Raises ModelError if there is none.
    """
    # Imported here: loading transformers' models takes 2.3 s, which --help should not pay.
    from transformers import AutoModelForCausalLM

    mapping = TRANSFORMERS.get(AutoModelForCausalLM, "_model_mapping")
    if mapping is None:  # the classes above AutoModelForCausalLM have the name, but no models
        raise HostError(TRANSFORMERS.lacks("AutoModelForCausalLM._model_mapping"))
    if type(config) not in mapping:
        raise ModelError(
            f"transformers has no causal language model for {type(config).__name__}. Merge models of an "
            "architecture that AutoModelForCausalLM loads."
        )
    return mapping[type(config)]
