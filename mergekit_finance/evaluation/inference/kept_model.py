"""Keep one live model, whose buffers and captured graphs serve the next model of the same architecture."""

from typing import TYPE_CHECKING

from mergekit_finance.evaluation.truncation import tokenizer_content

if TYPE_CHECKING:
    import torch
    from lm_eval.models.huggingface import HFLM
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from mergekit_finance.evaluation.inference.compiled_lm import CompiledLM

LARGEST_SHARE = 0.05  # of a GPU's memory; larger models are not kept beside the next constituents
NAMES_AND_VERSIONS = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")


class KeptModel:
    """The model that was wrapped last."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._lm: CompiledLM | None = None

    def holds(self, lm: "HFLM") -> bool:
        """Return whether this is the kept model."""
        return self._lm is lm

    def reuse(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", device: str
    ) -> "CompiledLM | None":
        """Return the kept model with the weights of another one, or None if they do not fit it.

        From then on the other model's parameters share the memory of the kept ones, so that a session that
        merges into it changes what responds.

        Args:
            model: a model on any device.
            tokenizer: its tokenizer.
            device: where the model has to respond.
        """
        import torch  # imported here and below to keep reading of results fast: it takes 1.4 s

        lm = self._lm
        if lm is None or not _interchangeable(lm.model, model, torch.device(device)):
            self._lm = None
            return None
        if _reading(lm.tokenizer) != _reading(tokenizer):
            self._lm = None
            return None
        with torch.no_grad():
            for target, source in zip(_tensors(lm.model), _tensors(model), strict=True):
                target.data.copy_(source.data)
                source.data = target.data
        return lm

    def keep(self, lm: "CompiledLM") -> bool:
        """Keep a model on a GPU for the next one, unless it answers as `hf` or is large.

        Returns:
            Whether it is kept.
        """
        import torch

        size = sum(tensor.nbytes for tensor in _tensors(lm.model))
        on_gpu = lm.device.type == "cuda" and not lm.plain_reason
        if on_gpu and size <= LARGEST_SHARE * torch.cuda.mem_get_info(lm.device)[1]:
            self._lm = lm
        return self.holds(lm)


def _tensors(model: "PreTrainedModel") -> "list[torch.Tensor]":
    return [*model.parameters(), *model.buffers()]


def _interchangeable(first: "PreTrainedModel", second: "PreTrainedModel", device: "torch.device") -> bool:
    """Return whether two models compute the same function of their weights, on this device."""
    if type(first) is not type(second) or first.device.type != device.type:
        return False
    if device.index is not None and first.device.index != device.index:
        return False
    settings = [
        {name: value for name, value in one.config.to_dict().items() if name not in NAMES_AND_VERSIONS}
        for one in (first, second)
    ]
    generation = [one.generation_config.to_diff_dict() for one in (first, second)]
    shapes = [[(tensor.shape, tensor.dtype) for tensor in _tensors(one)] for one in (first, second)]
    return settings[0] == settings[1] and generation[0] == generation[1] and shapes[0] == shapes[1]


def _reading(tokenizer: "PreTrainedTokenizerBase") -> tuple[str, str, str]:
    """Return what decides how texts become tokens and tokens become texts."""
    return tokenizer_content(tokenizer), str(tokenizer.special_tokens_map), str(tokenizer.chat_template)
