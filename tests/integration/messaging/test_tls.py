"""By its URL, each server is reached by TLS: believed only with the right certificate for the right name."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from messaging_tls import Authority, tls_in_front
from sqlalchemy import text

from shared.db.engine import create_engine
from shared.gateways.redis_gate import GateUnavailableError, RedisGate
from shared.messaging.connect import open_transport
from shared.messaging.stage_broker import stage_broker


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "theirs")


async def _database(url: str) -> None:
    engine = create_engine(url)
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
    await engine.dispose()


async def _gate(url: str) -> None:
    gate = RedisGate(url)
    try:
        await gate.marker()
    finally:
        await gate.close()


async def _transport(url: str) -> None:
    async with open_transport(url):
        pass


async def _stages(url: str) -> None:
    broker = stage_broker(url)
    try:
        await asyncio.to_thread(broker.declare_queue, "tls", ensure=True)  # type: ignore[call-arg]
    finally:
        await asyncio.to_thread(broker.close)


async def _redis_stages(url: str) -> None:
    broker = stage_broker(url)
    try:
        await asyncio.to_thread(broker.client.ping)  # type: ignore[attr-defined]
    finally:
        broker.close()


async def _check(
    url: str,
    trusted: str,
    use: Callable[[str], Awaitable[None]],
    authorities: tuple[Authority, Authority],
) -> None:
    """``trusted`` is the URL's option that names whose certificates are believed."""
    ours, theirs = authorities

    async def reach(shown: ssl.SSLContext, cafile: Path) -> None:
        async with tls_in_front(url, shown) as secure:
            await use(f"{secure}?{trusted.format(cafile)}")

    await reach(ours.server("localhost"), ours.cafile)
    for shown, cafile in (
        (theirs.server("localhost"), ours.cafile),
        (ours.server("elsewhere"), ours.cafile),
    ):
        with pytest.raises(Exception) as refused:  # noqa: PT011 - each library has its own
            await reach(shown, cafile)
        assert "certificate" in _story(refused.value).lower(), _story(refused.value)


def _story(error: BaseException | None) -> str:
    return f"{error!r} {_story(error.__cause__ or error.__context__)}" if error else ""


async def test_postgresql(database_url: str, authority: Authority, stranger: Authority) -> None:
    await _check(database_url, "sslmode=verify-full&sslrootcert={}", _database, (authority, stranger))


async def test_redis_of_the_gate(redis_url: str, authority: Authority, stranger: Authority) -> None:
    await _check(redis_url, "ssl_ca_certs={}", _gate, (authority, stranger))


async def test_redis_as_a_broker(redis_url: str, authority: Authority, stranger: Authority) -> None:
    for use in (_transport, _redis_stages):
        await _check(redis_url, "ssl_ca_certs={}", use, (authority, stranger))


async def test_rabbitmq(broker_url: str, authority: Authority, stranger: Authority) -> None:
    for use in (_transport, _stages):
        await _check(broker_url, "cafile={}", use, (authority, stranger))


async def test_who_asks_for_tls_never_speaks_in_the_clear(database_url: str, redis_url: str) -> None:
    with pytest.raises(ConnectionError, match="SSL"):
        await _database(f"{database_url}?sslmode=require")
    with pytest.raises(GateUnavailableError):
        await _gate(redis_url.replace("redis://", "rediss://"))
