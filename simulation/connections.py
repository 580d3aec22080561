"""Connections that break when told; the server keeps its own, for to open one costs more than to use it."""

from collections.abc import Callable
from typing import Any

import asyncpg
from asyncpg.transaction import Transaction

CommitFault = Callable[[str], bool]
#: The clock of a run stands before PostgreSQL's own (see ``database``).
SEARCH_PATH = "public, simulated, pg_catalog"


async def connect(url: str) -> "asyncpg.Connection":
    """Connect to the database of a run; it reads the clock of the run."""
    settings = {"application_name": "payg simulation", "search_path": SEARCH_PATH}
    return await asyncpg.connect(url, timeout=300, server_settings=settings, statement_cache_size=1_000)


class Connections:
    """The server's connections, lent to one user after another."""

    def __init__(self, url: str, faulty: CommitFault) -> None:
        """``faulty`` says whether a fault that it is named happens here."""
        self._url = url
        self._spare: list[_Kept] = []
        self.faulty = faulty

    async def lend(self) -> "LentConnection":
        """Return a connection as good as new."""
        kept = self._spare.pop() if self._spare else _Kept(await connect(self._url))
        return LentConnection(kept, self)

    async def close(self) -> None:
        """Close what is not lent."""
        for kept in self._spare:
            await kept.connection.close()
        self._spare.clear()

    async def take_back(self, kept: "_Kept") -> None:
        """End what was begun on it, as a server does when its client is gone, and keep it for the next."""
        await kept.connection.execute("ROLLBACK")
        self._spare.append(kept)


class _Kept:
    """A connection of the server, with its prepared statements."""

    def __init__(self, connection: "asyncpg.Connection") -> None:
        self.connection = connection
        self.statements: dict[str, Any] = {}
        self.codecs: set[str] = set()


class LentConnection:
    """What SQLAlchemy takes for asyncpg's connection."""

    def __init__(self, kept: _Kept, connections: Connections) -> None:
        self._kept = kept
        self._connections = connections
        self._lost = False

    async def lose(self) -> None:
        """Break."""
        if not self._lost:
            self._lost = True
            await self._connections.take_back(self._kept)

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - as asyncpg has it
        await self.lose()

    def terminate(self) -> None:
        if not self._lost:
            self._lost = True
            self._kept.connection.terminate()

    def is_closed(self) -> bool:
        return self._lost or self._kept.connection.is_closed()

    def transaction(self, **how: Any) -> Transaction:  # noqa: ANN401
        return Transaction(self, how["isolation"], how["readonly"], how["deferrable"])

    async def execute(self, query: str) -> str:
        commits = query == "COMMIT;"
        if commits and self._connections.faulty("connection lost before its commit"):
            await self.lose()
        done: str = await self._open().execute(query)
        if commits and self._connections.faulty("connection lost after its commit"):
            await self.lose()
            self._open()
        return done

    async def prepare(self, query: str, **_: object) -> Any:  # noqa: ANN401
        self._open()
        if query not in self._kept.statements:
            self._kept.statements[query] = await self._kept.connection.prepare(query)
        return self._kept.statements[query]

    async def set_type_codec(self, name: str, **how: Any) -> None:  # noqa: ANN401
        if name not in self._kept.codecs:
            await self._kept.connection.set_type_codec(name, **how)
            self._kept.codecs.add(name)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._open(), name)

    def _open(self) -> "asyncpg.Connection":
        if self._lost:
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        return self._kept.connection
