"""A parked record is debited exactly once after its cause is gone; what can never be good stays parked."""

import hashlib
from typing import Any
from uuid import uuid4

import pytest
from books_builders import event
from books_pipeline import Pipeline
from polling import until

from shared.domain.errors import NotFoundError, RefusedError
from shared.domain.quarantine import Reason


@pytest.fixture
def name() -> str:
    """Return a name that no other test takes."""
    return f"name_{uuid4().hex[:12]}"


def _publish(pipeline: Pipeline, event_id: str, tokens: int = 3, **data: Any) -> bytes:
    raw = event(event_id, tokens, **{"api_key_id": pipeline.api_key_id, **data})
    pipeline.publish(raw)
    return raw


def _charges(pipeline: Pipeline, event_id: str) -> list[int]:
    rows = pipeline.sql("SELECT charge_nanos FROM usage_records WHERE event_id = $1", event_id)
    return [row["charge_nanos"] for row in rows]


def test_an_unknown_model_is_debited_once_after_its_price_was_set(pipeline: Pipeline, name: str) -> None:
    """A missing price billed as 0."""
    _publish(pipeline, name, model=name)
    entry = pipeline.until_parked(name)
    assert entry["reason"] == "unknown_model"
    pipeline.set_price(name, 4)
    assert entry["entry_id"] in pipeline.release(reason=Reason.UNKNOWN_MODEL)
    pipeline.until_debited(name)
    assert _charges(pipeline, name) == [12]
    assert pipeline.parked(name)["status"] == "released"


def test_releasing_twice_at_once_debits_once(pipeline: Pipeline, name: str) -> None:
    """Usage counted twice."""
    _publish(pipeline, name, model=name)
    entry = pipeline.until_parked(name)
    pipeline.set_price(name, 1)
    pipeline.release(entry["entry_id"])
    # As if the first one had died before it wrote down that it was done.
    pipeline.sql("UPDATE quarantine SET status = 'open' WHERE event_id = $1", name)
    pipeline.release(entry["entry_id"])
    pipeline.drain()
    assert _charges(pipeline, name) == [3]
    assert pipeline.parked(name)["count"] == 1


def test_what_was_released_cannot_be_released_again(pipeline: Pipeline, name: str) -> None:
    _publish(pipeline, name, model=name)
    entry = pipeline.until_parked(name)
    pipeline.set_price(name, 1)
    pipeline.release(entry["entry_id"])
    with pytest.raises(NotFoundError):
        pipeline.release(entry["entry_id"])
    pipeline.until_debited(name)


def test_an_unknown_key_is_debited_once_the_key_is_there(pipeline: Pipeline, name: str) -> None:
    _publish(pipeline, name, api_key_id=name)
    entry = pipeline.until_parked(name)
    assert entry["reason"] == "unknown_key"
    pipeline.sql(
        "INSERT INTO api_keys (api_key_id, account_id, secret_hash, scopes) VALUES ($1, $2, $3, '{usage}')",
        name,
        pipeline.other_id,
        hashlib.sha256(name.encode()).digest(),
    )
    pipeline.release(entry["entry_id"])
    pipeline.until_debited(name)
    (row,) = pipeline.sql("SELECT account_id, charge_nanos FROM usage_records WHERE event_id = $1", name)
    assert tuple(row) == (pipeline.other_id, 3)


def test_a_released_record_whose_cause_is_still_there_comes_back(pipeline: Pipeline, name: str) -> None:
    raw = _publish(pipeline, name, model=name)
    entry = pipeline.until_parked(name)
    pipeline.release(entry["entry_id"])
    again = pipeline.until_parked(name, count=2)
    assert (again["entry_id"], again["raw"], again["status"]) == (entry["entry_id"], raw, "open")
    assert pipeline.debited(name) == 0


def test_malformed_records_and_conflicts_cannot_be_released(pipeline: Pipeline, name: str) -> None:
    raw = _publish(pipeline, name)
    pipeline.until_debited(name)
    pipeline.publish(raw.replace(b'"input_tokens": 3', b'"input_tokens": 4'))
    conflict = pipeline.until_parked(name)
    assert conflict["reason"] == "conflict"
    pipeline.publish(raw.replace(b'"1.0"', b'"0.9"'))
    find = "SELECT entry_id FROM quarantine WHERE reason = 'malformed' AND raw = $1"
    wrong = raw.replace(b'"1.0"', b'"0.9"')
    until(lambda: bool(pipeline.sql(find, wrong)))
    for entry_id in (conflict["entry_id"], pipeline.sql(find, wrong)[0]["entry_id"]):
        with pytest.raises(RefusedError, match="dismissed"):
            pipeline.release(entry_id)
    pipeline.payg("quarantine", "release", "--reason", "conflict", status=1)
    assert _charges(pipeline, name) == [3]


def test_entries_are_dismissed_with_a_reason(pipeline: Pipeline, name: str) -> None:
    _publish(pipeline, name, model=name)
    entry = pipeline.until_parked(name)
    (done,) = pipeline.payg("quarantine", "dismiss", entry["entry_id"], "--because", "a test")
    assert done["dismissed"] == 1
    closed = pipeline.parked(name)
    assert (closed["status"], closed["dismissed_because"]) == ("dismissed", "a test")
    assert entry["entry_id"] not in {each["id"] for each in pipeline.payg("quarantine", "list")}
    with pytest.raises(NotFoundError):
        pipeline.release(entry["entry_id"])


def test_identical_records_published_many_times_are_one_debit(pipeline: Pipeline, name: str) -> None:
    """Usage counted twice."""
    raw = event(name, 3, api_key_id=pipeline.api_key_id)
    pipeline.publish(*[raw] * 5, b"[" + b",".join([raw] * 5) + b"]")
    pipeline.drain()
    assert _charges(pipeline, name) == [3]
    assert pipeline.parked(name) is None
