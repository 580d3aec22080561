"""Whatever arrives, a decoder answers with a value or with the error that it documents: nothing else."""

import hashlib
import hmac
import json
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import dramatiq
import pytest
from domain_builders import EVENT, LIMITS, NOW, payg_account
from dramatiq.errors import DecodeError
from hostile_json import documents, fuzzed
from hypothesis import given
from hypothesis import strategies as st
from statement_histories import KEY, months, played

from shared.domain.alert_events import AlertEvent
from shared.domain.errors import MalformedError
from shared.domain.events import UsageEvent, decode_event, split_body
from shared.domain.ledger import TransferKind
from shared.domain.signature import KEY_BYTES, InvalidKeyError, parse_key
from shared.domain.statement_check import Checked, check_statement
from shared.domain.statement_export import StatementFault, entry_line, read_export, usage_line
from shared.gateways.stripe_webhooks import Webhook, WebhookRefusedError, read_webhook
from shared.messaging.envelope import BatchEncoder
from shared.messaging.subscriber import event_of

_SECRET = "whsec_of_a_test"  # noqa: S105 - of a test  # pragma: allowlist secret
_ENVELOPE = {
    "queue_name": "pricing",
    "actor_name": "pricing",
    "args": [[EVENT]],
    "kwargs": {},
    "options": {},
    "message_id": "1",
    "message_timestamp": 1_790_000_000_000,
}
_ALERT = {
    "specversion": "1.0",
    "type": "payg.balance.low.v1",
    "source": "payg",
    "id": "alert_1",
    "time": "2026-11-23T12:00:00Z",
    "datacontenttype": "application/json",
    "subject": "acc_1",
    "sequence": 1,
    "data": {"account_id": "acc_1", "level": "low", "balance_nanos": 1},
}
_STRIPE_EVENT = {
    "id": "evt_1",
    "object": "event",
    "type": "payment_intent.succeeded",
    "created": 1_790_000_000,
    "livemode": False,
    "data": {"object": {"id": "pi_1", "metadata": {}}},
}


def _export() -> list[dict[str, Any]]:
    """Return a month of an account as the lines of its export: a statement, entries and usage rows."""
    steps = [(timedelta(days=1), (TransferKind.CREDIT, 10**10)), (timedelta(hours=1), [("gpt-4o", 10**6)])]
    month = months(played(payg_account(), steps))[0]
    lines = [json.dumps(month.signed).encode()]
    for transfer, rows in month.entries:
        lines += [entry_line(transfer), *(usage_line(row) for row in rows)]
    return [json.loads(line) for line in lines]


LINES = _export()


def _signed(body: bytes) -> str:
    signed_at = int(time.time())
    made = hmac.new(_SECRET.encode(), f"{signed_at}.".encode() + body, hashlib.sha256)
    return f"t={signed_at},v1={made.hexdigest()}"


def _checked(lines: list[bytes]) -> Checked:
    """Check an export as `payg verify` does; raises StatementFault."""
    signed, entries = read_export(lines)
    return check_statement(signed or {}, entries, [KEY.public_key])


@fuzzed
@given(documents(EVENT))
def test_a_usage_event_is_read_or_malformed(body: bytes) -> None:
    with suppress(MalformedError):
        assert isinstance(decode_event(body, LIMITS, NOW), UsageEvent)


@fuzzed
@given(st.lists(documents(EVENT), max_size=4), st.none() | st.text() | st.just("application/json"))
def test_a_batch_is_split_or_malformed(elements: list[bytes], content_type: str | None) -> None:
    body = b"[" + b",".join(elements) + b"]"
    with suppress(MalformedError):
        assert all(isinstance(each, bytes) for each in split_body(body, content_type))


@fuzzed
@given(documents(_ENVELOPE))
def test_a_message_of_a_stage_is_decoded_or_refused(body: bytes) -> None:
    dramatiq.set_encoder(BatchEncoder())
    with suppress(DecodeError):
        assert isinstance(dramatiq.Message.decode(body), dramatiq.Message)


@fuzzed
@given(documents(_ALERT))
def test_an_alert_is_read_or_passed_over(body: bytes) -> None:
    event = event_of(body)
    assert event is None or isinstance(event, AlertEvent)


@fuzzed
@given(documents(_STRIPE_EVENT))
def test_a_signed_webhook_is_read_or_refused(body: bytes) -> None:
    with suppress(WebhookRefusedError):
        assert isinstance(read_webhook(body, _signed(body), [_SECRET], datetime.now(UTC)), Webhook)


@fuzzed
@given(st.text() | st.from_regex(r"(t=[0-9]*,?|v1=[0-9a-f]*,?){0,5}", fullmatch=True))
def test_a_signature_that_nobody_made_is_refused(signature: str) -> None:
    with pytest.raises(WebhookRefusedError):
        read_webhook(json.dumps(_STRIPE_EVENT).encode(), signature, [_SECRET], datetime.now(UTC))


@fuzzed
@given(st.data())
def test_an_export_is_checked_and_its_fault_named(data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(LINES) - 1))
    lines = [json.dumps(line).encode() for line in LINES]
    lines[number] = data.draw(documents(LINES[number]))
    with suppress(StatementFault):
        assert isinstance(_checked(lines), Checked)


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-09-21T00:00:00"]
)
def test_an_entry_at_no_instant_that_can_be_is_a_fault(time: str) -> None:
    entry = LINES[1]["entry"] | {"occurred_at": time}
    lines = [json.dumps(line).encode() for line in [LINES[0], {"entry": entry}, *LINES[2:]]]
    fault = _checked(lines).fault
    assert fault is not None
    assert fault.where == "the first entry"


@fuzzed
@given(st.text() | st.from_regex(r"[0-9a-fA-F]{60,66}|[A-Za-z0-9+/_-]{40,46}=?", fullmatch=True))
def test_a_key_is_32_bytes_or_no_key(text: str) -> None:
    with suppress(InvalidKeyError):
        assert len(parse_key(text)) == KEY_BYTES


def test_what_nobody_harmed_is_read_by_every_decoder() -> None:
    assert decode_event(json.dumps(EVENT).encode(), LIMITS, NOW).id == EVENT["id"]
    assert event_of(json.dumps(_ALERT).encode()) is not None
    dramatiq.set_encoder(BatchEncoder())
    assert dramatiq.Message.decode(json.dumps(_ENVELOPE).encode()).message_id == "1"
    body = json.dumps(_STRIPE_EVENT).encode()
    assert read_webhook(body, _signed(body), [_SECRET], datetime.now(UTC)).event is not None
    assert _checked([json.dumps(line).encode() for line in LINES]).fault is None
