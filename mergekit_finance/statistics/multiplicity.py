"""Adjust p-values for multiple testing.

Both functions return adjusted p-values under the keys of their input. A hypothesis is rejected at level a if
its adjusted p-value is at most a.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np

Name = TypeVar("Name", bound=Hashable)


def benjamini_hochberg(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Return q values that control the false discovery rate: min over j >= i of p_(j) n / j.

    Benjamini and Hochberg (1995), JRSS B 57:289.

    Valid for independent tests and for positively dependent ones, such as the points of a stage on the same
    items (Benjamini and Yekutieli 2001, Annals of Statistics 29:1165).
    """
    # Imported here to keep --help fast.
    from scipy.stats import false_discovery_control

    if not p_values:
        return {}
    adjusted = false_discovery_control(list(p_values.values()), method="bh")
    return dict(zip(p_values, map(float, adjusted), strict=True))


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Return p values that control the family-wise error: max over j <= i of (n - j + 1) p_(j), at most 1.

    Valid for any dependence. Holm (1979), Scandinavian Journal of Statistics 6:65.
    """
    p = np.array(list(p_values.values()), dtype=float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]))
    return dict(zip(p_values, map(float, adjusted), strict=True))
