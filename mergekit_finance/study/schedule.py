"""Which model a process evaluates next, if others work on the same folder. Every process asks for itself."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class MissingModel:
    """A model that is not stored yet.

    Attributes:
        name: the name of its folder, which is also that of its claim.
        group: the models of a group are merged one after the other into one live model.
    """

    name: str
    group: str


def ranked(missing: Sequence[MissingModel], taken: Mapping[str, int], open_group: str) -> list[MissingModel]:
    """Return models in the order in which a process should try to claim them.

    First those that nobody has claimed: of the group whose models are open in this process, then of groups
    that no process has begun, in their order, then of the group with most left. Then the claimed ones, whose
    owners may have died; those come last because they may have killed their owners.

    Args:
        missing: models that are not stored.
        taken: the claims of all processes: name -> owners that died.
        open_group: the group whose models this process holds open; may be empty.
    """
    begun = {one.group for one in missing if one.name in taken}
    free = Counter(one.group for one in missing if one.name not in taken)

    def rank(one: MissingModel) -> tuple[int, int]:
        if one.name in taken:
            return 3, taken[one.name]
        if one.group == open_group:
            return 0, 0
        return (2, -free[one.group]) if one.group in begun else (1, 0)

    return sorted(missing, key=rank)
