"""From stored scores to conclusions: selection, effects, operators, predictors, verdict."""
