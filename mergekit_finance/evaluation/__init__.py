"""Answers: run tasks on a live model with lm-eval, and store what it answered."""
