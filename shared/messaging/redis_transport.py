"""The transport on Redis, for the embedded mode: usage in a stream with a consumer group.

Queues of the stages are those of ``redis_broker``; the intake queue is a stream. Both know exactly what is
held by consumers, so nothing has to be reported beside them.
"""

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import redis.asyncio
from redis.exceptions import RedisError, ResponseError

from shared.messaging.envelope import Origin
from shared.messaging.redis_broker import NAMESPACE
from shared.messaging.topology import INTAKE_QUEUE, dead_letter_queue
from shared.messaging.transport import (
    DeadLetter,
    Delivery,
    PublishedAlert,
    QueueState,
    TransportError,
    UsageDelivery,
)

_STREAM = f"{NAMESPACE}:stream:{INTAKE_QUEUE}"
_ALERTS = f"{NAMESPACE}:stream:alerts"
_KEPT_ALERTS = 100_000
_GROUP = "intake"
_BLOCK_MS = 1000


class RedisTransport:
    """See ``shared.messaging.transport.Transport``."""

    def __init__(self, url: str, *, takeover_s: float = 15) -> None:
        self._redis: Any = redis.asyncio.Redis.from_url(url, socket_timeout=30, socket_connect_timeout=10)
        self._takeover_ms = int(takeover_s * 1000)

    async def __aenter__(self) -> Self:
        with _as_transport_error():
            try:
                await self._redis.xgroup_create(_STREAM, _GROUP, id="0", mkstream=True)
            except ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._redis.aclose()

    async def publish_usage(self, body: bytes, content_type: str) -> None:
        with _as_transport_error():
            await self._redis.xadd(_STREAM, {"body": body, "content_type": content_type})

    async def publish_alerts(self, alerts: Sequence[PublishedAlert]) -> None:
        with _as_transport_error():
            async with self._redis.pipeline() as pipeline:
                for alert in alerts:
                    fields = {"routing_key": alert.routing_key, "body": alert.body, **alert.origin.options()}
                    pipeline.xadd(_ALERTS, fields, maxlen=_KEPT_ALERTS)
                await pipeline.execute()

    @asynccontextmanager
    async def subscribe_alerts(
        self, routing_key: str = "#", queue: str | None = None
    ) -> AsyncIterator[AsyncIterator["_StreamEntry"]]:
        name = queue or f"once-{uuid4().hex}"
        with _as_transport_error():
            await self._subscribe(name)
            try:
                yield self._alerts(name, routing_key)
            finally:
                if queue is None:
                    await self._redis.xgroup_destroy(_ALERTS, name)

    @asynccontextmanager
    async def consume_alerts(self, queue: str, routing_key: str = "#") -> AsyncIterator["RedisAlertConsumer"]:
        with _as_transport_error():
            await self._subscribe(queue)
        yield RedisAlertConsumer(self._redis, queue, routing_key)

    async def _subscribe(self, group: str) -> None:
        try:
            await self._redis.xgroup_create(_ALERTS, group, id="$", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def _alerts(self, group: str, routing_key: str) -> AsyncIterator["_StreamEntry"]:
        position = "0"  # first what this group was given before and did not acknowledge
        while True:
            streams = await self._redis.xreadgroup(
                group, group, {_ALERTS: position}, count=100, block=_BLOCK_MS
            )
            entries = streams[0][1] if streams else []
            for entry_id, fields in entries:
                if _matches(routing_key, fields[b"routing_key"].decode()):
                    yield _StreamEntry(entry_id, fields)
                await self._redis.xack(_ALERTS, group, entry_id)
            if not entries:
                position = ">"

    @asynccontextmanager
    async def consume_usage(self, prefetch: int) -> AsyncIterator["RedisUsageConsumer"]:
        yield RedisUsageConsumer(self._redis, prefetch, self._takeover_ms)

    async def queue_states(self, queues: list[str]) -> list[QueueState]:
        with _as_transport_error():
            return [
                await (self._stream_state() if queue == INTAKE_QUEUE else self._queue_state(queue))
                for queue in queues
            ]

    async def count_dead_letters(self, queues: list[str]) -> dict[str, int]:
        with _as_transport_error():
            return {queue: await self._redis.hlen(_dead_bodies(queue)) for queue in queues}

    async def dead_letters(self, queues: list[str]) -> AsyncIterator[DeadLetter]:
        with _as_transport_error():
            for queue in queues:
                for body in (await self._redis.hgetall(_dead_bodies(queue))).values():
                    yield DeadLetter(queue, body)

    async def replay_dead_letters(self, queues: list[str]) -> int:
        replayed = 0
        with _as_transport_error():
            for queue in queues:
                for message_id, body in (await self._redis.hgetall(_dead_bodies(queue))).items():
                    async with self._redis.pipeline(transaction=True) as pipeline:
                        pipeline.hset(f"{NAMESPACE}:{queue}.msgs", message_id, body)
                        pipeline.rpush(f"{NAMESPACE}:{queue}", message_id)
                        pipeline.zrem(f"{NAMESPACE}:{dead_letter_queue(queue)}", message_id)
                        pipeline.hdel(_dead_bodies(queue), message_id)
                        await pipeline.execute()
                    replayed += 1
        return replayed

    async def _stream_state(self) -> QueueState:
        groups = await self._redis.xinfo_groups(_STREAM)
        held = sum(group["pending"] for group in groups)
        consumers = sum(group["consumers"] for group in groups)
        # Entries leave the stream when they are acknowledged: what is in it and not held is ready.
        return QueueState(INTAKE_QUEUE, await self._redis.xlen(_STREAM) - held, held, consumers)

    async def _queue_state(self, queue: str) -> QueueState:
        ready = await self._redis.llen(f"{NAMESPACE}:{queue}")
        bodies = await self._redis.hlen(f"{NAMESPACE}:{queue}.msgs")
        return QueueState(queue, ready, max(0, bodies - ready), 0)


class RedisUsageConsumer:
    """See ``shared.messaging.transport.UsageConsumer``."""

    def __init__(self, client: Any, prefetch: int, takeover_ms: int) -> None:  # noqa: ANN401 - redis is loosely typed
        self._redis = client
        self._prefetch = prefetch
        self._takeover_ms = takeover_ms
        self._name = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        self.received = 0
        self.in_flight = 0

    async def receive(self) -> list[UsageDelivery]:
        with _as_transport_error():
            entries: list[Any] = []
            while not entries:
                entries = await self._claimed() or await self._fresh()
                _heed_cancellation()
        self.received += len(entries)
        self.in_flight += len(entries)
        return [_StreamEntry(entry_id, fields) for entry_id, fields in entries]

    async def acknowledge(self, deliveries: list[UsageDelivery]) -> None:
        ids = [delivery.entry_id for delivery in deliveries]  # type: ignore[attr-defined]
        with _as_transport_error():
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.xack(_STREAM, _GROUP, *ids)
                pipeline.xdel(_STREAM, *ids)
                await pipeline.execute()
        self.in_flight -= len(deliveries)

    async def _fresh(self) -> list[Any]:
        streams = await self._redis.xreadgroup(
            _GROUP, self._name, {_STREAM: ">"}, count=self._prefetch, block=_BLOCK_MS
        )
        return list(streams[0][1]) if streams else []

    async def _claimed(self) -> list[Any]:
        """Take over what a consumer that died has held for too long."""
        answer = await self._redis.xautoclaim(
            _STREAM, _GROUP, self._name, self._takeover_ms, "0-0", count=self._prefetch
        )
        return [entry for entry in answer[1] if entry[1]]


class RedisAlertConsumer:
    """See ``shared.messaging.transport.AlertConsumer``."""

    def __init__(self, client: Any, group: str, routing_key: str) -> None:  # noqa: ANN401 - as above
        self._redis = client
        self._group = group
        self._routing_key = routing_key
        self._position = "0"  # first what this group was given before and did not acknowledge

    async def receive(self, settle_s: float) -> list[Delivery]:
        with _as_transport_error():
            arrived: list[Delivery] = []
            while not arrived:
                arrived = await self._read(_BLOCK_MS)
                _heed_cancellation()
            await asyncio.sleep(settle_s)
            return arrived + await self._read(None)

    async def acknowledge(self, delivery: Delivery) -> None:
        with _as_transport_error():
            await self._redis.xack(_ALERTS, self._group, delivery.entry_id)  # type: ignore[attr-defined]

    async def _read(self, block_ms: int | None) -> list[Delivery]:
        streams = await self._redis.xreadgroup(
            self._group, self._group, {_ALERTS: self._position}, count=100, block=block_ms
        )
        entries = streams[0][1] if streams else []
        if self._position != ">":
            self._position = entries[-1][0] if entries else ">"
        wanted: list[Delivery] = []
        for entry_id, fields in entries:
            if _matches(self._routing_key, fields[b"routing_key"].decode()):
                wanted.append(_StreamEntry(entry_id, fields))
            else:
                await self._redis.xack(_ALERTS, self._group, entry_id)
        return wanted


_ORIGIN = frozenset(name.encode() for name in Origin._fields)


class _StreamEntry:
    def __init__(self, entry_id: bytes, fields: dict[bytes, bytes]) -> None:
        self.entry_id = entry_id
        self.sent_at: datetime | None = datetime.fromtimestamp(int(entry_id.partition(b"-")[0]) / 1000, UTC)
        self.body = fields[b"body"]
        self.content_type: str | None = fields.get(b"content_type", b"").decode() or None
        self.origin = Origin.of(
            {
                name.decode(): value.decode(errors="replace")
                for name, value in fields.items()
                if name in _ORIGIN
            }
        )


def _matches(pattern: str, routing_key: str) -> bool:
    """Return whether a topic pattern takes a routing key: ``*`` is one word, ``#`` any number of them."""
    expression = re.escape(pattern).replace(r"\*", r"[^.]+").replace(r"\#", r".*")
    return re.fullmatch(expression, routing_key) is not None


def _dead_bodies(queue: str) -> str:
    return f"{NAMESPACE}:{dead_letter_queue(queue)}.msgs"


@contextmanager
def _as_transport_error() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise TransportError(f"Redis cannot be reached: {error!r}") from error


def _heed_cancellation() -> None:
    """Raise CancelledError where the task was cancelled: the client of Redis can lose that on its way."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
