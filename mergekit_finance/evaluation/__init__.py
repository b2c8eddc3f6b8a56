"""Answers and scores of live models, with lm-eval: what is stored of them, and what they depend on (keys)."""
