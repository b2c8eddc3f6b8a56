"""The merges of the study: which experts, by which operator, with which hyperparameters.

A *kind* is a set of domains, written `finance+math`. Stage 1 has three kinds, stage 2 three, stage 3 one. A
kind has one merge for every choice of one expert of each domain. Its *representative* has the experts `a`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from mergekit_finance.study.points import Point, SourceModel

from .corpora import DOMAINS

Setting = tuple[str, tuple[tuple[str, float], ...]]  # operator, hyperparameters
KINDS = tuple("+".join(domains) for stage in (1, 2, 3) for domains in combinations(DOMAINS, stage))
REPRESENTATIVE = "a"

# Grids of the representatives. The first is evaluated before everything else; a setting for each kind is
# chosen from it. The others follow in this order, as time allows.
FIRST: tuple[Setting, ...] = (
    *(("task_arithmetic", (("lambda", value),)) for value in (0.2, 0.4, 0.6, 0.8, 1.0)),
    ("ties", (("density", 0.2), ("lambda", 1.0))),
    ("dare_ties", (("density", 0.5), ("lambda", 1.0), ("seed", 0))),
)
MORE: tuple[Setting, ...] = (
    *(("task_arithmetic", (("lambda", value),)) for value in (0.1, 0.3, 1.2)),
    ("ties", (("density", 0.2), ("lambda", 0.5))),
    ("ties", (("density", 0.8), ("lambda", 1.0))),
    ("dare_ties", (("density", 0.9), ("lambda", 1.0), ("seed", 0))),
    *(("dare_ties", (("density", 0.5), ("lambda", 1.0), ("seed", seed))) for seed in (1, 2)),
)
SCALES = ((0.4, 0.8), (0.8, 0.4))  # of the two experts of a pair: Task Arithmetic with a λ for each


@dataclass(frozen=True)
class Family:
    """The models of the study.

    Attributes:
        base: reference of the base.
        experts: name (`finance_a`) -> reference.
        out_dtype: dtype of the merges.
    """

    base: str
    experts: Mapping[str, str]
    out_dtype: str = "bfloat16"

    def members(self, kind: str) -> list[tuple[str, ...]]:
        """Return the combinations of experts of a kind: one expert of each domain."""
        return list(product(*(self.of_domain(domain) for domain in kind.split("+"))))

    def of_domain(self, domain: str) -> list[str]:
        """Return the experts of a domain."""
        return [name for name in self.experts if domain_of(name) == domain]

    def point(self, combination: Sequence[str], setting: Setting) -> Point:
        """Return the merge of a combination at a setting."""
        operator, values = setting
        sources = tuple(SourceModel(name, self.experts[name]) for name in combination)
        return Point(
            len(combination), tuple(combination), operator, dict(values), sources, self.base, "paper",
            self.out_dtype,
        )  # fmt: skip

    def grid(self, settings: Iterable[Setting], kinds: Sequence[str] = KINDS) -> list[Point]:
        """Return the representatives of kinds at some settings, setting by setting.

        Kinds whose representative is not among the experts are left out.
        """
        there = [kind for kind in kinds if set(representative(kind)) <= set(self.experts)]
        return [self.point(representative(kind), setting) for setting in settings for kind in there]

    def at(self, settings: Mapping[str, Setting]) -> list[Point]:
        """Return the merges of all combinations, each at the setting of its kind."""
        return [
            self.point(combination, setting)
            for kind, setting in settings.items()
            for combination in self.members(kind)
        ]


def domain_of(expert: str) -> str:
    """Return the domain of an expert."""
    return expert.rsplit("_", 1)[0]


def kind_of(combination: Iterable[str]) -> str:
    """Return the kind of a combination of experts."""
    return "+".join(domain_of(name) for name in combination)


def representative(kind: str) -> tuple[str, ...]:
    """Return the combination on which grids of a kind are evaluated."""
    return tuple(f"{domain}_{REPRESENTATIVE}" for domain in kind.split("+"))


def is_representative(combination: Sequence[str]) -> bool:
    """Return whether all experts of a combination are those of the representatives."""
    return all(name == f"{domain_of(name)}_{REPRESENTATIVE}" for name in combination)


def scaled(kind: str) -> list[Setting]:
    """Return settings of a pair's representative with a λ for each expert."""
    first, second = representative(kind)
    return [
        ("task_arithmetic", ((f"lambda.{first}", one), (f"lambda.{second}", other))) for one, other in SCALES
    ]
