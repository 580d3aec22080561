"""Billing cycles as properties: every instant lies in exactly one, in every zone, whatever the clocks do."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.cycles import Cycle, boundary, cycle_at

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
INSTANT = timedelta(microseconds=1)
ZONES = [
    "UTC",
    "Europe/Berlin",
    "Europe/Dublin",
    "America/New_York",
    "America/St_Johns",
    "America/Havana",
    "America/Nuuk",
    "America/Santiago",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
]


def transitions(zone: ZoneInfo) -> list[datetime]:
    """Return the instants of 2020 to 2032 at which the clocks of a zone change, to the minute."""
    found = []
    day = datetime(2020, 1, 1, tzinfo=UTC)
    while day.year < 2032:
        low, high = 0, 24 * 60
        before = day.astimezone(zone).utcoffset()
        if (day + timedelta(days=1)).astimezone(zone).utcoffset() != before:
            while high - low > 1:
                middle = (low + high) // 2
                same = (day + timedelta(minutes=middle)).astimezone(zone).utcoffset() == before
                low, high = (middle, high) if same else (low, middle)
            found.append(day + timedelta(minutes=high))
        day += timedelta(days=1)
    return found


TRANSITIONS = {name: transitions(ZoneInfo(name)) for name in ZONES}


@st.composite
def zones_and_instants(draw: st.DrawFn, count: int) -> tuple[ZoneInfo, list[datetime]]:
    """Draw a zone and instants, every other of them close to a change of its clocks or months from one."""
    name = draw(st.sampled_from(ZONES))
    anywhere = st.datetimes(datetime(2020, 1, 1), datetime(2032, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
    near = st.builds(
        lambda change, days, minutes: change + timedelta(days=days, minutes=minutes),
        st.sampled_from(TRANSITIONS[name] or [datetime(2026, 3, 1, tzinfo=UTC)]),
        st.sampled_from([0, 0, -28, -30, -31, -59, -61, 365]),
        st.integers(-90, 90),
    )
    return ZoneInfo(name), [draw(st.one_of(anywhere, near)) for _ in range(count)]


@given(zones_and_instants(1))
def test_the_anchor_is_the_start_of_its_own_cycle(drawn: tuple[ZoneInfo, list[datetime]]) -> None:
    zone, [anchor] = drawn
    assert boundary(anchor, zone, 0) == anchor


@given(zones_and_instants(2))
def test_every_instant_lies_in_exactly_one_cycle(drawn: tuple[ZoneInfo, list[datetime]]) -> None:
    zone, [anchor, instant] = drawn
    cycle = cycle_at(anchor, zone, instant)
    assert instant in cycle
    before, after = cycle_at(anchor, zone, cycle.start - INSTANT), cycle_at(anchor, zone, cycle.end)
    assert (before.end, after.start) == (cycle.start, cycle.end)
    assert cycle_at(anchor, zone, cycle.start) == cycle_at(anchor, zone, cycle.end - INSTANT) == cycle


@given(zones_and_instants(2), st.integers(-150, 150))
def test_cycles_touch_without_gap_or_overlap(drawn: tuple[ZoneInfo, list[datetime]], index: int) -> None:
    zone, [anchor, _] = drawn
    start, end = boundary(anchor, zone, index), boundary(anchor, zone, index + 1)
    assert timedelta(days=27, hours=22) <= end - start <= timedelta(days=31, hours=26)
    assert cycle_at(anchor, zone, start) == Cycle(start, end)


@given(zones_and_instants(2))
def test_cycles_are_utc_instants(drawn: tuple[ZoneInfo, list[datetime]]) -> None:
    zone, [anchor, instant] = drawn
    cycle = cycle_at(anchor.astimezone(BERLIN), zone, instant.astimezone(NEW_YORK))
    assert cycle.start.tzinfo is UTC
    assert cycle.end.tzinfo is UTC
    assert cycle == cycle_at(anchor, zone, instant)
