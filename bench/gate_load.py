"""Clients of the gate, in a process of their own: a plain HTTP/1.1 that costs little beside what it asks.

``python -m bench.gate_load PORT ACCOUNTS SECONDS PER_SECOND PATH…`` prints what was seen of each as JSON;
with 0 a second each client asks again as soon as it was answered. Paths take short turns.
"""

import asyncio
import sys
from dataclasses import dataclass, field
from itertools import count
from time import perf_counter

import msgspec
import uvloop

from bench.accounts import MODELS, account_id
from bench.percentiles import percentile
from sandbox.servers.network import LOOPBACK

CLIENTS = 16
_MOST_WAITING = 256
_WARM_UP_S = 1.0
_TURNS = 10


class Load(msgspec.Struct):
    """What the clients saw."""

    answers: int
    seconds: float
    refused: int
    p50_ms: float
    p99_ms: float


@dataclass
class Clients:
    """Connections that are kept open, and the requests of as many accounts."""

    port: int
    requests: list[bytes]
    free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    refused: int = 0
    seconds: float = 0.0
    _numbers: "count[int]" = field(default_factory=count)

    async def ask(self, since: float | None = None) -> None:
        """Ask once, and note how long it took since it was due."""
        begun = since or perf_counter()
        reader, writer = await self._connection()
        writer.write(self.requests[next(self._numbers) % len(self.requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
        await reader.readexactly(length)
        self.free.append((reader, writer))
        self.milliseconds.append((perf_counter() - begun) * 1000)
        self.refused += not head.startswith(b"HTTP/1.1 200")

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self.free:
            reader, writer = self.free.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()  # the server closes what was idle for long
        return await asyncio.open_connection(LOOPBACK, self.port)

    def reset(self) -> None:
        self.milliseconds, self.refused = [], 0

    def load(self) -> Load:
        times = self.milliseconds
        return Load(len(times), self.seconds, self.refused, percentile(times, 50), percentile(times, 99))


def request(port: int, path: str, number: int) -> bytes:
    """Return a request of one account: the secret of a key of the benchmark is its account's id."""
    body = msgspec.json.encode(
        {"model": MODELS[number % len(MODELS)], "input_tokens": 374, "max_output_tokens": 44}
    )
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\nAuthorization: Bearer {account_id(number)}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def closed_loop(clients: Clients, seconds: float) -> None:
    """Ask again as soon as answered."""
    until = perf_counter() + seconds

    async def client() -> None:
        while perf_counter() < until:
            await clients.ask()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


async def open_loop(clients: Clients, seconds: float, per_second: float) -> None:
    """Ask evenly, whether the requests before were answered or not."""
    begun = perf_counter()
    waiting: set[asyncio.Task[None]] = set()
    for number in range(int(seconds * per_second)):
        due = begun + number / per_second
        await asyncio.sleep(max(0.0, due - perf_counter()))
        if len(waiting) >= _MOST_WAITING:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.create_task(clients.ask(due))
        waiting.add(task)
        task.add_done_callback(waiting.discard)
    await asyncio.gather(*waiting)


async def measure(
    port: int, accounts: int, seconds: float, per_second: float, paths: list[str]
) -> list[Load]:
    every = [Clients(port, [request(port, path, number) for number in range(accounts)]) for path in paths]
    for clients in every:
        for _ in range(accounts):
            await clients.ask()  # what Redis does not know is loaded
        await closed_loop(clients, _WARM_UP_S)
        clients.reset()
    for _ in range(_TURNS):
        for clients in every:
            begun = perf_counter()
            if per_second:
                await open_loop(clients, seconds / _TURNS, per_second)
            else:
                await closed_loop(clients, seconds / _TURNS)
            clients.seconds += perf_counter() - begun
    return [clients.load() for clients in every]


def main() -> None:
    port, accounts, seconds, per_second, *paths = sys.argv[1:]
    uvloop.install()
    loads = asyncio.run(measure(int(port), int(accounts), float(seconds), float(per_second), paths))
    sys.stdout.write(msgspec.json.encode(loads).decode() + "\n")


if __name__ == "__main__":
    main()
