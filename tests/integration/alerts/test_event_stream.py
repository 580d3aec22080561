"""Alerts as server-sent events: each account its own, live, resumable, none left out."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from time import monotonic

import httpx
import pytest
from alert_books import Told, low_balance
from event_stream import numbers, open_stream
from gate_api import serving
from polling import answers, until
from sqlalchemy.ext.asyncio import AsyncEngine

from api import alert_streams, server
from sandbox.servers.network import free_port
from shared.db.alerts import insert_alerts
from shared.operations.keys import revoke_key
from shared.settings import Settings

#: How an answer ends that was sent to its end.
_END = b"0\r\n\r\n"
_PAYG = Path(sys.executable).with_name("payg")


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=None)) as client:
        yield client


async def test_an_alert_arrives_within_a_second(told: Told, events_url: str, http: httpx.AsyncClient) -> None:
    async with open_stream(http, events_url, told.api_key) as events:
        [sequence] = await told.tell()
        written = monotonic()
        event = await anext(events)
        assert monotonic() - written < 1
    assert event.data is not None
    assert (event.id, event.data["id"], event.data["sequence"]) == (
        str(sequence),
        f"alert-{sequence}",
        sequence,
    )
    assert event.data["type"] == "payg.balance.low.v1"
    assert event.data["data"]["account_id"] == told.account_id


async def test_each_account_gets_its_own_alerts_only(
    told: Told, engine: AsyncEngine, events_url: str, http: httpx.AsyncClient
) -> None:
    other = await Told.create(engine)
    async with open_stream(http, events_url, told.api_key) as events:
        await other.tell(3)
        mine = await told.tell(2)
        assert await numbers(events, 2) == mine


async def test_a_stream_goes_on_after_the_last_event_seen(
    told: Told, events_url: str, http: httpx.AsyncClient
) -> None:
    before = await told.tell(3)
    async with open_stream(http, events_url, told.api_key, last_event_id=before[0]) as events:
        assert await numbers(events, 2) == before[1:]
        new = await told.tell(2)
        assert await numbers(events, 2) == new


async def test_without_a_last_event_a_stream_begins_now(
    told: Told, events_url: str, http: httpx.AsyncClient
) -> None:
    await told.tell(2)
    async with open_stream(http, events_url, told.api_key) as events:
        new = await told.tell()
        assert await numbers(events, 1) == new


async def test_the_past_ends_where_the_stream_begins(told: Told, engine: AsyncEngine) -> None:
    before = await told.tell(2)
    streams = alert_streams.AlertStreams(engine, look_every_s=0.01)
    async with streams.reading(told.account_id) as reader:
        new = await told.tell(2)
        pages = streams.replay(told.account_id, 0, reader)
        past = [alert["sequence"] async for page in pages for alert in page]
        live = [alert["sequence"] for alert in await reader.receive()]
    await streams.close()
    assert (past, live) == (before, new)


async def test_what_is_written_while_the_past_is_sent_comes_once(
    told: Told, events_url: str, http: httpx.AsyncClient
) -> None:
    expected = await told.tell(1_200)
    async with open_stream(http, events_url, told.api_key, last_event_id=0) as events:
        for _ in range(5):
            expected += await told.tell(20)
        assert await numbers(events, len(expected)) == expected


async def test_an_alert_that_is_committed_late_is_sent_live(
    told: Told, engine: AsyncEngine, events_url: str, http: httpx.AsyncClient
) -> None:
    async with open_stream(http, events_url, told.api_key) as events:
        async with engine.begin() as slow:
            [late] = await told.tell_on(slow)
            [early] = await told.tell()
            assert late < early
            assert await numbers(events, 1) == [early]
        assert await numbers(events, 1) == [late]


async def test_an_alert_that_is_committed_late_is_not_lost_to_who_reconnects(
    told: Told, engine: AsyncEngine, events_url: str, http: httpx.AsyncClient
) -> None:
    [long_ago] = await told.tell()
    async with open_stream(http, events_url, told.api_key) as events, engine.begin() as slow:
        [late] = await told.tell_on(slow)
        [seen_last] = await told.tell()
        assert await numbers(events, 1) == [seen_last]
    async with open_stream(http, events_url, told.api_key, last_event_id=seen_last) as events:
        [new] = await told.tell()
        assert long_ago < late < seen_last < new
        assert await numbers(events, 2) == [late, new]


async def test_two_hundred_streams_are_served_by_one_query(
    engine: AsyncEngine, events_url: str, http: httpx.AsyncClient
) -> None:
    accounts = [await Told.create(engine) for _ in range(20)]
    async with AsyncExitStack() as stack:
        opened = await asyncio.gather(
            *(
                stack.enter_async_context(open_stream(http, events_url, account.api_key))
                for account in accounts
                for _ in range(10)
            )
        )
        expected = [await account.tell(3) for account in accounts]
        written = monotonic()
        received = await asyncio.gather(*(numbers(events, 3) for events in opened))
        assert monotonic() - written < 3
    assert received == [numbers_ for numbers_ in expected for _ in range(10)]


async def test_a_client_that_does_not_read_is_let_go_and_loses_nothing(
    told: Told, events_url: str, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_streams, "_MOST_WAITING", 50)
    [seen] = await told.tell()
    with _stuck(events_url, told.api_key, last_event_id=seen) as slow:
        written = [sequence for _ in range(40) for sequence in await told.tell(40)]
        written += await told.tell(51)
        received = await asyncio.to_thread(_read_to_the_end, slow)
    assert received.endswith(_END)
    last = max((int(line[4:]) for line in received.split(b"\n") if line.startswith(b"id: ")), default=seen)
    assert last < written[-1]
    rest = [sequence for sequence in written if sequence > last]
    again: list[int] = []
    async with open_stream(http, events_url, told.api_key, last_event_id=last) as events:
        while written[-1] not in again:
            again += await numbers(events, 1)
    # Some that may have been committed after the last one come again; a reader knows their ids.
    assert [number for number in again if number > last] == rest


async def test_a_client_that_takes_nothing_for_long_is_cut_off(
    told: Told, database_url: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_SEND_TIMEOUT_S", 0.3)
    alert = low_balance(told.account_id)
    long = alert._replace(data={**alert.data, "detail": "x" * 200_000})
    async with engine.begin() as connection:
        await insert_alerts(connection, [long] * 100)
    settings = Settings(database_url=database_url, broker_url="amqp://nobody")
    with serving(settings) as url, _stuck(url, told.api_key, last_event_id=0) as stuck:
        await asyncio.sleep(1)  # for so long it takes nothing
        received = await asyncio.to_thread(_read_to_the_end, stuck)
    assert received.count(b"payg.balance.low.v1") < 100
    assert not received.endswith(_END)


@contextmanager
def _stuck(url: str, secret: str, last_event_id: int) -> Iterator[socket.socket]:
    """Open a stream over a connection that takes little by itself, and read its first byte."""
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect((host, int(port)))
        headers = f"Host: payg\r\nAuthorization: Bearer {secret}\r\nLast-Event-ID: {last_event_id}"
        stuck.sendall(f"GET /v1/billing/events HTTP/1.1\r\n{headers}\r\n\r\n".encode())
        stuck.settimeout(10)
        stuck.recv(1)
        yield stuck


def _read_to_the_end(connection: socket.socket) -> bytes:
    """Read until the answer is over."""
    received = b""
    while not received.endswith(_END) and (data := connection.recv(65536)):
        received += data
    return received


async def test_a_stream_ends_when_its_key_is_revoked(
    told: Told, engine: AsyncEngine, events_url: str, http: httpx.AsyncClient
) -> None:
    async with open_stream(http, events_url, told.api_key) as events:
        await revoke_key(engine, told.api_key_id)
        await told.tell()
        with pytest.raises(StopAsyncIteration):
            await anext(events)


@pytest.mark.slow
async def test_while_there_is_nothing_to_tell_a_comment_comes(
    told: Told, events_url: str, http: httpx.AsyncClient
) -> None:
    async with open_stream(http, events_url, told.api_key) as events:
        event = await anext(events)
    assert (event.id, event.data) == (None, None)
    assert event.comment is not None


@pytest.mark.parametrize("wrong", ["x", "-1", "1.5", str(2**63)])
async def test_a_last_event_that_is_no_number_is_refused(
    told: Told, events_url: str, http: httpx.AsyncClient, wrong: str
) -> None:
    headers = {"Authorization": f"Bearer {told.api_key}", "Last-Event-ID": wrong}
    answer = await http.get(f"{events_url}/v1/billing/events", headers=headers)
    assert answer.status_code == 422


async def test_a_stream_needs_a_key(events_url: str, http: httpx.AsyncClient) -> None:
    assert (await http.get(f"{events_url}/v1/billing/events")).status_code == 401


async def test_history_is_paged_from_a_time_on(told: Told, events_url: str, http: httpx.AsyncClient) -> None:
    written = await told.tell(5)
    url, headers = f"{events_url}/v1/billing/events/history", {"Authorization": f"Bearer {told.api_key}"}
    since = "2020-01-01T00:00:00Z"
    first = (await http.get(url, params={"since": since, "limit": 3}, headers=headers)).json()
    rest = await http.get(url, params={"since": since, "cursor": first["next_cursor"]}, headers=headers)
    assert [event["sequence"] for event in first["data"] + rest.json()["data"]] == written
    assert rest.json()["next_cursor"] is None
    none = await http.get(url, params={"since": "2999-01-01T00:00:00Z"}, headers=headers)
    assert none.json()["data"] == []


async def test_a_process_that_is_told_to_stop_ends_its_streams(
    told: Told, database_url: str, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    port = free_port()
    env = os.environ | {
        "PAYG_DATABASE_URL": database_url,
        "PAYG_BROKER_URL": "amqp://nobody",
        "PAYG_API_PORT": str(port),
    }
    process = subprocess.Popen([_PAYG, "api"], env=env, cwd=tmp_path)  # noqa: ASYNC220 - a moment
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: answers(f"{url}/healthz"))
        async with open_stream(http, url, told.api_key) as events:
            process.send_signal(signal.SIGTERM)
            stopped = monotonic()
            with pytest.raises(StopAsyncIteration):
                await anext(events)
        assert await asyncio.to_thread(process.wait, 10) == -signal.SIGTERM
        assert monotonic() - stopped < 5
    finally:
        process.kill()
        process.wait()
