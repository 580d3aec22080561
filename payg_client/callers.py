"""Whose request it is."""

import hashlib
from time import monotonic
from typing import NamedTuple

from starlette.types import Scope

from payg_client.client import Hold

_MAX_KNOWN = 10_000
_KNOWN_FOR_S = 3600.0


class Caller(NamedTuple):
    """Who asks: by the secret that it sent, or by the id of its key where the gateway knows that."""

    secret: str | None = None
    api_key_id: str | None = None


def bearer_of(scope: Scope) -> Caller | None:
    """Return the caller of a request by its bearer key, `sk-…` as payg gave it out; None without one."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, secret = value.decode("latin-1").partition(" ")
            if scheme.lower() == "bearer" and secret.strip().isascii() and secret.strip():
                return Caller(secret=secret.strip())
    return None


class KnownCallers:
    """The keys of who was served in the last hour: a gateway that fails open goes on serving them."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[str, float]] = {}

    def note(self, caller: Caller, hold: Hold) -> None:
        if caller.secret is not None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[_digest(caller.secret)] = hold.api_key_id, monotonic() + _KNOWN_FOR_S

    def forget(self, caller: Caller) -> None:
        if caller.secret is not None:
            self._known.pop(_digest(caller.secret), None)

    def api_key_id(self, caller: Caller) -> str | None:
        """Return the id of a caller's key, None for one that nobody knows."""
        if caller.secret is None:
            return caller.api_key_id
        api_key_id, until_s = self._known.get(_digest(caller.secret), (None, 0.0))
        return api_key_id if monotonic() < until_s else None


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
