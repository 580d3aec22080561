"""The AsyncAPI document is the one that the code makes, is valid, and tells what messages are."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from alert_books import Told
from alert_events import check_alerts, events_in
from node_example import NodeExample
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.domain.alert_events import DATA, check_event
from shared.domain.alerts import AlertType
from shared.domain.events import UsageEvent
from shared.messaging.alert_history import history_of_all, history_over_http
from shared.messaging.asyncapi import asyncapi_document
from shared.messaging.publisher import usage_event
from workers.pricing import Pricing

_COMMITTED = Path(__file__).parents[3] / "docs/asyncapi.json"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return asyncapi_document()


def validator(document: dict[str, Any], schema: str) -> jsonschema.Draft202012Validator:
    """Return what checks a message by a schema of the document."""
    root = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
    return jsonschema.Draft202012Validator(root)


def test_the_committed_document_is_the_one_that_the_code_makes(document: dict[str, Any]) -> None:
    assert json.loads(_COMMITTED.read_text()) == document, "write it anew: payg asyncapi > docs/asyncapi.json"


def test_the_document_is_valid(document: dict[str, Any], node_example: NodeExample) -> None:
    schema = json.loads(node_example.asyncapi_schema.read_text())
    faults = list(jsonschema.Draft7Validator(schema).iter_errors(document))
    assert [f"{fault.json_path}: {fault.message}" for fault in faults] == []


def test_every_type_of_alert_stands_in_the_document(document: dict[str, Any]) -> None:
    assert set(DATA) == set(AlertType)
    channel = document["channels"]["alerts"]
    assert channel["parameters"]["type"]["enum"] == [str(alert) for alert in AlertType]
    assert len(channel["messages"]) == len(AlertType)


def test_usage_events_are_what_the_document_says(document: dict[str, Any]) -> None:
    usage = usage_event(id="req_1", api_key_id="key_1", model="gpt-4o", input_tokens=3, metadata={"a": 1})
    event = msgspec.json.decode(msgspec.json.encode(usage))
    validator(document, "UsageEvent").validate(event)
    msgspec.json.decode(msgspec.json.encode(event), type=UsageEvent)
    for wrong in ({"input_tokens": -1}, {"input_tokens": 1.5}, {"model": ""}, {"metadata": []}):
        assert not validator(document, "UsageEvent").is_valid(event | {"data": event["data"] | wrong})


async def test_alerts_are_what_the_document_says(
    told: Told, engine: AsyncEngine, document: dict[str, Any]
) -> None:
    await told.tell()
    usage = usage_event(id="req_1", api_key_id="key_nobody_knows", model="gpt-4o", input_tokens=3)
    await Pricing(engine, 1, None).handle([msgspec.Raw(msgspec.json.encode(usage))])
    low, quarantined = await events_in(engine)
    validator(document, "BalanceLow").validate(low)
    validator(document, "UsageQuarantined").validate(quarantined)
    assert quarantined["subject"] is None
    await check_alerts(engine)


async def test_what_stands_in_no_type_is_found(told: Told, engine: AsyncEngine) -> None:
    await told.tell()
    [event] = await events_in(engine)
    with pytest.raises(ValueError, match="surprise"):
        check_event(event | {"data": event["data"] | {"surprise": 1}})
    with pytest.raises(msgspec.ValidationError):
        check_event(event | {"data": event["data"] | {"transfer_seq": "1"}})


async def test_the_past_is_the_same_over_http_and_from_the_database(told: Told, events_url: str) -> None:
    written = await told.tell(3)
    since = utc_now() - timedelta(hours=1)
    over_http = [event async for event in history_over_http(events_url, told.api_key, since)]
    assert over_http == [event async for event in history_of_all(told.engine, since)]
    assert [event.sequence for event in over_http] == written
    later = utc_now() + timedelta(hours=1)
    assert [event async for event in history_over_http(events_url, told.api_key, later)] == []
