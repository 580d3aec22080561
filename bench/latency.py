"""Latency under a steady load: from publish to the debit, and from publish and debit to the alert.

A record carries the instant at which it was published as its time, and PostgreSQL tells when the row was
committed; both are clocks of one machine. Alerts are measured on accounts that wait a nano above a bound,
each of which gets one record, by a subscriber that reads the broker's exchange.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic, time

import msgspec
from sqlalchemy import text

from bench.accounts import MODELS
from bench.end_to_end import warm_up
from bench.percentiles import percentile
from bench.pipeline import Pipeline
from bench.progress import until_debited
from bench.rig import Rig, connected
from bench.traffic import Traffic
from shared.clock import utc_now
from shared.domain.money import NANOS_PER_DOLLAR
from shared.messaging.connect import open_transport
from shared.messaging.publisher import Publisher, usage_event
from shared.operations.accounts import create_account
from shared.operations.money import credit_account

_TICK_S = 0.005
_PROBES_PER_S = 10
_WARM_UP = 2_000
_ALERT_TIMEOUT_S = 10.0
_GRACE = timedelta(hours=1)
_LATENCIES = text("""
    SELECT extract(epoch FROM pg_xact_commit_timestamp(i.xmin) - r.time) * 1000
    FROM usage_ids i JOIN usage_records r USING (account_id, transfer_seq, event_id)
    WHERE r.source = 'bench' AND r.time >= :since
""")
_PROBES_DEBITED = text("""
    SELECT i.account_id, extract(epoch FROM pg_xact_commit_timestamp(i.xmin))::float8
    FROM usage_ids i JOIN usage_records r USING (account_id, transfer_seq, event_id)
    WHERE r.source = 'probe'
""")


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from publish, at an offered load; ``debit_to_alert_ms`` from the commit of the debit."""

    offered_per_s: float
    reached_per_s: float
    debited_ms: dict[str, float]
    alert_ms: dict[str, float]
    debit_to_alert_ms: dict[str, float]


def latency(rig: Rig, *, accounts: int, records_per_s: float, seconds: float) -> Latency:
    """Publish evenly through the Python publisher and watch when records are debited and alerts arrive."""
    with Pipeline(rig, rig.database(accounts)) as pipeline:
        measured = asyncio.run(_measure(pipeline, accounts, records_per_s, seconds))
    rig.drop(pipeline.database_url)
    return measured


async def _measure(pipeline: Pipeline, accounts: int, records_per_s: float, seconds: float) -> Latency:
    traffic = Traffic(accounts)
    async with connected(pipeline.database_url) as engine, Publisher(pipeline.broker_url) as publisher:
        probes = [await _probe(engine) for _ in range(int(seconds * _PROBES_PER_S))]
        await warm_up(pipeline, engine, traffic, _WARM_UP)
        since = utc_now()
        watching = asyncio.create_task(_watch(pipeline.broker_url, set(probes)))
        await asyncio.sleep(0.5)
        sending = asyncio.create_task(_send_probes(publisher, probes))
        sent = await send(publisher, traffic, records_per_s, seconds)
        reached = sent / (utc_now() - since - timedelta(seconds=0.5)).total_seconds()
        published = await sending
        await until_debited(engine, _WARM_UP + sent + len(probes), evaluated=True)
        arrived = await watching
        async with engine.connect() as connection:
            debited = [float(ms) for ms in (await connection.execute(_LATENCIES, {"since": since})).scalars()]
            committed = {account: at for account, at in await connection.execute(_PROBES_DEBITED)}  # noqa: C416
    alerts, after_debit = (
        [(arrived[account] - began[account]) * 1000 for account in probes] for began in (published, committed)
    )
    return Latency(records_per_s, reached, _summary(debited), _summary(alerts), _summary(after_debit))


async def send(publisher: Publisher, traffic: Traffic, records_per_s: float, seconds: float) -> int:
    """Publish at an even rate, without waiting for what was published; return how many records it were."""
    began, sent = monotonic(), 0
    under_way: set[asyncio.Task[None]] = set()
    while (elapsed := monotonic() - began) < seconds:
        now = utc_now()
        due = int(elapsed * records_per_s) - sent
        if due:
            events = [msgspec.Raw(traffic.event(now)) for _ in range(due)]
            task = asyncio.create_task(publisher.publish_all(events))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            sent += due
        await asyncio.sleep(_TICK_S)
    await asyncio.gather(*under_way)
    return sent


async def _probe(engine: object) -> str:
    account_id, _ = await create_account(engine)  # type: ignore[arg-type]
    await credit_account(engine, account_id, 20 * NANOS_PER_DOLLAR + 1, "a nano above low", _GRACE)  # type: ignore[arg-type]
    return account_id


async def _send_probes(publisher: Publisher, probes: Sequence[str]) -> dict[str, float]:
    """Publish a record of each account; return when that was."""
    published = {}
    for number, account_id in enumerate(probes):
        event = usage_event(
            id=f"probe_{number}", model=MODELS[0], source="probe", account_id=account_id, input_tokens=100
        )
        published[account_id] = time()
        await publisher.publish(event)
        await asyncio.sleep(1 / _PROBES_PER_S)
    return published


async def _watch(broker_url: str, probes: set[str]) -> dict[str, float]:
    """Return when the alert of each probe arrived. Raises TimeoutError when one stays away."""
    arrived: dict[str, float] = {}
    async with open_transport(broker_url) as transport, transport.subscribe_alerts("balance.low") as alerts:
        async for alert in alerts:
            account = msgspec.json.decode(alert.body)["data"]["account_id"]
            if account in probes:
                arrived.setdefault(account, time())
            if len(arrived) == len(probes):
                return arrived
    raise TimeoutError("the subscription ended before all alerts were there")


def _summary(milliseconds: Sequence[float]) -> dict[str, float]:
    return {
        "p50": percentile(milliseconds, 50),
        "p99": percentile(milliseconds, 99),
        "max": max(milliseconds),
    }
