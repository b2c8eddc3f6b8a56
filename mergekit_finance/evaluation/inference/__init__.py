"""Answer lm-eval's requests faster than its `hf` model does, with the same answers."""
