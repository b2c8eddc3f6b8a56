"""A similarity.json, written without a model."""


def similarity_content(base, experts, pairs, task_vector_pairs, layers=0):
    """Return the content of a similarity.json whose total and layers are equal."""
    entry = {
        "elements": 100,
        "norms": {name: 10.0 for name in (base, *experts)},
        "pairs": pairs,
        "task_vectors": {name: {"norm": 2.0, "relative_norm": 0.2} for name in experts},
        "task_vector_pairs": task_vector_pairs,
    }
    return {
        "format": 1, "base": base, "models": list(experts), "everything": True, "skipped": [], "total": entry,
        "layers": {str(i): entry for i in range(layers)}, "modules": {}, "tensors": {},
    }  # fmt: skip
