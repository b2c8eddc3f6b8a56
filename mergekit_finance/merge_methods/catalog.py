"""The methods that this package brings, in the order of its documentation."""

from mergekit_finance.merge_methods.task_arithmetic import cpt_task_arithmetic

METHODS = (cpt_task_arithmetic,)
