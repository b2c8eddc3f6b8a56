"""The three methods, in the order in which the documentation lists them."""

from mergekit_finance.merge_methods.dare_ties import cpt_dare_ties
from mergekit_finance.merge_methods.task_arithmetic import cpt_task_arithmetic
from mergekit_finance.merge_methods.ties import cpt_ties

METHODS = (cpt_task_arithmetic, cpt_ties, cpt_dare_ties)
