"""Events, records and accounts for tests: each with everything a test does not care about filled in."""

import copy
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.domain.account import AccountState, CycleState, PlanTerms
from shared.domain.cycles import cycle_at, time_zone
from shared.domain.events import TimeLimits, UsageEvent, decode_event, reread_event
from shared.domain.ids import AccountId, EventId
from shared.domain.ledger import Transfer, TransferKind, UsageRow, genesis_hash
from shared.domain.usage import PricedUsage

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
GRACE = timedelta(hours=1)
LIMITS = TimeLimits(earliest=datetime(2020, 1, 1, tzinfo=UTC), max_future=timedelta(minutes=10))
ACCOUNT = AccountId("acc_1")
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "type": "payg.usage.recorded.v1",
    "source": "gateway-eu-1",
    "id": "req_1",
    "time": "2026-11-23T12:00:00Z",
    "data": {
        "api_key_id": "key_1",
        "provider": "openai",
        "model": "gpt-4o",
        "input_tokens": 374,
        "output_tokens": 44,
    },
}

COUNTS = ["input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"]
COUNTS += ["input_audio_tokens", "output_audio_tokens"]


def event_fields(data: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """Return the fields of a good event with some of its own and of its data's changed or added."""
    event = copy.deepcopy(EVENT)
    event.update(fields)
    event["data"].update(data or {})
    return event


def event_json(data: dict[str, Any] | None = None, **fields: Any) -> bytes:
    """Return a good event as JSON; lone surrogates and whatever is not ASCII come as escapes."""
    return json.dumps(event_fields(data, **fields)).encode()


def without(name: str) -> bytes:
    """Return an event that lacks one of its fields."""
    return json.dumps({key: value for key, value in EVENT.items() if key != name}).encode()


def with_count(literal: str) -> bytes:
    """Return an event whose count of input tokens is written exactly so."""
    return event_json({"input_tokens": "@"}).replace(b'"@"', literal.encode())


def with_extra(literal: bytes) -> bytes:
    """Return an event with an unknown field that is written exactly so."""
    return event_json(extra="@").replace(b'"@"', literal)


def with_metadata(literal: bytes) -> bytes:
    """Return an event with metadata that is written exactly so."""
    return event_json({"metadata": "@"}).replace(b'"@"', literal)


def nested(innermost: bytes, depth: int) -> bytes:
    """Return a JSON value within so many arrays."""
    return b"[" * depth + innermost + b"]" * depth


def decoded(data: dict[str, Any] | None = None, **fields: Any) -> UsageEvent:
    return decode_event(event_json(data, **fields), LIMITS, NOW)


def usage(
    event_id: str = "req_1",
    list_nanos: int = 100,
    time: datetime = NOW,
    source: str = "gateway-eu-1",
    **data: Any,
) -> PricedUsage:
    """Return a priced record of the account."""
    raw = event_json(data, id=event_id, time=time.isoformat(), source=source)
    return PricedUsage.of(reread_event(raw), raw, ACCOUNT, 7, list_nanos)


def plan(quota_nanos: int = 1_000, discount_ppm: int = 0, zone: str = "UTC", name: str = "pro") -> PlanTerms:
    return PlanTerms(name, quota_nanos, discount_ppm, zone)


def payg_account(balance_nanos: int = 0) -> AccountState:
    """Return an account without a plan."""
    return AccountState(ACCOUNT, 1, 0, genesis_hash(ACCOUNT), balance_nanos)


def subscribed(
    terms: PlanTerms,
    anchor: datetime = datetime(2026, 11, 1, tzinfo=UTC),
    balance_nanos: int = 0,
    *,
    fallback: bool = False,
    spending_limit_nanos: int | None = None,
) -> AccountState:
    """Return an account in the first cycle of a plan."""
    first = cycle_at(anchor, time_zone(terms.time_zone), anchor)
    return AccountState(
        ACCOUNT,
        version=1,
        seq=0,
        head_hash=genesis_hash(ACCOUNT),
        balance_nanos=balance_nanos,
        fallback=fallback,
        spending_limit_nanos=spending_limit_nanos,
        anchor=anchor,
        plan=terms,
        cycles=(opened(terms, first.start, first.end),),
    )


def opened(terms: PlanTerms, start: datetime, end: datetime) -> CycleState:
    """Return a cycle as it stands when it has just been opened."""
    return CycleState(start, end, terms.plan_id, terms.quota_nanos, terms.discount_ppm, terms.quota_nanos)


TRANSFER = Transfer(
    seq=3,
    kind=TransferKind.USAGE,
    amount_nanos=-50,
    balance_after_nanos=950,
    quota_amount_nanos=-100,
    quota_after_nanos=900,
    cycle_spent_after_nanos=50,
    cause="2 usage records",
    occurred_at=NOW,
    rows_digest=bytes(range(32)),
    hash=b"",
)
ROW = UsageRow(
    account_id=ACCOUNT,
    transfer_seq=3,
    event_id=EventId("req_1"),
    source="gateway-eu-1",
    api_key_id="key_1",
    provider="openai",
    model="gpt-4o",
    rate_id=7,
    time=NOW,
    cycle_start=datetime(2026, 11, 1, tzinfo=UTC),
    input_tokens=374,
    output_tokens=44,
    cache_read_tokens=1,
    cache_write_tokens=2,
    input_audio_tokens=3,
    output_audio_tokens=4,
    list_nanos=150,
    charge_nanos=150,
    quota_nanos=100,
    balance_nanos=40,
    uncollected_nanos=10,
    hold_id="hold_1",
    metadata='{"team": 1}',
)
