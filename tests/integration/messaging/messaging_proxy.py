"""A TCP proxy in front of a server, which can cut connections and be gone for a while."""

import contextlib
import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from sandbox.servers import free_port

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, eq=False)
class Link:
    """One connection through the proxy: the client's half and the server's."""

    client: socket.socket
    server: socket.socket

    def cut(self) -> None:
        for half in (self.client, self.server):
            with contextlib.suppress(OSError):
                half.shutdown(socket.SHUT_RDWR)
            half.close()


class Proxy:
    """Stands between clients and the server of a URL. Threads forward the bytes."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or _LOOPBACK, parts.port or 0)
        self._port = free_port()
        credentials, at, _ = parts.netloc.rpartition("@")
        self.url = urlunsplit(parts._replace(netloc=f"{credentials}{at}{_LOOPBACK}:{self._port}"))
        self._links: set[Link] = set()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None

    @property
    def links(self) -> set[Link]:
        """The connections that are open now."""
        with self._lock:
            return set(self._links)

    def refuse(self) -> None:
        """Refuse new connections; those that are open stay."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def accept(self) -> None:
        """Take new connections (again)."""
        if self._listener is None:
            self._listener = socket.create_server((_LOOPBACK, self._port))
            threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def cut(self, links: Iterable[Link] | None = None) -> None:
        """Cut these connections, or all."""
        for link in self.links if links is None else links:
            link.cut()

    def __enter__(self) -> Self:
        self.accept()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        self.cut()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                link = Link(client, socket.create_connection(self._target))
            except OSError:
                client.close()
                continue
            with self._lock:
                if self._listener is not listener:  # Refused meanwhile.
                    link.cut()
                    return
                self._links.add(link)
            for source, sink in ((link.client, link.server), (link.server, link.client)):
                threading.Thread(target=self._forward, args=(link, source, sink), daemon=True).start()

    def _forward(self, link: Link, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        link.cut()
        with self._lock:
            self._links.discard(link)
