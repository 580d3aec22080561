"""Billing cycles: half-open months from an anchor, in the plan's time zone, as UTC instants."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from shared.domain.cycles import Cycle, boundary, cycle_at, time_zone
from shared.domain.errors import NotFoundError

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
INSTANT = timedelta(microseconds=1)


def at(text: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> datetime:
    """Return the instant at which a zone's clocks show a time (for the first time, or the second)."""
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).astimezone(UTC)


def starts(anchor: datetime, zone: ZoneInfo, count: int) -> list[str]:
    """Return the local starts of the anchor's own cycle and those that follow."""
    return [
        boundary(anchor, zone, index).astimezone(zone).strftime("%Y-%m-%d %H:%M") for index in range(count)
    ]


@pytest.mark.parametrize(
    ("anchor", "expected"),
    [
        ("2026-01-31", ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]),
        ("2028-01-31", ["2028-01-31", "2028-02-29", "2028-03-31", "2028-04-30", "2028-05-31"]),
        ("2026-01-30", ["2026-01-30", "2026-02-28", "2026-03-30", "2026-04-30", "2026-05-30"]),
        ("2026-01-29", ["2026-01-29", "2026-02-28", "2026-03-29", "2026-04-29", "2026-05-29"]),
        ("2028-01-29", ["2028-01-29", "2028-02-29", "2028-03-29", "2028-04-29", "2028-05-29"]),
        ("2026-11-30", ["2026-11-30", "2026-12-30", "2027-01-30", "2027-02-28", "2027-03-30"]),
        ("2026-12-15", ["2026-12-15", "2027-01-15", "2027-02-15", "2027-03-15", "2027-04-15"]),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu"])
def test_a_month_that_is_too_short_ends_on_its_last_day(anchor: str, expected: list[str], zone: str) -> None:
    anchor_instant = at(f"{anchor}T00:00", ZoneInfo(zone))
    assert starts(anchor_instant, ZoneInfo(zone), 5) == [f"{day} 00:00" for day in expected]


def test_an_anchor_on_a_leap_day_returns_to_the_29th() -> None:
    anchor = at("2024-02-29T12:00")
    assert starts(anchor, BERLIN, 2) == ["2024-02-29 12:00", "2024-03-29 12:00"]
    assert boundary(anchor, BERLIN, 12) == at("2025-02-28T12:00")
    assert boundary(anchor, BERLIN, 48) == at("2028-02-29T12:00")


def test_the_local_hour_stays_when_the_offset_changes() -> None:
    assert boundary(at("2026-01-10T00:00"), BERLIN, 0) == datetime(2026, 1, 9, 23, tzinfo=UTC)
    assert boundary(at("2026-01-10T00:00"), BERLIN, 3) == datetime(2026, 4, 9, 22, tzinfo=UTC)


def test_southern_summer_time_is_kept_as_well() -> None:
    sydney = ZoneInfo("Australia/Sydney")
    anchor = at("2026-01-10T00:00", sydney)
    assert anchor == datetime(2026, 1, 9, 13, tzinfo=UTC)
    assert boundary(anchor, sydney, 3) == datetime(2026, 4, 9, 14, tzinfo=UTC)
    assert boundary(anchor, sydney, 9) == datetime(2026, 10, 9, 13, tzinfo=UTC)


def test_an_offset_of_quarter_hours_is_kept() -> None:
    kathmandu = ZoneInfo("Asia/Kathmandu")
    anchor = at("2026-01-31T00:00", kathmandu)
    assert boundary(anchor, kathmandu, 1) == datetime(2026, 2, 27, 18, 15, tzinfo=UTC)
    assert boundary(anchor, kathmandu, 2) == datetime(2026, 3, 30, 18, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "anchor", "months", "expected"),
    [
        ("Europe/Berlin", "2026-01-29T02:30", 2, "2026-03-29T01:30Z"),
        ("America/New_York", "2026-01-08T02:30", 2, "2026-03-08T07:30Z"),
        ("Australia/Lord_Howe", "2026-09-04T02:15", 1, "2026-10-03T15:45Z"),
    ],
)
def test_a_local_time_that_is_skipped_moves_on_by_the_gap(
    zone: str, anchor: str, months: int, expected: str
) -> None:
    start = boundary(at(anchor, ZoneInfo(zone)), ZoneInfo(zone), months)
    assert start == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    ("zone", "anchor", "months", "expected"),
    [
        ("Europe/Berlin", "2026-01-25T02:30", 9, "2026-10-25T00:30Z"),
        ("America/New_York", "2026-01-01T01:30", 10, "2026-11-01T05:30Z"),
        ("Australia/Lord_Howe", "2026-02-05T01:45", 2, "2026-04-04T14:45Z"),
    ],
)
def test_a_local_time_that_comes_twice_is_taken_the_first_time(
    zone: str, anchor: str, months: int, expected: str
) -> None:
    start = boundary(at(anchor, ZoneInfo(zone)), ZoneInfo(zone), months)
    assert start == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    ("zone", "local"),
    [
        (BERLIN, "2026-10-25T02:30"),
        (NEW_YORK, "2026-11-01T01:30"),
        (ZoneInfo("Australia/Lord_Howe"), "2026-04-05T01:45"),
    ],
)
@pytest.mark.parametrize("fold", [0, 1])
def test_an_anchor_in_an_hour_that_comes_twice_is_the_start_of_its_cycle(
    zone: ZoneInfo, local: str, fold: int
) -> None:
    anchor = at(local, zone, fold)
    assert boundary(anchor, zone, 0) == anchor
    assert cycle_at(anchor, zone, anchor).start == anchor
    assert cycle_at(anchor, zone, anchor - INSTANT).end == anchor


def test_a_skipped_time_moves_on_for_an_anchor_in_the_second_of_two_hours_too() -> None:
    """25 October 2026, 02:30 for the second time; on 25 March 2029 the clocks skip 02:30."""
    anchor = at("2026-10-25T02:30", fold=1)
    assert boundary(anchor, BERLIN, 29) == at("2029-03-25T03:30")


def test_clocks_turned_back_across_a_boundary_leave_no_instant_out() -> None:
    """Newfoundland, 1 November 2009: 00:01 became 23:01 of October, so 1 November, 00:00 came twice."""
    zone = ZoneInfo("America/St_Johns")
    anchor, instant = at("2009-10-01T00:00", zone), at("2009-10-31T23:30", zone, fold=1)
    assert instant in cycle_at(anchor, zone, instant)


def test_a_cycle_is_half_open() -> None:
    anchor = at("2026-01-31T00:00")
    cycle = cycle_at(anchor, BERLIN, anchor)
    assert cycle == Cycle(anchor, at("2026-02-28T00:00"))
    assert cycle.start in cycle
    assert cycle.end - INSTANT in cycle
    assert cycle.end not in cycle
    assert cycle_at(anchor, BERLIN, cycle.end) == Cycle(cycle.end, at("2026-03-31T00:00"))


def test_an_instant_before_the_anchor_has_a_cycle_too() -> None:
    anchor = at("2026-03-31T00:00")
    expected = Cycle(at("2026-02-28T00:00"), anchor)
    assert cycle_at(anchor, BERLIN, anchor - INSTANT) == expected
    assert cycle_at(anchor, BERLIN, at("2025-12-30T23:59")).end == at("2025-12-31T00:00")


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "europe", "../etc/passwd", "/etc/passwd", "Europe/", "\0"]
)
def test_an_unknown_zone_is_refused_by_name(name: str) -> None:
    with pytest.raises(NotFoundError, match="no IANA time zone"):
        time_zone(name)


def test_a_known_zone_is_found() -> None:
    assert time_zone("Australia/Lord_Howe").key == "Australia/Lord_Howe"
