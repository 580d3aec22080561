"""What cannot be processed is parked with its reason and its raw body; nothing else is harmed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from books_builders import Books, event
from books_pipeline import Pipeline
from unpayable import Kind, first_ones, kinds

from shared.clock import utc_now
from shared.domain.pricing import BEGINNING_OF_TIME, Tier, TokenRates
from shared.gateways.genai_prices import CatalogModel
from shared.operations.prices import import_models

#: The names of the kinds, for which no pipeline need run.
_NAMES = sorted(kinds(Pipeline("", "")))


@dataclass(frozen=True)
class Outcome:
    """What became of all kinds, published among good records."""

    kinds: Mapping[str, Kind]
    good: set[str]
    parked: Mapping[bytes, Any]
    debited: list[str]


@pytest.fixture(scope="module")
def outcome(pipeline: Pipeline) -> Outcome:
    """Publish every kind alone and, where it can be, within an array, each among good neighbours."""
    pipeline.with_books(_list_prices)
    pipeline.publish(*first_ones(pipeline))
    for name in ("first_1", "first_2"):
        pipeline.until_debited(name)
    every = kinds(pipeline)
    good: list[str] = []

    def neighbour() -> bytes:
        good.append(f"good_{len(good)}")
        return event(good[-1], 1, api_key_id=pipeline.api_key_id)

    for kind in every.values():
        pipeline.publish(neighbour())
        pipeline.publish(kind.raw, content_type=kind.content_type)
    arrays = [[neighbour(), kind.raw, neighbour()] for kind in every.values() if not kind.alone]
    pipeline.publish(*(b"[" + b", ".join(array) + b"]" for array in arrays))
    everything = [kind.raw for kind in every.values() if not kind.alone]
    pipeline.publish(b"[" + b",\n".join([neighbour(), *everything, neighbour()]) + b"]")
    pipeline.drain()
    # Other tests have the same processes: what they published has names of its own.
    parked = pipeline.sql("SELECT * FROM quarantine")
    ours = {row["raw"]: row for row in parked if b"name_" not in row["raw"]}
    return Outcome(every, set(good), ours, _debited(pipeline))


async def _list_prices(books: Books) -> None:
    embedding = Tier(0, TokenRates.inherit({"input": 10**6}))
    found = [
        CatalogModel("acme", "by-the-hour", unsupported_because="its price depends on the time of day"),
        CatalogModel("acme", "embedding", ((BEGINNING_OF_TIME, (embedding,)),)),
        CatalogModel("acme", "new", ((utc_now() + timedelta(days=9), (embedding,)),)),
    ]
    await import_models(books.engine, "genai-prices", found)


def _debited(pipeline: Pipeline) -> list[str]:
    query = "SELECT event_id FROM usage_records WHERE event_id NOT LIKE 'name_%' ORDER BY event_id"
    return [row["event_id"] for row in pipeline.sql(query)]


@pytest.mark.parametrize("name", _NAMES)
def test_it_is_parked_with_its_reason_and_its_raw_body(outcome: Outcome, name: str) -> None:
    """A missing price billed as 0, among other things."""
    kind = outcome.kinds[name]
    entry = outcome.parked.get(kind.raw)
    assert entry is not None, "it is not in quarantine byte for byte"
    assert (entry["reason"], entry["status"]) == (kind.reason, "open"), entry["detail"]
    assert entry["count"] == (1 if kind.alone else 3), "identical ones are one entry with a count"
    assert entry["detail"]


def test_nothing_else_is_parked(outcome: Outcome) -> None:
    assert len(outcome.kinds) >= 30
    assert len(outcome.parked) == len({kind.raw for kind in outcome.kinds.values()})


def test_all_good_neighbours_are_debited_once(outcome: Outcome) -> None:
    assert sorted(outcome.good | {"first_1", "first_2"}) == outcome.debited


def test_what_is_unpayable_names_its_account_and_event(outcome: Outcome, pipeline: Pipeline) -> None:
    entry = outcome.parked[outcome.kinds["conflict"].raw]
    assert (entry["account_id"], entry["event_id"]) == (pipeline.account_id, "first_1")
    assert outcome.parked[outcome.kinds["unknown_model"].raw]["event_id"] == "u6"


def test_it_is_told_with_the_balance_of_its_account(outcome: Outcome, pipeline: Pipeline) -> None:
    alerts = pipeline.sql("SELECT data FROM alerts WHERE type = 'usage.quarantined'")
    told = {data["entry_id"]: data for data in (json.loads(alert["data"]) for alert in alerts)}
    assert {told[entry["entry_id"]]["account_id"] for entry in outcome.parked.values()} >= {None}
    for entry in outcome.parked.values():
        data = told[entry["entry_id"]]
        assert data["account_id"] == entry["account_id"]
        known = entry["account_id"] is not None
        assert all((data[name] is not None) is known for name in ("level", "balance_nanos", "balance"))


@pytest.mark.usefixtures("outcome")
def test_the_books_are_right_and_no_message_died(pipeline: Pipeline) -> None:
    assert pipeline.payg("audit")[0]["ok"]
    assert pipeline.payg("dead-letters", "list") == []


def test_the_command_lists_what_is_parked(outcome: Outcome, pipeline: Pipeline) -> None:
    listed = {entry["id"]: entry for entry in pipeline.payg("quarantine", "list")}
    for raw, entry in outcome.parked.items():
        shown = listed[entry["entry_id"]]
        assert shown["raw"].encode(shown["raw_encoding"]) == raw
        assert (shown["reason"], shown["count"]) == (entry["reason"], entry["count"])
