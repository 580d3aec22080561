"""How the system is, on one screen: what can be reached, what waits where, and what is wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError
from sqlalchemy import RowMapping
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import operations_view as sql
from shared.db.processes import list_processes
from shared.db.schema import Revisions, revisions
from shared.domain.topup import TopupState
from shared.messaging.connect import open_transport
from shared.messaging.kept_transport import KeptTransport
from shared.messaging.topology import Stage, every_queue
from shared.messaging.transport import TransportError
from shared.metrics import Gauge
from shared.operations.watch import queue_counts
from shared.settings import Settings

#: A process that said nothing for so long stands still or is gone.
SILENT_S = 5.0
CLOCK_SILENT_S = 15.0
LATE_S = 60.0
AUDIT_EVERY_S = 26 * 3600.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server that payg needs; ``problem`` says why it cannot be used."""

    name: str
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue. ``consumers`` and ``oldest_age_s`` are None where nobody can tell."""

    queue: str
    ready: int
    consumers: int | None
    dead: int
    oldest_age_s: float | None


@dataclass(frozen=True, slots=True)
class StageState:
    """The processes of a stage, the messages they hold, and how many they received since they started."""

    stage: str
    processes: int
    in_flight: int
    received: int


@dataclass(frozen=True, slots=True)
class Status:
    """Everything at one moment, as near as can be. What cannot be reached is empty."""

    servers: Sequence[Server]
    schema: Revisions | None = None
    queues: Sequence[Queue] = ()
    stages: Sequence[StageState] = ()
    gauges: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    debited: int = 0

    def value(self, kind: str) -> float | None:
        """Return the value of a gauge that has no label, None where it is not known."""
        return self.gauges.get(kind, {}).get("")

    def as_object(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "servers": [asdict(server) for server in self.servers],
            "schema": self.schema and self.schema._asdict(),
            "queues": [asdict(queue) for queue in self.queues],
            "stages": [asdict(stage) for stage in self.stages],
            "quarantine": self.gauges.get("quarantine_entries", {}),
            "topups": self.gauges.get("topups", {}),
            "payment_differences": self.gauges.get("payment_differences", {}),
            "clock_age_s": self.value("clock_age_seconds"),
            "audit_age_s": self.value("audit_age_seconds"),
            "audit_ok": None if (ok := self.value("audit_ok")) is None else bool(ok),
        }


def wrong(status: Status, settings: Settings) -> list[str]:
    """Return what keeps records, money or alerts from moving, a line each for people."""
    found = [
        f"{server.name} cannot be reached: {server.problem}" for server in status.servers if server.problem
    ]
    if status.schema and status.schema.current != status.schema.head:
        found.append(
            f"the schema is at {status.schema.current}, not at {status.schema.head}: run `payg migrate`"
        )
    if status.schema:
        found += [
            f"no process of {stage.stage} reports: `payg worker {stage.stage}`"
            for stage in status.stages
            if not stage.processes and (stage.stage != Stage.TOPUP or settings.stripe_api_key)
        ]
        if (age := status.value("clock_age_seconds")) is None or age > CLOCK_SILENT_S:
            found.append("the clock does not report: `payg clock`")
    for queue in status.queues:
        if queue.ready and queue.consumers == 0:
            found.append(f"{queue.ready} messages wait in {queue.queue}, and nobody consumes it")
        elif (queue.oldest_age_s or 0) > LATE_S:
            found.append(f"the oldest message of {queue.queue} may be {queue.oldest_age_s:.0f} s old")
        if queue.dead:
            found.append(f"{queue.dead} dead letters of {queue.queue}: `payg dead-letters list`")
    if status.value("audit_ok") == 0:
        found.append("the last audit found a fault in the books: `payg audit`")
    return found


def worth_a_look(status: Status) -> list[str]:
    """Return what waits for a person, a line each."""
    found = []
    if parked := sum(status.gauges.get("quarantine_entries", {}).values()):
        found.append(f"{parked:.0f} entries in quarantine: `payg quarantine list`")
    if topups := status.gauges.get("topups", {}).get(TopupState.QUARANTINED):
        found.append(f"{topups:.0f} top-ups are parked: `payg topups list`")
    if differences := sum(status.gauges.get("payment_differences", {}).values()):
        found.append(f"{differences:.0f} differences between Stripe and the books: `payg differences`")
    age_s = status.value("audit_age_seconds")
    if status.schema and (age_s is None or age_s > AUDIT_EVERY_S):
        found.append("the books were not audited for a day: `payg audit`")
    return found


class Inspector:
    """Looks at the system again and again, on connections that it keeps."""

    def __init__(self, engine: AsyncEngine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._kept = KeptTransport(partial(open_transport, settings.broker_url))

    async def close(self) -> None:
        """Close the connection to the broker."""
        await self._kept.close()

    async def look(self) -> Status:
        """Return how everything is; what cannot be reached is said, not raised."""
        database, known = await self._database()
        broker, counts = await self._broker()
        servers = [database, broker]
        if self._settings.redis_url:
            servers.append(await _redis(self._settings.redis_url))
        known["servers"] = servers
        looks = known.pop("looks", {})
        known["queues"] = [self._queue(counted, looks.get(counted[0])) for counted in counts]
        return Status(**known)

    def _queue(self, counted: tuple[str, int, int, int], look: Mapping[str, Any] | None) -> Queue:
        queue, ready, consumers, dead = counted
        age_s = 0.0 if not ready else None
        if ready and look and look["oldest_at"]:
            age_s = (look["looked_at"] - look["oldest_at"]).total_seconds() + float(look["age_s"])
        known = consumers if self._settings.broker_url.startswith("amqp") else None
        return Queue(queue, ready, known, dead, age_s)

    async def _database(self) -> tuple[Server, dict[str, Any]]:
        try:
            async with self._engine.connect() as connection:
                known: dict[str, Any] = {"schema": await revisions(connection)}
                if known["schema"].current is None:
                    return Server("PostgreSQL"), known
                known["stages"] = _stages(await list_processes(connection))
                known["gauges"] = _by_kind(await sql.read_gauges(connection, list(Stage)))
                known["looks"] = await sql.last_looks(connection)
                known["debited"] = await sql.ids_claimed(connection)
        except (SQLAlchemyError, OSError) as error:
            return Server("PostgreSQL", _why(error)), {}
        return Server("PostgreSQL"), known

    async def _broker(self) -> tuple[Server, Sequence[tuple[str, int, int, int]]]:
        name = "RabbitMQ" if self._settings.broker_url.startswith("amqp") else "Redis (broker)"
        try:
            async with self._kept.connected() as transport:
                return Server(name), await queue_counts(transport, every_queue(self._settings.debit_queues))
        except TransportError as error:
            return Server(name, _why(error)), ()


async def _redis(url: str) -> Server:
    client = redis.asyncio.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2)
    try:
        await client.ping()
    except (RedisError, OSError) as error:
        return Server("Redis", _why(error))
    finally:
        await client.aclose()
    return Server("Redis")


def _stages(processes: Sequence[RowMapping]) -> list[StageState]:
    by_stage: dict[str, list[RowMapping]] = {str(stage): [] for stage in Stage}
    for process in processes:
        if process["age_s"] < SILENT_S:
            by_stage[process["stage"]].append(process)
    return [
        StageState(stage, len(all_), sum(p["in_flight"] for p in all_), sum(p["received"] for p in all_))
        for stage, all_ in by_stage.items()
    ]


def _by_kind(gauges: Sequence[Gauge]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for kind, label, value in gauges:
        found.setdefault(kind, {})[label] = value
    return found


def _why(error: Exception) -> str:
    return " ".join(str(getattr(error, "orig", None) or error).split()) or type(error).__name__
