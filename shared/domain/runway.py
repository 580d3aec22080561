"""How long a balance lasts. Pure."""

from datetime import timedelta

#: Further ahead nobody can tell.
FARTHEST = timedelta(days=365)


def time_to_empty(balance_nanos: int, spent_nanos: int, over: timedelta) -> timedelta | None:
    """Return how long a balance lasts at the pace of late; None where it does not end within a year."""
    if balance_nanos <= 0:
        return timedelta(0)
    # As numbers: an amount in nanos times a time is more than a timedelta holds.
    seconds = over.total_seconds() * balance_nanos / spent_nanos if spent_nanos > 0 else None
    if seconds is None or seconds > FARTHEST.total_seconds():
        return None
    return timedelta(seconds=seconds)
