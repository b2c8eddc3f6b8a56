"""Costs of the hosts that every process pays once, instead of once an evaluation."""

import functools


def describe_environment_once():
    """Store the text on the machine that lm-eval puts into its results; calling it again changes nothing."""
    from torch.utils import collect_env

    if not hasattr(collect_env.get_pretty_env_info, "cache_info"):
        collect_env.get_pretty_env_info = functools.cache(collect_env.get_pretty_env_info)
