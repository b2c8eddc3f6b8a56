"""Checks that run before hours are spent; every command calls the same ones.

catalog        every id with its level, meaning and remedy; those of models are in model_catalog
findings       what checks report: printed, or raised as one line
merge_facts    the facts that checks work on
model_checks   where models are, and whether they fit together
configs        settings that differ
heads          sizes of heads, and of the part of them that is rotated
loadable       classes, activations and other parts that transformers does not have; quantized weights
switches       switches of a config without the key that they need
tensors        names, shapes and dtypes in the headers of weight files
lineage        NaN, and experts that were not trained from the base, from a few values of each tensor
token_rows     tokens without an embedding, or with another id than a file says
contexts       room for answers in the model's context
generation     generation_config.json
small_files    tokenizers and chat templates
license_checks  licenses that do not allow sharing a merge
recipe_checks  keys and dtypes of a recipe
densities      shares of task vectors that keep nothing
filters        filters of a recipe's parameters that match no tensor
tasks          names of tasks, and the lengths of their answers
task_functions  Python functions that task files name, without running them
resources      memory and disk
output         nothing that is read may be overwritten
check_all      what every command calls
"""
