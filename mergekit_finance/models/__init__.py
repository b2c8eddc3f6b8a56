"""Checkpoints on disk: facts about them, fingerprints of their bytes, loading of models and tokenizers."""
