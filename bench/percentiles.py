"""Medians, percentiles and ranges."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median


@dataclass(frozen=True, slots=True)
class Figure:
    """What several rounds measured of one thing."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that so many percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]


def ratio(ours: Figure, theirs: Figure) -> Figure:
    """Return ours by theirs, round by round: both were measured within a minute of each other."""
    return Figure(tuple(mine / other for mine, other in zip(ours.values, theirs.values, strict=True)))
