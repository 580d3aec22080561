"""What the HTTP tier does while something behind it is away: it says so soon, in the one shape."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
from gate_api import Client, Payer, serving
from messaging_proxy import Proxy
from openapi_routes import OPEN, routes_of
from polling import until
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import Redis
from shared.settings import Settings

EVENT = {
    "specversion": "1.0",
    "type": "payg.usage.recorded.v1",
    "source": "test",
    "id": "req_1",
    "time": "2026-11-20T12:00:00Z",
    "data": {"account_id": "acct_1", "model": "test-model", "input_tokens": 1},
}
LOCK = text("SELECT rolled_seq FROM usage_rollups WHERE account_id = :id FOR UPDATE")


def assert_away(answer: httpx.Response, code: str = "unavailable") -> None:
    assert answer.status_code == 503, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["type"]) == (code, "api_error")
    assert int(answer.headers["retry-after"]) > 0


def operator_at(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": "Bearer admin-secret"}, timeout=30)


async def test_whoever_gets_no_connection_of_the_pool_is_told_to_come_back(
    engine: AsyncEngine, api_url: str, payer: Payer
) -> None:
    headers = {"Authorization": f"Bearer {payer.api_key}"}
    async with httpx.AsyncClient(base_url=api_url, headers=headers, timeout=60) as owner:
        assert (await owner.get("/api/user/self")).status_code == 200
        async with locked(engine, payer):
            asked = [asyncio.create_task(owner.get("/api/user/self")) for _ in range(25)]
            done, held = await asyncio.wait(asked, timeout=8)
            assert len(held) == 10
            for each in done:
                assert_away(each.result())
            assert_away(await owner.get("/v1/billing/balance"))
        assert {(await each).status_code for each in held} == {200}
        assert (await owner.get("/v1/billing/balance")).status_code == 200


@asynccontextmanager
async def locked(engine: AsyncEngine, payer: Payer) -> AsyncIterator[None]:
    """Hold up whoever asks for what was spent."""
    async with engine.begin() as blocking:
        await blocking.execute(LOCK, {"id": payer.account_id})
        yield


async def test_what_is_too_much_is_told_to_come_back_and_the_rest_is_served(
    engine: AsyncEngine, api_settings: Settings, payer: Payer
) -> None:
    owner = {"Authorization": f"Bearer {payer.api_key}"}
    with serving(api_settings.model_copy(update={"max_in_flight": 4})) as api:
        async with httpx.AsyncClient(base_url=api, headers=owner, timeout=60) as client:
            assert (await client.get("/api/user/self")).status_code == 200
            async with locked(engine, payer):
                asked = [asyncio.create_task(client.get("/api/user/self")) for _ in range(40)]
                refused, served = await asyncio.wait(asked, timeout=4)
                assert len(served) == 4
                for each in refused:
                    assert_away(each.result(), "overloaded")
                assert_away(await client.post("/v1/authorize", json={"model": "test-model"}), "overloaded")
                for probe in ("/healthz", "/readyz", "/metrics"):
                    assert (await client.get(probe)).status_code == 200
            assert {(await each).status_code for each in served} == {200}
            for _ in range(10):  # whoever was answered or refused left no place taken
                assert (await client.get("/v1/billing/balance")).status_code == 200


async def test_slow_clients_and_streams_take_nobodys_place(api_settings: Settings, payer: Payer) -> None:
    owner = {"Authorization": f"Bearer {payer.api_key}"}
    slow = b"POST /v1/authorize HTTP/1.1\r\nHost: payg\r\nContent-Length: 100\r\n\r\n{"
    with serving(api_settings.model_copy(update={"max_in_flight": 1})) as api:
        at = httpx.URL(api)
        async with AsyncExitStack() as stack:
            for _ in range(3):
                _, writer = await asyncio.open_connection(at.host, at.port)
                stack.callback(writer.close)
                writer.write(slow)
                await writer.drain()
            client = await stack.enter_async_context(httpx.AsyncClient(base_url=api, headers=owner))
            for _ in range(3):
                stream = await stack.enter_async_context(client.stream("GET", "/v1/billing/events"))
                assert stream.status_code == 200
            assert (await client.get("/v1/billing/balance")).status_code == 200


@pytest.fixture
def silent_broker() -> Iterator[str]:
    """A broker that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listening:
        yield f"amqp://127.0.0.1:{listening.getsockname()[1]}/"


@pytest.mark.parametrize("broker", ["refuses", "says nothing"])
def test_usage_is_answered_within_seconds_where_the_broker_is_away(
    broker: str, silent_broker: str, api_settings: Settings
) -> None:
    url = silent_broker if broker == "says nothing" else "amqp://127.0.0.1:9/"
    with serving(api_settings.model_copy(update={"broker_url": url})) as api, operator_at(api) as operator:
        started = time.monotonic()
        assert_away(operator.post("/v1/usage", json=EVENT), "broker_unavailable")
        assert time.monotonic() - started < 8


def test_usage_is_taken_again_once_the_broker_is_back(api_settings: Settings, broker_url: str) -> None:
    with (
        Proxy(broker_url) as proxy,
        serving(api_settings.model_copy(update={"broker_url": proxy.url})) as api,
        operator_at(api) as operator,
    ):
        assert operator.post("/v1/usage", json=EVENT).status_code == 202
        proxy.refuse()
        proxy.cut()
        started = time.monotonic()
        assert_away(operator.post("/v1/usage", json=EVENT), "broker_unavailable")
        assert time.monotonic() - started < 8
        proxy.accept()
        until(lambda: operator.post("/v1/usage", json=EVENT).status_code == 202)


def test_every_route_says_that_the_database_is_away(
    api_settings: Settings, database_url: str, payer: Payer
) -> None:
    with (
        Proxy(database_url) as proxy,
        serving(api_settings.model_copy(update={"database_url": proxy.url})) as api,
        httpx.Client(base_url=api, timeout=30) as client,
    ):
        owner = {"Authorization": f"Bearer {payer.api_key}"}
        assert client.get("/v1/billing/balance", headers=owner).status_code == 200
        routes = routes_of(api)
        proxy.refuse()
        proxy.cut()
        # Keys are in memory until their connection is missed.
        until(lambda: client.post("/v1/holds/none/extend", headers=owner).status_code != 404)
        for route in routes:
            if route.path in OPEN or route.path == "/v1/admin/reconcile":  # payments are off
                continue
            headers = {"Authorization": "Bearer admin-secret"} if "/admin/" in route.path else owner
            asked = {"params": {"model": "test-model"}, "json": route.body, "headers": headers}
            assert_away(client.request(route.method, route.address(), **asked))
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").json()["database"] != "ok"
        proxy.accept()
        until(lambda: client.get("/v1/billing/balance", headers=owner).status_code == 200)


async def test_without_redis_the_gate_answers_from_the_database(
    service: Client, api_settings: Settings, redis_server: Redis, payer: Payer
) -> None:
    with (
        Proxy(redis_server.url) as proxy,
        serving(api_settings.model_copy(update={"redis_url": proxy.url})) as api,
    ):
        client = Client(api, service.secret)
        async with client.http:
            in_redis = await client.hold(api_key_id=payer.api_key_id)
            proxy.refuse()
            proxy.cut()
            in_database = await client.hold(api_key_id=payer.api_key_id)
            assert in_database["hold_id"].endswith(".db")
            assert (await client.http.delete(f"/v1/holds/{in_database['hold_id']}")).status_code == 204
            gone = await client.http.delete(f"/v1/holds/{in_redis['hold_id']}")
            assert_away(gone, "gate_unavailable")
            owner = {"Authorization": f"Bearer {payer.api_key}"}
            assert (await client.http.get("/v1/billing/balance", headers=owner)).status_code == 200
