"""Statistics whose unit is the expert: merges that share an expert are not independent.

A kind of combination has one merge (a *member*) for every choice of one expert of each domain. With three
experts of each domain a pair has 9 members and a triple 27, but there are only nine experts.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations, product

import numpy as np

from mergekit_finance.statistics.bootstrap import seed_of_name
from mergekit_finance.statistics.correlation import ROUNDING, standardized_ranks
from mergekit_finance.statistics.intervals import LEVEL, Estimate, quantiles

from ..points import domain_of, kind_of

Member = tuple[str, ...]  # the experts of a merge
Domains = dict[str, list[str]]  # domain -> experts


def by_domain(members: Iterable[Member]) -> Domains:
    """Return the experts of some members by domain, in order of appearance."""
    experts = dict.fromkeys(name for member in members for name in member)
    domains: Domains = {}
    for name in experts:
        domains.setdefault(domain_of(name), []).append(name)
    return domains


# ---- means over members


def mean_over_experts(
    observed: Mapping[Member, float], draws: Mapping[Member, np.ndarray], seed: int = 0, level: float = LEVEL
) -> Estimate:
    """Return the mean over members, with an interval for other items and other experts.

    In every replicate the experts of each domain are drawn with replacement, and a member counts as often as
    all its experts were drawn (the product). The scores of members are those of the same item replicate.

    Args:
        observed: each member's value.
        draws: each member's item replicates (B,), paired.
        seed: of the draws of experts.
        level: of the interval.
    """
    members = list(observed)
    values = np.stack([draws[member] for member in members], axis=1)  # (B, members)
    weights = member_weights(members, len(values), seed)
    replicates = (weights * values).sum(1) / weights.sum(1)
    tail = (1 - level) / 2
    low, high = quantiles(replicates, [tail, 1 - tail])
    return Estimate(float(np.mean([observed[m] for m in members])), float(low), float(high))


def member_weights(members: Sequence[Member], draws: int, seed: int) -> np.ndarray:
    """Return how often each member is drawn in each replicate: (draws, members).

    The draws of a domain depend on the seed and its experts only, so they are the same for all statistics.
    """
    counts: dict[str, np.ndarray] = {}
    for domain, experts in by_domain(members).items():
        rng = np.random.default_rng([seed, seed_of_name("+".join([domain, *sorted(experts)]))])
        chosen = rng.integers(len(experts), size=(draws, len(experts)))
        for k, name in enumerate(sorted(experts)):
            counts[name] = (chosen == k).sum(1).astype(float)
    return np.stack([np.prod([counts[name] for name in member], axis=0) for member in members], axis=1)


def leave_one_out(observed: Mapping[Member, float]) -> tuple[float, float]:
    """Return the smallest and the largest mean over members without those of one expert.

    An expert that is the only one of its domain is never left out.
    """
    means = []
    for experts in by_domain(observed).values():
        for name in experts if len(experts) > 1 else []:
            means.append(float(np.mean([v for member, v in observed.items() if name not in member])))
    return (min(means), max(means)) if means else (float("nan"), float("nan"))


# ---- correlations


def centered(values: Mapping[Member, float]) -> dict[Member, float]:
    """Subtract from each member's value the mean of its kind: the domain combination is a fixed effect."""
    kinds: dict[str, list[float]] = {}
    for member, value in values.items():
        kinds.setdefault(kind_of(member), []).append(value)
    return {member: value - float(np.mean(kinds[kind_of(member)])) for member, value in values.items()}


def rank_correlation(x: Mapping[Member, float], y: Mapping[Member, float]) -> float:
    """Return Spearman's rho over members, with the mean of each kind subtracted first; nan if undefined."""
    members = list(x)
    return float(np.clip(_ranks(x, members) @ _ranks(y, members), -1, 1))


def _ranks(values: Mapping[Member, float], members: Sequence[Member]) -> np.ndarray:
    """Return standardized ranks of the centered values, in the order of the members."""
    residuals = centered(values)
    return standardized_ranks([round(residuals[member], 12) for member in members])


def relabelings(members: Iterable[Member]) -> list[dict[str, str]]:
    """Return all ways to exchange the names of experts within their domains: 3! x 3! x 3! = 216."""
    domains = by_domain(members)
    orders = [
        [dict(zip(experts, order, strict=True)) for order in permutations(experts)]
        for experts in domains.values()
    ]
    return [{k: v for part in parts for k, v in part.items()} for parts in product(*orders)]


def permutation_p(x: Mapping[Member, float], y: Mapping[Member, float]) -> tuple[float, float, int]:
    """Return rho, its exact two-sided p-value, and the number of relabelings.

    If x says nothing about y, the experts of a domain are exchangeable in x. So the names of experts are
    exchanged within domains in x, all merges of an expert together, and p is the share of relabelings with an
    absolute rho of at least the observed one (the observed order is one of them).
    """
    members = list(x)
    first, second = _ranks(x, members), _ranks(y, members)
    rho = float(np.clip(first @ second, -1, 1))
    if np.isnan(rho):
        return rho, float("nan"), 0
    # An exchange of names maps the merges of a kind to each other, so it only reorders the ranks.
    place = {member: k for k, member in enumerate(members)}
    orders = [[place[tuple(one[name] for name in m)] for m in members] for one in relabelings(members)]
    reached = np.abs(first[np.array(orders)] @ second) >= abs(rho) - ROUNDING
    return rho, float(reached.mean()), len(orders)


def leave_one_out_rho(x: Mapping[Member, float], y: Mapping[Member, float]) -> tuple[float, float]:
    """Return the smallest and the largest rho without the members of one expert."""
    found = []
    for experts in by_domain(x).values():
        for name in experts if len(experts) > 1 else []:
            left = [member for member in x if name not in member]
            found.append(rank_correlation({m: x[m] for m in left}, {m: y[m] for m in left}))
    defined = [rho for rho in found if not np.isnan(rho)]
    return (min(defined), max(defined)) if defined else (float("nan"), float("nan"))
