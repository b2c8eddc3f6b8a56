"""Adapters for the caches that lm-eval keeps on disk. Written for lm-eval 0.4.13.

These functions are not in lm_eval.py, because keys of stored results hash that file, and no study uses these
caches.
"""

import functools
import logging
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

from mergekit_finance.hosts.lm_eval_inputs import use_contexts_as_texts
from mergekit_finance.hosts.names import LM_EVAL

if TYPE_CHECKING:
    from lm_eval.api.model import CacheHook
    from lm_eval.api.task import ConfigurableTask

    from mergekit_finance.hosts.lm_eval import RequestOptions

LOG = logging.getLogger(__name__)


def separate_answers(hook: "CacheHook", fingerprint: Callable[[], str]) -> None:
    """Keep the answers of one model apart from those of all others in the file of `--use_cache`.

    lm-eval identifies an answer by the text of its request alone. The file is an SQLite database of which
    lm-eval uses one table. This function changes the table's name to one with the model's fingerprint; other
    tables are neither read nor changed.

    Written for lm-eval 0.4.13 (`CacheHook.dbdict`, a `SqliteDict` that `CachingLM` also uses).

    Args:
        hook: the cache hook that `CachingLM` sets on its model.
        fingerprint: returns the model's fingerprint in hexadecimal digits; called only if there is a cache.
    """
    answers = LM_EVAL.get(hook, "dbdict")
    if answers is None:  # no --use_cache
        return
    from sqlitedict import SqliteDict  # imported here: only --use_cache needs it

    LM_EVAL.get(answers, "tablename")
    table = f"mergekit_{fingerprint()}"
    SqliteDict(answers.filename, tablename=table).close()  # creates the table
    answers.tablename = table
    LOG.info("--use_cache: table %s holds %d answers of this model", table, len(answers))


def build_requests_anew(module: ModuleType, ignores_cache: "Callable[[ConfigurableTask], bool]") -> None:
    """Let some tasks ignore the files of `--cache_requests`; calling it again changes nothing.

    Also adapts tasks that compare contexts to lm-eval 0.5 (`lm_eval_inputs`) before requests are built.

    lm-eval identifies stored requests by the task's name, the number of examples and the tokenizer's name:
    after a change of rows, templates, `--gen_kwargs` or `--samples` the model would get old prompts, and its
    answers would be scored against new targets.

    Replaces the method `build_all_requests` of lm-eval 0.4.13's `Task`.

    Args:
        module: `lm_eval.api.task`.
        ignores_cache: returns whether a task ignores these files.
    """
    task_class = LM_EVAL.get(module, "Task")
    original = LM_EVAL.get(task_class, "build_all_requests")
    if getattr(original, "is_mergekit_finance", False):
        return
    warned = False

    @functools.wraps(original)
    def build_all_requests(task: "ConfigurableTask", **options: "RequestOptions") -> None:
        nonlocal warned
        use_contexts_as_texts(task)
        if options.get("cache_requests") and ignores_cache(task):
            options |= {"cache_requests": False, "rewrite_requests_cache": False}
            if not warned:
                LOG.warning(
                    "--cache_requests: the prompts of %s and other tasks of mergekit-finance are built anew, "
                    "because lm-eval would reuse them after their rows changed",
                    task.task_name,
                )
            warned = True
        original(task, **options)

    vars(build_all_requests)["is_mergekit_finance"] = True
    task_class.build_all_requests = build_all_requests
