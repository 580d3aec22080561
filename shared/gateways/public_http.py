"""HTTP to receivers on the public Internet that others name, and never to anything inside the network.

A name is resolved once for each request, its addresses are checked, and the connection goes to one that was
checked; TLS still asks for the name. So an answer of DNS that changes in between leads nowhere. Redirects are
not followed; there are no cookies, no proxies, no reuse of connections; the answer is read as far as it is
kept; and everything together takes a bounded time.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpcore

from shared.domain.addresses import is_loopback, is_public
from shared.domain.errors import PaygError

TOTAL_S = 15.0
_CONNECT_S = 5.0
KEPT_BYTES = 500
_RESOLVERS = 128

#: Returns the IP addresses of a name, the preferred first. Raises OSError.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class NotReachedError(PaygError):
    """A receiver gave no answer of HTTP, or may not be asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver answered: the beginning of its body, and how long it asks to be left alone."""

    status: int
    body: str
    retry_after: str | None


class PublicHttp:
    """Posts to receivers. ``loopback`` lets this machine be one, for tests and sandboxes."""

    def __init__(
        self,
        *,
        loopback: bool = False,
        resolve: Resolve | None = None,
        total_s: float = TOTAL_S,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        # Names that resolve slowly must not keep the process from resolving others.
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolver")
        self._total_s = total_s
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context,
            max_connections=None,
            max_keepalive_connections=0,
            network_backend=_CheckedBackend(resolve or self._resolve, loopback=loopback),
        )

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Post a body and return the answer, whatever its status. Raises NotReachedError."""
        try:
            async with asyncio.timeout(self._total_s):
                return await self._post(url, headers, body)
        except TimeoutError:
            raise NotReachedError(f"no answer within {self._total_s:g} s") from None
        except _RefusedAddressError as error:
            raise NotReachedError(str(error)) from None
        except (httpcore.ProtocolError, httpcore.NetworkError, httpcore.TimeoutException) as error:
            raise NotReachedError(f"{type(error).__name__}: {error}".removesuffix(": ")) from error
        except (httpcore.UnsupportedProtocol, OSError, ValueError) as error:
            raise NotReachedError(f"{type(error).__name__}: {error}") from error

    async def close(self) -> None:
        await self._pool.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        sent = {**headers, "Connection": "close", "Accept-Encoding": "identity"}
        timeout = {
            "connect": _CONNECT_S,
            "read": self._total_s,
            "write": self._total_s,
            "pool": self._total_s,
        }
        async with self._pool.stream(
            "POST", url, headers=_encoded(url, sent), content=body, extensions={"timeout": timeout}
        ) as response:
            kept = b""
            async for part in response.aiter_stream():
                kept += part[: KEPT_BYTES - len(kept)]
                if len(kept) >= KEPT_BYTES:
                    break
            given = {name.lower(): value for name, value in response.headers}
            retry_after = given.get(b"retry-after", b"").decode("ascii", "replace") or None
            return Answer(response.status, kept.decode("utf-8", "replace"), retry_after)

    async def _resolve(self, host: str, port: int) -> Sequence[str]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(address[4][0]) for address in found))


class _RefusedAddressError(Exception):
    pass


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, and to no other."""

    def __init__(self, resolve: Resolve, *, loopback: bool) -> None:
        self._resolve = resolve
        self._loopback = loopback
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        found = await self._resolve(host, port)
        allowed = [address for address in found if self._may(address)]
        if not allowed:
            raise _RefusedAddressError(f"{host} leads to no address of the public Internet")
        for address in allowed[:-1]:
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._backend.connect_tcp(allowed[-1], port, timeout, local_address, socket_options)

    def _may(self, address: str) -> bool:
        return is_public(address) or (self._loopback and is_loopback(address))


def _encoded(url: str, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    parts = httpcore.URL(url)
    default = {b"https": 443, b"http": 80}.get(parts.scheme)
    host = parts.host if parts.port in (None, default) else parts.host + b":%d" % parts.port
    named = [(name.encode(), value.encode()) for name, value in headers.items()]
    return [(b"Host", host), *named]
