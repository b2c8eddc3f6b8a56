"""Python named from the benchmark's YAML files: numbers, answers, entities, aggregation and scoring.

Nothing here imports torch, transformers or lm_eval: the host calls these functions, they never call the host.
"""
