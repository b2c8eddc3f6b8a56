"""Run tasks on a live model with lm-eval, and determine what its results depend on (keys)."""
