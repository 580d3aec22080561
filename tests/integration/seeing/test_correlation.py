"""One name and one trace lead from the upstream's message through the stages to the alert."""

import asyncio
import logging
from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import aio_pika
import msgspec
import pytest
import structlog
from dramatiq.asyncio import get_event_loop_thread
from messaging_books import MODEL, body, event
from messaging_stages import Acting, running
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from polling import eventually
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import LogCapture

from shared.clock import utc_now
from shared.db.engine import create_engine
from shared.domain.money import NANOS_PER_DOLLAR
from shared.domain.pricing import TokenRates
from shared.domain.usage import PricedUsage
from shared.messaging.connect import open_transport
from shared.messaging.stage_broker import stage_broker
from shared.messaging.topology import USAGE_EXCHANGE, USAGE_ROUTING_KEY, Stage, stage_queues
from shared.operations.accounts import create_account
from shared.operations.money import credit_account
from shared.operations.prices import set_price
from shared.settings import Settings
from shared.tracing import process_spans_with, stop_tracing
from workers.debit import Debiting
from workers.intake import Intake
from workers.notifications import Notifications
from workers.pricing import Pricing
from workers.thresholds import Thresholds

_HOUR = timedelta(hours=1)
_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
_TRACEPARENT = f"00-{_TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    process_spans_with(SimpleSpanProcessor(exporter), "payg-test")
    yield exporter
    stop_tracing()


@pytest.fixture
def logged() -> Iterator[LogCapture]:
    """What stages log, at debug too."""
    before = structlog.get_config()
    capture = LogCapture()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, capture],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        cache_logger_on_first_use=False,
    )
    yield capture
    structlog.configure(**before)


async def _account(engine: AsyncEngine) -> str:
    """Open an account with $25, at a cent a token."""
    rates = TokenRates.inherit({"input": 10**13, "output": 10**13})
    await set_price(engine, None, MODEL, rates, None)
    account_id, _ = await create_account(engine)
    await credit_account(engine, account_id, 25 * NANOS_PER_DOLLAR, "opening", _HOUR)
    return account_id


def _stages(engine: AsyncEngine, notifications: Notifications) -> list[Acting]:
    handlers = {
        Stage.PRICING: (msgspec.Raw, Pricing(engine, 1).handle),
        Stage.DEBIT: (PricedUsage, Debiting(engine, _HOUR, utc_now).handle),
        Stage.THRESHOLDS: (int, Thresholds(engine, utc_now, timedelta()).handle),
        Stage.NOTIFICATIONS: (int, notifications.handle),
    }
    return [
        Acting(stage, handle, stage_queues(stage, 1)[0], element)
        for stage, (element, handle) in handlers.items()
    ]


async def _told_of(
    engine: AsyncEngine, settings: Settings, message: aio_pika.Message
) -> aio_pika.abc.AbstractIncomingMessage:
    """Let a message of usage pass all stages; return the alert that comes of it."""
    connection = await aio_pika.connect(settings.broker_url)
    async with connection, open_transport(settings.broker_url):
        channel = await connection.channel()
        alerts = await channel.declare_queue(exclusive=True)
        await alerts.bind("alerts", "balance.low")
        broker = stage_broker(settings.broker_url)
        # The stages run on a loop of their own, and so on connections of their own.
        theirs = create_engine(settings.database_url)
        notifications = Notifications(theirs, partial(open_transport, settings.broker_url))
        with running(settings.broker_url, *_stages(theirs, notifications), threads=4):
            intake = Intake(broker, engine, settings)
            taking = asyncio.create_task(intake.run(partial(open_transport, settings.broker_url)))
            exchange = await channel.get_exchange(USAGE_EXCHANGE)
            await exchange.publish(message, USAGE_ROUTING_KEY)
            alert = await eventually(lambda: alerts.get(fail=False))
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
            loop = get_event_loop_thread()
            assert loop is not None
            loop.run_coroutine(notifications.close())
            loop.run_coroutine(theirs.dispose())
        intake.close()
        broker.close()
    return alert


async def test_the_upstreams_name_is_in_every_log_and_its_trace_goes_through_to_the_alert(
    engine: AsyncEngine, settings: Settings, spans: InMemorySpanExporter, logged: LogCapture
) -> None:
    account_id = await _account(engine)
    records = body(
        event("req_early", account_id, input_tokens=1), event("req_late", account_id, input_tokens=600)
    )
    message = aio_pika.Message(records, correlation_id="order-7", headers={"traceparent": _TRACEPARENT})

    alert = await _told_of(engine, settings, message)

    by_name = {span.name: span for span in spans.get_finished_spans()}
    assert {"intake", "pricing", "debit", "thresholds", "notifications"} <= set(by_name)
    assert {format(span.context.trace_id, "032x") for span in by_name.values()} == {_TRACE}
    assert by_name["debit"].parent.span_id == by_name["pricing"].context.span_id
    assert str(alert.headers["traceparent"]).startswith(f"00-{_TRACE}-")
    named = {
        entry["stage"]
        for entry in logged.entries
        if entry.get("correlation_id") == "order-7" and "stage" in entry
    }
    assert named == {"pricing", "debit", "thresholds", "notifications"}
    # The alert itself names the record that led to it: what `payg trace` takes.
    assert alert.correlation_id == "req_late"
    assert msgspec.json.decode(alert.body)["data"]["correlation_id"] == "req_late"


async def test_without_a_name_of_its_own_a_message_goes_by_its_first_event(
    engine: AsyncEngine, settings: Settings, logged: LogCapture
) -> None:
    account_id = await _account(engine)
    alert = await _told_of(
        engine, settings, aio_pika.Message(body(event("req_1", account_id, input_tokens=600)))
    )
    assert alert.correlation_id == "req_1"
    assert "traceparent" not in alert.headers
    named = {
        entry["stage"]
        for entry in logged.entries
        if entry.get("correlation_id") == "req_1" and "stage" in entry
    }
    assert named == {"pricing", "debit", "thresholds", "notifications"}
