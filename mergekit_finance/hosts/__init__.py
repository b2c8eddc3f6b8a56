"""Adapters for parts of mergekit, lm-eval and transformers that are not public API.

mergekit          open checkpoints, planned merges, random masks
mergekit_recipes  recipes, merge methods, options of mergekit's commands
mergekit_methods  the merge methods of mergekit's registry, and a trial of their parameters
mergekit_configs  a model's config, read once
mergekit_writer   weights that appear in the output folder all together or not at all
architectures     the tensors that mergekit merges, by architecture
lm_eval           tasks and their evaluation
lm_eval_chat, lm_eval_generation   prompts in chat format; stop strings and generation settings
hub, hub_client   whether the Hub answers, and within which time
task_files, task_metrics           task files, read without loading lm-eval
metric_modules    where lm-eval defines its aggregations
lm_eval_models    models in memory, their batch size, single answers
lm_eval_output    logs, progress bars, result files
lm_eval_caches    the caches that lm-eval keeps on disk
lm_eval_inputs    tasks that compare contexts, whose settings differ by version
lm_eval_templates templates of prompts, compiled once
lm_eval_request   the arguments of a running `simple_evaluate`
transformers      model classes
programs          one-line errors in `mergekit-yaml` and `lm_eval`
names             a readable error if a host lacks a name

Private names of a host are used in these modules only. The docstring of each function gives the version of
the host that it was written for. If the installed version lacks a name, the function raises HostError with a
one-line message. These modules import only errors, files and operators of this package; they get callbacks
for everything else.
"""
