"""The checks of `mergekit-finance check` for the models of a merge that mergekit plans."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mergekit.common import ModelReference
from mergekit.config import MergeConfiguration
from mergekit.options import MergeOptions

from mergekit_finance.checks.check_all import check_all
from mergekit_finance.checks.densities import densities_of
from mergekit_finance.checks.filters import filters_of
from mergekit_finance.checks.merge_facts import How
from mergekit_finance.errors import ModelError
from mergekit_finance.hosts.mergekit import opened_folder
from mergekit_finance.hosts.mergekit_recipes import recipe_file
from mergekit_finance.merge_methods.check_recipe import entries_of, owners_of


@dataclass(frozen=True)
class MergedModels:
    """The models of a recipe before mergekit plans it, which changes the configuration.

    Attributes:
        models: every model that is merged, the base first.
        settings: the settings of the merge that checks use.
        trust_remote_code: as in transformers.
    """

    models: list[ModelReference]
    settings: How
    trust_remote_code: bool

    @classmethod
    def of(cls, config: MergeConfiguration, options: MergeOptions) -> "MergedModels":
        """Return the models of a recipe that is not planned yet.

        Args:
            config: the recipe.
            options: mergekit's. They decide which errors are warnings, as mergekit accepts them.
        """
        settings = How(
            has_base=config.base_model is not None,
            aligned=config.tokenizer is not None or config.tokenizer_source is not None,
            dtype=config.dtype,
            out_dtype=config.out_dtype,
            method=config.merge_method,
            device=str(options.device or "cpu"),
            accepted=_accepted(config, options),
            filters=filters_of(config.model_dump()),
            densities=densities_of(config.model_dump()),
        )
        return cls(_models(config), settings, options.trust_remote_code)

    def check(self, out: Path | None = None) -> None:
        """Check the models of a planned merge; print warnings and notes to stderr, each once per process.

        The files that mergekit opened are checked, those of a merged LoRA adapter included.

        Args:
            out: the output folder; None for a merge in memory.

        Raises:
            ModelError, RecipeError: in one line, the first error.
        """
        settings = self.settings.copy()
        settings["out"], settings["in_memory"] = out, out is None
        settings["checkpoints"] = int(out is not None)
        check_all(
            [str(model) for model in self.models],
            str(recipe_file() or ""),
            trust_remote_code=self.trust_remote_code,
            fetch=False,
            folders={str(model): opened_folder(model) for model in self.models},
            **settings,
        )

    @contextmanager
    def while_planning(self, out: Path | None = None) -> Iterator[None]:
        """Replace mergekit's error about models that it cannot plan by the finding of `check`, if any.

        Args:
            out: as in `check`.
        """
        try:
            yield
        except ModelError as error:
            if error.id == "merge.failed":
                self.check(out)
            raise


def _models(config: MergeConfiguration) -> list[ModelReference]:
    bases = [part.base_model for owner in owners_of(config) for part in owner.slices or ()]
    models = [config.base_model, *bases, *(entry.model for _, entry in entries_of(config))]
    return list(dict.fromkeys(model for model in models if model is not None))


def _accepted(config: MergeConfiguration, options: MergeOptions) -> frozenset[str]:
    """Return the ids of errors that do not end this merge."""
    accepted = {"model.not-floats"}  # integer buffers are copied; the planner refuses those that differ
    if options.allow_crimes:
        accepted |= {"model.architecture", "model.vocabulary"}
    if options.unsafe_truncate_embeddings:
        accepted |= {"model.vocabulary", "model.shape"}
    if config.modules or any(owner.slices for owner in owners_of(config)):  # which take parts of models
        accepted |= {"model.architecture", "model.tensor-lost", "model.tensor-missing"}
    return frozenset(accepted)
