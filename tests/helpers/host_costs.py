"""Costs of the hosts that every process pays once, instead of once an evaluation."""

import functools
import pickle
from pathlib import Path


def describe_environment_once():
    """Store the text on the machine that lm-eval puts into its results; calling it again changes nothing."""
    from torch.utils import collect_env

    if not hasattr(collect_env.get_pretty_env_info, "cache_info"):
        collect_env.get_pretty_env_info = functools.cache(collect_env.get_pretty_env_info)


def parse_task_files_once():
    """Parse each task file of lm-eval and of this package once; calling it again changes nothing.

    Every index of tasks reads all of ours: 0.1 s of CPU time. No test changes these files.
    """
    from lm_eval.tasks import _index

    from mergekit_finance.files import bundled

    original = _index.load_yaml
    if hasattr(original, "parsed"):
        return
    folders = (Path(_index.__file__).parent, bundled("lm_eval_tasks"))

    @functools.cache
    def parsed(path):
        return pickle.dumps(original(path, resolve_func=False, recursive=True))

    def load_yaml(path, **options):
        static = any(Path(path).is_relative_to(folder) for folder in folders)
        if static and options == {"resolve_func": False, "recursive": True}:
            return pickle.loads(parsed(path))
        return original(path, **options)

    load_yaml.parsed = parsed
    _index.load_yaml = load_yaml
