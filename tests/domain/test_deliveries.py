"""When a delivery is tried again, and what a digest carries."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.deliveries import (
    BACK_OFF,
    GIVE_UP_AFTER,
    DeliveryError,
    digest_event,
    hour_of,
    next_attempt,
)

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
lucks = st.floats(0, 1)


@given(st.lists(lucks, min_size=len(BACK_OFF), max_size=len(BACK_OFF)))
def test_what_never_arrives_is_tried_for_three_days_and_a_little(luck: list[float]) -> None:
    now, failed = NOON, 0
    while (again := next_attempt(DeliveryError("no"), failed + 1, now, luck[min(failed, 8)])) is not None:
        assert again > now
        now, failed = again, failed + 1
    assert failed == len(BACK_OFF)
    assert GIVE_UP_AFTER < now - NOON < GIVE_UP_AFTER * 1.2


@given(st.integers(1, 20), lucks)
def test_what_is_permanent_is_not_tried_again(failed: int, luck: float) -> None:
    assert next_attempt(DeliveryError("gone", permanent=True), failed, NOON, luck) is None


@given(st.timedeltas(), st.integers(1, len(BACK_OFF)), lucks)
def test_a_receiver_may_ask_for_more_time_and_not_for_ever(
    asked: timedelta, failed: int, luck: float
) -> None:
    again = next_attempt(DeliveryError("busy", retry_after=asked), failed, NOON, luck)
    assert again is not None
    assert again - NOON >= BACK_OFF[failed - 1]
    assert again - NOON >= min(asked, BACK_OFF[-1])
    assert again - NOON <= BACK_OFF[-1] * 1.1


def test_an_hour_is_one_of_utc() -> None:
    late = datetime(2026, 11, 20, 23, 59, 59, 999_999, tzinfo=UTC)
    assert hour_of(late) == (datetime(2026, 11, 20, 23, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC))


def test_a_digest_counts_and_carries_every_alert() -> None:
    types = ["balance.low", "topup.failed", "balance.low"]
    events = [{"type": f"payg.{type_}.v1", "id": f"alert-{n}"} for n, type_ in enumerate(types)]
    digest = digest_event("dlv_1", "acct_1", NOON, events)
    assert digest.event_id == "digest-dlv_1"
    assert digest.attributes == {
        "specversion": "1.0",
        "type": "payg.alerts.digest.v1",
        "source": "payg",
        "id": "digest-dlv_1",
        "time": NOON,
        "datacontenttype": "application/json",
        "subject": "acct_1",
        "data": {
            "account_id": "acct_1",
            "occurred_at": NOON,
            "count": 3,
            "counts": {"balance.low": 2, "topup.failed": 1},
            "alerts": events,
        },
    }
    assert digest_event("dlv_1", "", NOON, events).attributes["subject"] is None
