"""Intervals, and their rounding."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from mergekit_finance.file_models import BoundedFloat

Side = Literal["above", "below", "unclear"]
Ranges = dict[
    str, tuple[BoundedFloat, BoundedFloat] | tuple[BoundedFloat, BoundedFloat, BoundedFloat, BoundedFloat]
]


class Interval(NamedTuple):
    """An estimate with its 95 % interval; in JSON the list [value, low, high]."""

    value: BoundedFloat
    low: BoundedFloat
    high: BoundedFloat

    @property
    def side(self) -> Side:
        """Where the interval lies: "above" 0, "below" 0, or "unclear" where it holds 0."""
        return "above" if self.low > 0 else "below" if self.high < 0 else "unclear"


def rounded(numbers: Iterable[float]) -> Interval:
    """Return (value, low, high) to 6 digits, so that files do not depend on the last bits of a sum."""
    value, low, high = (round(float(number), 6) + 0.0 for number in numbers)  # + 0.0: no minus zero
    return Interval(value, low, high)
