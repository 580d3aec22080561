"""Levels of a balance: the plain table. What is told, and when, has memory and lives with the alerts."""

from dataclasses import dataclass
from enum import StrEnum

from shared.domain.money import NANOS_PER_DOLLAR


class Level(StrEnum):
    """From best to worst."""

    NORMAL = "normal"
    LOW = "low"
    WARNING = "warning"
    CRITICAL = "critical"
    EXHAUSTED = "exhausted"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where each level begins, in nanos, from above. An account may have its own."""

    low_nanos: int = 20 * NANOS_PER_DOLLAR
    warning_nanos: int = 10 * NANOS_PER_DOLLAR
    critical_nanos: int = 5 * NANOS_PER_DOLLAR


DEFAULT_BOUNDS = Bounds()


def level_of(balance_nanos: int, bounds: Bounds = DEFAULT_BOUNDS) -> Level:
    """Return the level: *normal* > low bound >= *low* > warning bound >= *warning* >= critical bound > ..."""
    if balance_nanos <= 0:
        return Level.EXHAUSTED
    if balance_nanos > bounds.low_nanos:
        return Level.NORMAL
    if balance_nanos > bounds.warning_nanos:
        return Level.LOW
    if balance_nanos >= bounds.critical_nanos:
        return Level.WARNING
    return Level.CRITICAL
