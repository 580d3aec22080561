"""A connection to the broker that is kept for its next use, and opened anew where it broke."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from shared.messaging.transport import Transport, TransportError


class KeptTransport:
    """One connection for one user at a time; it is opened when it is first used."""

    def __init__(self, open_transport: Callable[[], Transport]) -> None:
        self._open_transport = open_transport
        self._transport: Transport | None = None

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Transport]:
        """Yield the connection. A TransportError goes on to the caller, and the next use opens another."""
        try:
            if self._transport is None:
                self._transport = await self._open_transport().__aenter__()
            yield self._transport
        except TransportError:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connection, whatever state it is in."""
        transport, self._transport = self._transport, None
        if transport is not None:
            with suppress(Exception):
                await transport.__aexit__(None, None, None)
