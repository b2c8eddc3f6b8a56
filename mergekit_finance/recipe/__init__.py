"""Recipes: descriptions of a merge, in mergekit's YAML format with an additional `finance:` block.

load          read and check a recipe
overrides     set values in a recipe from the command line
merge_label   the name of a merge in lm-eval's results
library       the recipes that come with the package
task_entries  entries of a list of tasks: metric, filter, skills and weight
grid_fields   types of hyperparameters in the grids of study.yml
fields        types of values in study.yml and the `finance:` block
families      the models that the bundled recipes merge
"""
