"""The additional steps of the planner hook for merges to disk.

They are not imported by the planner hook but passed to `install_planner_hook`: they change no merge, so their
code must not be part of the keys of stored results.
"""

from mergekit_finance.hosts.mergekit_writer import write_whole
from mergekit_finance.merge_methods import planner_hook
from mergekit_finance.merge_methods.check_models import MergedModels
from mergekit_finance.merge_methods.check_output import check_before_writing
from mergekit_finance.merge_methods.similarity_file import MeasuredInputs

HOOKS = planner_hook.DiskHooks(
    measure=MeasuredInputs.of,
    check_before_writing=check_before_writing,
    models=MergedModels.of,
    write_whole=write_whole,
)


def install_disk_hooks() -> None:
    """Add our checks to every merge of this process, in memory and to disk; a second call changes nothing."""
    planner_hook.install_planner_hook(HOOKS)
