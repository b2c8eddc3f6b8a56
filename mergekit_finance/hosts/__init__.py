"""Adapters for parts of mergekit, lm-eval and transformers that are not public API.

mergekit       open checkpoints, planned merges
mergekit_recipes
               recipes and merge methods
lm_eval        tasks, models, evaluation
lm_eval_output logs, progress bars, result files
transformers   model classes
programs       one-line errors in `mergekit-yaml` and `lm_eval`
names          a readable error if a host lacks a name

Private names of a host are used in these modules only. The docstring of each function gives the version of
the host that it was written for. If the installed version lacks a name, the function raises HostError with a
one-line message. These modules import only errors, files and operators of this package; they get callbacks
for everything else.
"""
