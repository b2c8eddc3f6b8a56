"""Checks that run before hours are spent; every command calls the same ones.

model_checks   where models are, and whether they fit together
"""
