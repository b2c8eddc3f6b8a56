"""What to merge.

load          a recipe read and checked
overrides     values set in it from outside
merge_label   the name of a merge in lm-eval's results
library       the recipes that come with the package
families      the models that these merge
"""
