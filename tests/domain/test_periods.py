"""Usage periods are months of UTC, and what they come to can be told from transfers alone."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.periods import Period, PeriodSum

_INSTANTS = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.timezones())  # noqa: DTZ001


@given(_INSTANTS)
def test_every_instant_lies_in_one_period_whatever_its_time_zone(instant: datetime) -> None:
    period = Period.of(instant)
    assert period.start <= instant < period.end
    assert Period.of(period.end - timedelta(microseconds=1)) == period
    assert Period.of(period.end) == period.plus(1) > period


@given(_INSTANTS, st.integers(-300, 300))
def test_months_can_be_counted_there_and_back(instant: datetime, months: int) -> None:
    period = Period.of(instant)
    assert period.plus(months).plus(-months) == period
    assert Period.parse(str(period)) == period


def test_months_are_those_of_utc() -> None:
    new_year = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    assert str(Period.of(new_year)) == "2025-12"
    assert Period.of(new_year).end == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "2026", "2026-13", "2026-00", "2026-3", "0000-01", "2026-03-01", "x"])
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="an example is 2026-03"):
        Period.parse(text)


def test_a_sum_depends_on_every_transfer_and_on_their_order() -> None:
    sums = []
    for digests in (b"ab", b"ba", b"a", b""):
        sums.append(PeriodSum())
        for digest in digests:
            sums[-1].add(bytes([digest]), 2)
    assert [each.rows for each in sums] == [4, 4, 2, 0]
    assert len({each.proof.digest for each in sums}) == len(sums)
