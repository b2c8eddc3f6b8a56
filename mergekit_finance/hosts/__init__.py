"""Adapters to what mergekit, lm-eval and transformers do not offer as an API.

mergekit       merge methods, open checkpoints, planned merges
lm_eval        tasks, models, evaluation
lm_eval_output logs, progress bars, files of results
transformers   classes of models
programs       one-line errors in the hosts' own programs
names          one readable line if a host lacks a name

Every private name of a host that the package uses is behind a function here, whose docstring names the
version that it was written for. If a host lacks such a name, the function raises HostError, in one readable
line. These modules import nothing of ours but errors, files and operators, and take callbacks for the rest.
"""
