"""Ports of the loopback interface: finding a free one, and asking who answers there."""

import contextlib
import socket
from random import SystemRandom

LOOPBACK = "127.0.0.1"

# Below the ephemeral ports (from 32768 on Linux): a client that keeps trying a dead server's port from that
# range ends up connected to itself, and the server cannot have its port back.
_PORTS = range(20_000, 32_000)
_given: set[int] = set()


def free_port() -> int:
    """Return a port of 127.0.0.1 nobody listens on, and none this process was given before."""
    choice = SystemRandom()
    for _ in range(1_000):
        port = choice.choice(_PORTS)
        if port not in _given and _can_bind(port):
            _given.add(port)
            return port
    raise OSError(f"no free port between {_PORTS.start} and {_PORTS.stop}")


def _can_bind(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind((LOOPBACK, port))
        return True
    return False


def listening(port: int) -> bool:
    """Whether somebody accepts connections on this port."""
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1.0):
        return True
    return False


def answer(port: int, request: bytes, timeout_s: float = 2.0) -> bytes:
    """Send `request` on a new connection and return the first bytes that come back, b"" for none."""
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout_s) as peer:
        peer.sendall(request)
        return peer.recv(256)
    return b""
