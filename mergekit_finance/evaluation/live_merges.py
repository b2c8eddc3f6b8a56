"""Merges as live models, ready to be evaluated: one recipe, or a sweep over values of one recipe."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mergekit_finance.engine.finite import require_finite
from mergekit_finance.evaluation.evaluator import Evaluator, torch_dtype
from mergekit_finance.files import Json
from mergekit_finance.hosts.lm_eval import quiet as quiet_hosts
from mergekit_finance.merging.in_memory import merge
from mergekit_finance.merging.session import MergeSession
from mergekit_finance.models.loading import cast

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM
    from mergekit.config import MergeConfiguration


def merge_once(
    configuration: "MergeConfiguration",
    evaluator: Evaluator,
    trust_remote_code: bool,
    seed: int | None = None,
) -> "HFLM":
    """Merge any recipe that mergekit takes, drawing from `seed`, and wrap the live model for lm-eval."""
    from mergekit.options import MergeOptions  # takes 4.5 s to load, which readers of results should not pay

    options = MergeOptions(
        device=evaluator.device,
        trust_remote_code=trust_remote_code,
        quiet=evaluator.quiet,
        random_seed=seed,
    )
    with quiet_hosts():
        model, tokenizer = merge(configuration, options)
    return evaluator.wrap(cast(model, torch_dtype(evaluator.dtype)), tokenizer)


class Sweep:
    """Points of one recipe that differ in the method's values, written one after another into one live model.

    Constituents are opened at the first point and kept until `close`.
    """

    def __init__(self, evaluator: Evaluator, trust_remote_code: bool = False) -> None:
        self.evaluator, self.trust_remote_code = evaluator, trust_remote_code
        self._densities: list[float] = []
        self._open: tuple[MergeSession, HFLM] | None = None

    def prepare(self, densities: Sequence[float]) -> None:
        """Tell which densities come next: their thresholds are found in one pass over the task vectors."""
        self._densities = sorted(set(densities))
        if self._open and self._densities:
            self._open[0].prepare(density=self._densities)

    def close(self) -> None:
        """Release the constituents and the live model."""
        if self._open:
            self._open[0].close()
            self._open = None

    def at(self, recipe: Mapping[str, Json], values: Mapping[str, float]) -> "HFLM":
        """Merge at these values and return the live model in lm-eval's wrapper.

        Args:
            recipe: the plain recipe of the first point; later points differ from it in `values` only.
            values: `lambda`, `density`, `seed` of this point.

        Raises:
            ModelError: the merge holds NaN or infinity.
        """
        session, host = self._open or self._opened(recipe)
        named = {"lambda_" if key == "lambda" else key: value for key, value in values.items()}
        for name, tensor in session.apply(**named).named_parameters():
            require_finite(name, tensor)
        return host

    def _opened(self, recipe: Mapping[str, Json]) -> "tuple[MergeSession, HFLM]":
        device, trust = self.evaluator.device, self.trust_remote_code
        with quiet_hosts():
            session = MergeSession.open(recipe, device=device, trust_remote_code=trust, merged=False)
        if self._densities:
            session.prepare(density=self._densities)
        model = cast(session.model, torch_dtype(self.evaluator.dtype))
        self._open = session, self.evaluator.wrap(model, session.tokenizer)
        return self._open
