"""The parts of a merged model besides its weights: config, generation config, tokenizer, chat template.

mergekit's own code writes them, into a temporary folder, before any tensor is read. A merge in memory and a
session load them from there as a merge on disk is loaded. A merge on disk is only checked, so that a broken
tokenizer, generation config or chat template is found before hours of merging, not after.
"""

import logging
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mergekit.config import MergeConfiguration
from mergekit.options import MergeOptions

from mergekit_finance.checks.findings import Findings
from mergekit_finance.checks.generation import generation_findings
from mergekit_finance.checks.small_files import check_chat_template, template_findings
from mergekit_finance.errors import ModelError, model_errors
from mergekit_finance.hosts import mergekit as host
from mergekit_finance.hosts.mergekit_recipes import chat_template_names
from mergekit_finance.hosts.transformers import causal_model_class, load_generation_config
from mergekit_finance.merge_methods.check_recipe import check_configs, sort_models
from mergekit_finance.merge_methods.method import CptMethod
from mergekit_finance.models.facts import fetched_folder
from mergekit_finance.models.loading import build_model, load_tokenizer
from mergekit_finance.models.tokenizer_files import has_tokenizer

if TYPE_CHECKING:
    import torch
    from mergekit.plan import MergePlanner
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


_place: Path | None = None  # where the folders of merges in memory are made; None: where the system says


def make_folders_in(place: Path) -> None:
    """Make the temporary folders of this process's merges in a folder whose owner removes it.

    A worker process ends at once, without removing its folders.
    """
    global _place
    _place = place


@dataclass(frozen=True)
class SideFiles:
    """Config and tokenizer of a merge. Its folder is removed when the tokenizer is no longer used.

    Attributes:
        folder: holds what mergekit writes, without the weights.
        config: of the merged model.
        tokenizer: of the merged model, with its chat template. Its name is that of the model it comes from.
    """

    folder: Path
    config: "PretrainedConfig"
    tokenizer: "PreTrainedTokenizerBase"

    def live_model(
        self, tensors: "Mapping[str, torch.Tensor]", device_map: Mapping[str, str] | None = None
    ) -> "PreTrainedModel":
        """Return the merged model as `from_pretrained` would load it from disk.

        Args:
            tensors: all its tensors.
            device_map: which device holds which modules; None: the CPU holds all.

        Raises:
            ModelError: tensors are missing, or the architecture has no parameter for them.
        """
        model = build_model(self.config, tensors, device_map)
        load_generation_config(model, self.folder)
        return model


def make_side_files(config: MergeConfiguration, options: MergeOptions) -> SideFiles:
    """Return config and tokenizer of a merge. Call it inside `fresh_loaders`.

    Args:
        config: the recipe. It is not changed.
        options: mergekit's.

    Raises:
        RecipeError: `chat_template:` is wrong.
        ModelError: a config, tokenizer, generation config or chat template is missing or broken.
    """
    check_configs(config, "", options.trust_remote_code, options.allow_crimes)
    folder = Path(tempfile.mkdtemp(prefix="mergekit-finance-", dir=_place))
    try:
        _write(config, options, folder)
        config_source = _config_source(config)
        loaded = _load_config(folder, config_source, options.trust_remote_code)
        causal_model_class(loaded)
        tokenizer = _load_tokenizer(folder, config, options.trust_remote_code)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    # Some tokenizers copy files of the folder when they are saved.
    weakref.finalize(tokenizer, shutil.rmtree, folder, ignore_errors=True)
    return SideFiles(folder, loaded, tokenizer)


def check_side_files(config: MergeConfiguration, options: MergeOptions) -> None:
    """Check that config and tokenizer of a merge on disk can be made and loaded.

    A model without tokenizer is merged without one, as by mergekit alone. Raises as `make_side_files` does.
    """
    with tempfile.TemporaryDirectory(prefix="mergekit-finance-") as name:
        folder, config_source = Path(name), _config_source(config)
        _write(config, options, folder)
        _load_config(folder, config_source, options.trust_remote_code)
        needs_tokenizer = options.copy_tokenizer or _aligns(config)
        if needs_tokenizer and (has_tokenizer(folder) or has_tokenizer(fetched_folder(config_source))):
            _load_tokenizer(folder, config, options.trust_remote_code)
        elif needs_tokenizer:  # a check warns before the merge
            host.log_missing_tokenizer_in_one_line()


def _write(config: MergeConfiguration, options: MergeOptions, folder: Path) -> None:
    if config.chat_template:
        check_chat_template(config.chat_template, chat_template_names(), "chat_template")
    if _aligns(config):  # mergekit takes the base's vocabulary for that of a model whose tokenizer is broken
        for model in config.referenced_models():
            place = Path(model.model.path)
            if place.is_dir() and has_tokenizer(place):
                load_tokenizer(str(model.model), options.trust_remote_code)
    with host.merge_errors(), _without_log("mergekit.merge"):
        host.write_side_files(config.model_copy(deep=True), folder, options, _sort_models)


@contextmanager
def _without_log(name: str) -> Iterator[None]:
    """Silence a logger: what mergekit logs here with a traceback is raised as one line afterwards."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _sort_models(planner: "MergePlanner") -> None:
    if isinstance(host.planner_method(planner), CptMethod):
        sort_models(planner)


def _config_source(config: MergeConfiguration) -> str:
    """Return the model whose config and, without a tokenizer block, whose tokenizer the merge gets."""
    return str((config.base_model or config.referenced_models()[0]).model)


def _aligns(config: MergeConfiguration) -> bool:
    return config.tokenizer is not None or config.tokenizer_source is not None


def _load_config(folder: Path, config_source: str, trust_remote_code: bool) -> "PretrainedConfig":
    # Imported here to keep --help fast: transformers' models take 2.3 s.
    from transformers import AutoConfig, GenerationConfig

    try:
        with model_errors(f"model {config_source!r}: its config cannot be loaded"):
            config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        if (folder / "generation_config.json").exists():
            message = f"model {config_source!r}: generation_config.json cannot be loaded"
            with model_errors(message, "model.generation-config"):
                generation = GenerationConfig.from_pretrained(folder)
            Findings(generation_findings(generation.to_dict(), config_source)).raise_errors()
    except ModelError as error:
        raise ModelError(error.message.replace(str(folder), config_source), id=error.id) from error
    return config


def _load_tokenizer(
    folder: Path, config: MergeConfiguration, trust_remote_code: bool
) -> "PreTrainedTokenizerBase":
    config_source = _config_source(config)
    if not has_tokenizer(folder):
        load_tokenizer(config_source, trust_remote_code)  # names what mergekit could not load
        raise ModelError(
            f"model {config_source!r}: mergekit could not copy its tokenizer. "
            "Write it anew with transformers.",
            id="model.tokenizer",
        )
    try:
        tokenizer = load_tokenizer(str(folder), trust_remote_code)
    except ModelError as error:
        if trust_remote_code and not _aligns(config) and not config.chat_template:
            return load_tokenizer(
                config_source, trust_remote_code
            )  # its code is in the model's own repository
        raise ModelError(error.message.replace(str(folder), config_source), id=error.id) from error
    Findings(template_findings(tokenizer.chat_template, config_source)).raise_errors()
    tokenizer.name_or_path = config_source
    return tokenizer
