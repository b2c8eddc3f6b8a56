"""Adapters to what mergekit, lm-eval and transformers do not offer as an API.

Every private name of a host that the package uses is behind a function here, whose docstring names the
version that it was written for. If a host lacks such a name, the function raises HostError, in one readable
line. These modules import nothing of ours but errors, files and operators, and take callbacks for the rest.
"""
