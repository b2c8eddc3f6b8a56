"""Checks that run before hours are spent; every command calls the same ones.

catalog        every id with its level, meaning and remedy
findings       what checks report: printed, or raised as one line
merge_facts    the facts that checks work on
model_checks   where models are, and whether they fit together
resources      memory and disk
output         nothing that is read may be overwritten
check_all      what every command calls
"""
