"""Quiet hours: when people would rather not be told. Machines are told at once, and when that ends. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from shared.domain.alerts import AlertType

#: What can wait. The rest stops requests, or needs somebody to act.
CAN_WAIT = frozenset(
    {
        AlertType.BALANCE_LOW,
        AlertType.BALANCE_WARNING,
        AlertType.BALANCE_RECOVERED,
        AlertType.TOPUP_SUCCEEDED,
        AlertType.QUOTA_RESET,
        AlertType.RULE_BALANCE,
        AlertType.RULE_QUOTA_SHARE,
        AlertType.RULE_SPENDING_LIMIT_SHARE,
        AlertType.RULE_KEY_LIMIT_SHARE,
    }
)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From ``start`` (in) to ``end`` (out) of local time, over midnight where the end is earlier."""

    start: time
    end: time
    zone: ZoneInfo

    def until(self, instant: datetime) -> datetime | None:
        """Return when the quiet hours end that an instant lies in; None where it lies in none."""
        local = instant.astimezone(self.zone)
        clock = local.time()
        if self.start < self.end:
            quiet, ends_tomorrow = self.start <= clock < self.end, False
        else:
            quiet, ends_tomorrow = clock >= self.start or clock < self.end, clock >= self.start
        if not quiet:
            return None
        day = local.date() + timedelta(days=ends_tomorrow)
        # A local time that a change of clocks skips moves on by the gap.
        return datetime.combine(day, self.end, self.zone).astimezone(UTC)


def quiet_until(quiet: QuietHours | None, kind: AlertType, occurred_at: datetime) -> datetime | None:
    """Return until when people are not told of an alert; None where they are told at once."""
    return quiet.until(occurred_at) if quiet and kind in CAN_WAIT else None
