"""Billing cycles: half-open monthly intervals from an anchor, in the plan's time zone, as UTC instants.

A boundary keeps the anchor's local day and time; a month that is too short ends on its last day
(31 January, 28 February, 31 March). A local time that a DST change skips moves on by the gap.
"""

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shared.domain.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class Cycle:
    """From ``start`` (in) to ``end`` (out), both UTC."""

    start: datetime
    end: datetime

    def __contains__(self, instant: datetime) -> bool:
        return self.start <= instant < self.end


def time_zone(name: str) -> ZoneInfo:
    """Return the IANA time zone of that name; raises NotFoundError where there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise NotFoundError(f"no IANA time zone is called {name!r}; an example is Europe/Berlin") from None


def cycle_at(anchor: datetime, zone: ZoneInfo, instant: datetime) -> Cycle:
    """Return the cycle that holds an instant, before the anchor as well as after it."""
    local, local_anchor = instant.astimezone(zone), anchor.astimezone(zone)
    # From the month before on: its cycle may last until after the instant, by its day or by the clocks.
    index = (local.year - local_anchor.year) * 12 + local.month - local_anchor.month - 1
    start, end = boundary(anchor, zone, index), boundary(anchor, zone, index + 1)
    while end <= instant:
        index += 1
        start, end = end, boundary(anchor, zone, index + 1)
    return Cycle(start, end)


def boundary(anchor: datetime, zone: ZoneInfo, index: int) -> datetime:
    """Return the start of the cycle ``index`` months after the anchor's own, in UTC."""
    local = anchor.astimezone(zone)
    year, month0 = divmod(local.year * 12 + local.month - 1 + index, 12)
    day = min(local.day, monthrange(year, month0 + 1)[1])
    fold = 0 if index else local.fold
    return local.replace(year=year, month=month0 + 1, day=day, fold=fold).astimezone(UTC)
