"""HTTP as no client library would send it."""

import json
import socket
from typing import Any
from urllib.parse import urlsplit


class RawConnection:
    """One TCP connection to the HTTP tier."""

    def __init__(self, url: str, timeout_s: float = 20) -> None:
        at = urlsplit(url)
        self._socket = socket.create_connection((at.hostname or "", at.port or 0), timeout_s)

    def send(self, *lines: bytes, body: bytes = b"") -> None:
        """Send the lines of a head, the end of it, and some or all of a body."""
        self._socket.sendall(b"\r\n".join((*lines, b"host: payg", b"", b"")) + body)

    def answers(self) -> bytes:
        """Return all that is answered until the server closes, or has nothing more to say."""
        told = b""
        try:
            while more := self._socket.recv(65536):
                told += more
                if b"\r\n\r\n" in told:
                    self._socket.settimeout(1)
        except (TimeoutError, ConnectionResetError):
            pass
        return told

    def close(self) -> None:
        self._socket.close()


def raw_answer(url: str, *lines: bytes, body: bytes = b"") -> tuple[int, bytes]:
    """Send one request; return the status and all that came back."""
    connection = RawConnection(url)
    connection.send(*lines, body=body)
    told = connection.answers()
    connection.close()
    return int(told.split(b" ", 2)[1]), told


def nested(levels: int, brackets: str) -> str:
    """Return JSON that is nested so deeply, in arrays or in objects."""
    if brackets == "[]":
        return "[" * levels + "]" * levels
    return '{"a":' * levels + "1" + "}" * levels


def with_surrogate(body: Any, name: str) -> bytes:
    """Return JSON with half of a surrogate pair in a field."""
    return json.dumps(body | {name: "a\ud800b"}).encode()
