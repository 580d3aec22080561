"""RabbitMQ nodes that are one cluster, and the balancer by which clients reach whichever node serves."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox.servers import RabbitMQ, free_port
from sandbox.servers.network import LOOPBACK
from sandbox.servers.rabbitmq import start_epmd

_CONNECT_TIMEOUT_S = 2.0
_BLOCK_BYTES = 65_536
#: Short, so that a client that stands still for a fault's time is taken for dead.
HEARTBEAT_S = 5
_CONFIG = f"heartbeat = {HEARTBEAT_S}\n"
#: A node that sees fewer than half of the others serves nobody: what it alone decided could be lost.
_CLUSTER_CONFIG = """\
cluster_partition_handling = pause_minority
cluster_formation.peer_discovery_backend = classic_config
"""
_CUT_OFF = "[begin erlang:set_cookie(N, cut_off), erlang:disconnect_node(N) end || N <- [{others}]]"
_LET_BACK = "[erlang:set_cookie(N, erlang:get_cookie()) || N <- [{others}]]"
#: It is answered before it is done: a node that loses its peers may have no time for whoever asks.
_IN_A_MOMENT = "spawn(fun() -> timer:sleep(100), {what} end)."


class RabbitCluster:
    """Some nodes on loopback, each with ports and a directory of its own, and one port mapper."""

    def __init__(self, directory: Path, nodes: int) -> None:
        """Choose names and ports; nothing runs yet."""
        self._directory = directory
        self._names = [f"payg{number}@localhost" for number in range(1, nodes + 1)]
        self._epmd_port = free_port()
        self._stack = ExitStack()
        config = _CONFIG
        if nodes > 1:
            members = enumerate(self._names, start=1)
            named = (f"cluster_formation.classic_config.nodes.{n} = {name}\n" for n, name in members)
            config += _CLUSTER_CONFIG + "".join(named)
        self.nodes: Sequence[RabbitMQ] = [
            RabbitMQ(directory / name, node=name, epmd_port=self._epmd_port, config=config)
            for name in self._names
        ]

    def __enter__(self) -> Self:
        cookie = secrets.token_hex(20)
        for node in self.nodes:
            node.directory.mkdir(parents=True)
            secret = node.directory / ".erlang.cookie"
            secret.touch(mode=0o600)
            secret.write_text(cookie)
            secret.chmod(0o400)
        self._stack.callback(start_epmd(self._epmd_port, self._directory / "epmd.log").kill)
        for node in self.nodes:
            self._stack.callback(node.kill)
        self.nodes[0].start()  # the others join the first
        _each(self.nodes[1:], RabbitMQ.start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def save_declarations(self) -> None:
        """See ``RabbitMQ.save_declarations``."""
        _each(self.nodes, RabbitMQ.save_declarations)

    def restart(self, *, crash: bool) -> None:
        """End all nodes, in order or by SIGKILL, and start them again."""
        _each(self.nodes, RabbitMQ.kill if crash else RabbitMQ.stop)
        _each(self.nodes, RabbitMQ.start)

    def cut_off(self, number: int) -> None:
        """Let a node and the others hear nothing more of each other."""
        # Nodes that do not know each other's cookie cannot connect; clients reach all of them as before.
        self._do(number, _CUT_OFF)

    def let_back(self, number: int) -> None:
        """End what ``cut_off`` began."""
        self._do(number, _LET_BACK)

    def all_serve(self) -> bool:
        """Whether every node takes clients."""
        return all(node.answers() for node in self.nodes)

    def _do(self, number: int, what: str) -> None:
        others = ", ".join(f"'{name}'" for name in self._names if name != self._names[number])
        self.nodes[number].ctl("eval", _IN_A_MOMENT.format(what=what.format(others=others)))


class Balancer:
    """One address for all nodes: a client goes to the next one that takes connections."""

    def __init__(self, nodes: Sequence[RabbitMQ]) -> None:
        self._ports = [node.port for node in nodes]
        self._port = free_port()
        self._next = 0

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"amqp://{LOOPBACK}:{self._port}/"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self._port, backlog=500)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._next += 1
        for turn in range(len(self._ports)):
            port = self._ports[(self._next + turn) % len(self._ports)]
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                    from_node, to_node = await asyncio.open_connection(LOOPBACK, port)
                await asyncio.gather(_forward(reader, to_node), _forward(from_node, writer))
                return
        writer.close()


def _each(nodes: Sequence[RabbitMQ], do: Callable[[RabbitMQ], object]) -> None:
    """Do it to all of them at once."""
    with ThreadPoolExecutor(max(1, len(nodes))) as pool:
        list(pool.map(do, nodes))


async def _forward(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(_BLOCK_BYTES):
            sink.write(data)
            await sink.drain()
    except OSError:
        pass  # either side is gone: so is the other, in a moment
    finally:
        sink.close()
