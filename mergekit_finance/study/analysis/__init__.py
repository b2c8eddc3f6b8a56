"""Conclusions from stored scores: selection, effects, operators, predictors, verdict."""
