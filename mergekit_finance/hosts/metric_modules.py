"""The modules in which lm-eval defines its aggregations. Written for lm-eval 0.4.13 and 0.5.0.dev1."""

HOST_METRICS = "lm_eval.api.metrics"
REDUCES = "set_results"  # the method of a scorer of 0.5 that makes one value of the values of an item
AGGREGATIONS = (HOST_METRICS, f"{HOST_METRICS}.aggregations")  # 0.4, 0.5


def host_metric(name: str) -> str:
    """Return a name such as `lm_eval.api.metrics.mean` without its module; "" for one of another module."""
    module, _, function = name.rpartition(".")
    return function if module in AGGREGATIONS else ""
