"""Models in memory, and how they respond to requests: all code that an answer depends on, besides merging.

Keys of stored answers hash this module and what it imports. Code that builds requests or computes scores must
not be imported here: a change of it would make every stored answer useless.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mergekit_finance.evaluation.inference.kept_model import KeptModel
from mergekit_finance.hosts import lm_eval_models as host
from mergekit_finance.hosts.lm_eval_output import hide_bars, quiet
from mergekit_finance.models.loading import load_model, load_tokenizer
from mergekit_finance.models.spread import Spread, is_spread

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from mergekit_finance.hosts.lm_eval_models import RequestArguments, Response

SAMPLING_SEED = 1234  # lm-eval's default


@dataclass(frozen=True)
class LiveModels:
    """How models are loaded and wrapped for lm-eval.

    Attributes:
        device: where models respond.
        dtype: the dtype that models are loaded in and merges are cast to; `auto`: as stored.
        batch_size: requests per forward pass, or lm-eval's `auto` and `auto:N`.
        quiet: without progress bars of a model's answers.
        engine: what computes the answers: `hf`, lm-eval's own class, or `compiled`, which gives the same
            answers sooner and leaves models that it does not support to `hf`.
        kept: the model that was wrapped last, whose memory the next one may take.
        models: how many models this process is expected to answer for; no answer depends on it.
        processes: how many processes of a study share the device and its memory.
        spread: the devices that one model is spread over; None: `device` holds it as a whole.
    """

    device: str = "cpu"
    dtype: str = "auto"
    batch_size: int | str = "auto"
    quiet: bool = False
    engine: str = "compiled"
    kept: KeptModel | None = field(default=None, repr=False, compare=False)
    models: int = field(default=1, compare=False)
    processes: int = field(default=1, compare=False)
    spread: Spread | None = field(default=None, compare=False)

    def load(self, reference: str, trust_remote_code: bool = False) -> "HFLM":
        """Load a model in this dtype, with its tokenizer, and wrap it for lm-eval.

        Args:
            reference: a local folder or a Hub id, optionally with `@revision`.
            trust_remote_code: let transformers run code of the model's repository.

        Raises:
            ModelError: model or tokenizer cannot be loaded.
        """
        model = load_model(reference, self.dtype, trust_remote_code, self.spread)
        return self.wrap(model, load_tokenizer(reference, trust_remote_code))

    def wrap(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", models: int = 1) -> "HFLM":
        """Move a model to the device, unless it is spread, and wrap it for lm-eval.

        Later changes of its parameters take effect. With `kept`, a model that was wrapped before does not
        respond as itself any more.

        Args:
            model: a model on any device.
            tokenizer: its tokenizer.
            models: how many models are going to be written into its parameters, itself included.
        """
        import torch  # imported here, like the hosts, to keep --help fast: it takes 1.4 s

        from mergekit_finance.evaluation.inference.compiled_lm import CompiledLM

        if self.kept and (reused := self.kept.reuse(model, tokenizer, self.device)):
            reused.models = self.models
            return reused
        with quiet():
            if not is_spread(model):
                torch.nn.Module.to(model, self.device)  # in place
            lm = CompiledLM(
                pretrained=model, tokenizer=tokenizer, batch_size=self.batch_size, engine=self.engine
            )
        if self.quiet:
            hide_bars(lm)
        lm.models = self.models if self.kept and self.kept.keep(lm) else models
        lm.processes = self.processes
        return lm

    def keeps(self, lm: "HFLM") -> bool:
        """Return whether this model's memory serves the next models, too."""
        return self.kept is not None and self.kept.holds(lm)


def ask_with_fixed_seed(
    lm: "HFLM",
    kind: str,
    requests: "Sequence[Instance]",
    on_answer: "Callable[[str, RequestArguments, Response], None]",
) -> "list[Response]":
    """Do what `hosts.lm_eval_models.ask` does, after the generators of random numbers were seeded.

    Linear layers in bfloat16 are computed in float32 where that is much faster.
    """
    from mergekit_finance.evaluation.inference.float32_products import float32_products  # it imports torch

    seed_sampling()
    with float32_products(lm.model.parameters()):
        return host.ask(lm, kind, requests, on_answer)


def seed_sampling() -> None:
    """Seed every generator as lm-eval's `simple_evaluate` does, for tasks that sample."""
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(SAMPLING_SEED)
    torch.manual_seed(SAMPLING_SEED)
