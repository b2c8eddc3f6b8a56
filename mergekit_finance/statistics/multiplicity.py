"""Many tests at once: adjusted p-values under the names they came with.

Adjusted p <= a means: rejected by the procedure at level a.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np

Name = TypeVar("Name", bound=Hashable)


def benjamini_hochberg(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Return q values that control the false discovery rate: min over j >= i of p_(j) n / j.

    Benjamini and Hochberg (1995), JRSS B 57:289.

    Valid for independent tests and for positively dependent ones, as points of a stage on the same items are
    (Benjamini and Yekutieli 2001, Annals of Statistics 29:1165).
    """
    # Imported here: see the note in intervals.py.
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
