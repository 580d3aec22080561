"""Quiet hours: until when they last, and what does not wait for it."""

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.alerts import AlertType
from shared.domain.quiet import CAN_WAIT, QuietHours, quiet_until

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = QuietHours(time(22), time(7), BERLIN)
LUNCH = QuietHours(time(12), time(13, 30), BERLIN)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(UTC)


@pytest.mark.parametrize(
    ("quiet", "now", "until"),
    [
        (NIGHT, "2026-11-23 21:59:59", None),
        (NIGHT, "2026-11-23 22:00", "2026-11-24 07:00"),
        (NIGHT, "2026-11-24 06:59:59", "2026-11-24 07:00"),
        (NIGHT, "2026-11-24 07:00", None),
        (LUNCH, "2026-11-24 12:00", "2026-11-24 13:30"),
        (LUNCH, "2026-11-24 13:30", None),
        # In the night that clocks turn back it is an hour longer, and still ends at seven.
        (NIGHT, "2026-10-24 23:00", "2026-10-25 07:00"),
    ],
)
def test_quiet_hours_are_half_open_and_local(quiet: QuietHours, now: str, until: str | None) -> None:
    assert quiet.until(at(now)) == (at(until) if until else None)


@given(st.times(), st.times(), st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)))  # noqa: DTZ001
def test_quiet_hours_end_within_a_day_and_it_is_not_quiet_then(start: time, end: time, now: datetime) -> None:
    quiet = QuietHours(start.replace(second=0, microsecond=0), end.replace(second=0, microsecond=0), BERLIN)
    until = None if quiet.start == quiet.end else quiet.until(now.replace(tzinfo=UTC))
    if until is not None:
        assert 0 <= (until - now.replace(tzinfo=UTC)).total_seconds() <= 25 * 3600
        # Around a change of clocks a local time happens twice, or not at all.
        assert quiet.until(until) is None or until.astimezone(BERLIN).month in (3, 10)


def test_hours_that_begin_where_they_end_are_all_of_the_day() -> None:
    always = QuietHours(time(9), time(9), BERLIN)
    assert always.until(at("2026-11-24 08:59")) == at("2026-11-24 09:00")
    assert always.until(at("2026-11-24 09:00")) == at("2026-11-25 09:00")


def test_what_stops_requests_or_needs_an_act_does_not_wait() -> None:
    night = at("2026-11-24 03:00")
    assert {kind for kind in AlertType if quiet_until(NIGHT, kind, night) is None} == {
        AlertType.BALANCE_CRITICAL,
        AlertType.BALANCE_EXHAUSTED,
        AlertType.TOPUP_FAILED,
        AlertType.TOPUP_ACTION_REQUIRED,
        AlertType.TOPUP_DISABLED,
        AlertType.QUOTA_EXHAUSTED,
        AlertType.SPENDING_LIMIT_REACHED,
        AlertType.KEY_LIMIT_REACHED,
        AlertType.USAGE_QUARANTINED,
        AlertType.WEBHOOK_DISABLED,
        AlertType.RULE_SPEND,
        AlertType.RULE_TIME_TO_EMPTY,
    }
    assert all(quiet_until(NIGHT, kind, night) == at("2026-11-24 07:00") for kind in CAN_WAIT)
    assert quiet_until(None, AlertType.BALANCE_LOW, night) is None
