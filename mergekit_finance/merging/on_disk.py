"""A merge on disk, as `mergekit-yaml` makes it."""

from pathlib import Path
from typing import TYPE_CHECKING

from mergekit_finance.hosts import mergekit as host
from mergekit_finance.merging.in_memory import install_methods

if TYPE_CHECKING:
    from mergekit.config import MergeConfiguration
    from mergekit.options import MergeOptions


def merge_to_folder(config: "MergeConfiguration", folder: Path, options: "MergeOptions") -> list[Path]:
    """Merge into a folder that exists and may hold other files.

    Args:
        config: the recipe. Planning changes it.
        folder: where weights, config and tokenizer are written.
        options: mergekit's.

    Returns:
        The files that were created, in order of name.

    Raises:
        ModelError: mergekit cannot plan or run the merge; a config, tokenizer or chat template is broken,
            which is found before anything is written.
        RecipeError: a parameter of one of our methods, or the chat template, is wrong.
    """
    # Imported here to keep --help fast: mergekit takes 4.5 s.
    from mergekit.merge import run_merge

    from mergekit_finance.merge_methods import to_disk
    from mergekit_finance.merge_methods.side_files import check_side_files

    install_methods()
    to_disk.install_disk_hooks()
    before = set(folder.iterdir())
    with host.fresh_loaders(), host.merge_errors():
        if not config.merge_method.startswith("cpt_"):  # the planner checks ours
            check_side_files(config, options)
        run_merge(config, str(folder), options=options)
    return sorted(set(folder.iterdir()) - before)
