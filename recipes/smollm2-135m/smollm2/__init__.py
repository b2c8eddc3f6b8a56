"""The study of SmolLM2-135M: converter, corpora, training, evaluation and analysis. See ../README.md."""
