"""Merge checkpoints into a live model, without writing one to disk."""
