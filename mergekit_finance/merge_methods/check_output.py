"""Checks of a merge to disk before anything is written: its output folder, and its recipe's text.

They are not imported by the planner hook but passed to `install_planner_hook`: they change no merge, so their
code must not be part of the keys of stored results.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from mergekit.common import ModelReference
from mergekit.config import MergeConfiguration

from mergekit_finance.checks.output import Input, check_output, check_recipe_kept, model_inputs
from mergekit_finance.errors import RecipeError
from mergekit_finance.files import load_yaml, yaml_text
from mergekit_finance.hosts.mergekit_recipes import recipe_file, recipe_text
from mergekit_finance.merge_methods.check_recipe import entries_of, owners_of

if TYPE_CHECKING:
    from mergekit.plan import MergePlanner


def check_before_writing(planner: "MergePlanner", folder: Path) -> None:
    """Refuse an output folder that belongs to an input, and a recipe that other commands cannot read.

    Such a recipe has a key twice, for example, or is larger than 1 MB.

    Args:
        planner: of a recipe with one of our methods, not planned yet.
        folder: that mergekit is going to write.

    Raises:
        RecipeError: what is wrong.
    """
    options, file, text = planner.options, recipe_file(), recipe_text()
    if str(options.device or "").startswith("cuda") and not torch.cuda.is_available():
        raise RecipeError("--cuda: torch sees no GPU on this machine. Leave the option out.")
    check_output(folder, inputs_of(planner.config, options.transformers_cache), "output ")
    check_recipe_kept(file, folder, options.write_model_card, "output ")
    if file is not None and file.is_file():  # a pipe was read already
        yaml_text(file)
    if text is not None:
        load_yaml(text, str(file or "recipe"))


def inputs_of(config: MergeConfiguration, cache: str | None = None) -> list[Input]:
    """Return every folder that a merge reads: models, LoRA adapters, sources of tokenizers and tokens.

    Ask before mergekit plans, which rewrites the configuration.

    Args:
        cache: another cache of the Hub than huggingface_hub's own.
    """
    parts = [part for owner in owners_of(config) for part in owner.slices or ()]
    models = [
        config.base_model,
        *(part.base_model for part in parts),
        *(e.model for _, e in entries_of(config)),
    ]
    sources: list[object] = [config.tokenizer_source]
    if config.tokenizer is not None:
        tokens = [token.source for token in (config.tokenizer.tokens or {}).values()]
        sources += [config.tokenizer.source, *tokens, *(getattr(token, "model", None) for token in tokens)]
    read = dict.fromkeys(str(model) for model in models if model is not None)
    donors = dict.fromkeys(str(source) for source in sources if isinstance(source, ModelReference))
    return [
        *model_inputs(read, "model", cache),
        *model_inputs([name for name in donors if name not in read], "tokenizer source", cache),
    ]
