"""Sign patterns of differences, one by one, and answers of correlated clusters."""

from itertools import product

import numpy as np
from scipy import stats


def all_signs(d):
    """P(sum g d >= sum d) over every sign pattern, the slow way."""
    sums = np.array(list(product([-1, 1], repeat=len(d)))) @ np.array(d)
    return (sums >= sum(d)).mean()


def answers(rng, right, clusters, copied):
    """(models, items) right or wrong; with chance `copied` an item repeats its cluster's draw: ICC copied^2."""

    def draw(size):
        shared, noise = rng.standard_normal((1, size)), rng.standard_normal((len(right), size))
        return (shared + noise) / np.sqrt(2) < stats.norm.ppf(right)[:, None]

    independent, common = draw(len(clusters)), draw(clusters.max() + 1)[:, clusters]
    return np.where(rng.random(len(clusters)) < copied, common, independent)
