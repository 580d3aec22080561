"""Asking payg over HTTP."""

import asyncio
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import msgspec

from payg_client.errors import RefusedError, UnavailableError, raise_for
from payg_client.events import Event
from payg_client.outbox import OnProblem, Outbox

#: The server closes a connection that was idle for 5 s: we let go of it before, so that none is closed
#: under a request that must not be sent twice.
_KEEPALIVE_S = 3.0
_CONNECT_S = 2.0
_PAUSES_S = (0.1, 0.4)

T = TypeVar("T")


class Hold(msgspec.Struct, frozen=True):
    """A request that may be served: so much is held for it, until then."""

    hold_id: str
    account_id: str
    api_key_id: str
    held_nanos: int
    expires_at: datetime


class _Extended(msgspec.Struct):
    expires_at: datetime


class PaygClient:
    """One service's connection to payg, for any number of tasks of one event loop.

    ``key`` is the service's own, made with ``payg key create --service``: it may ask and tell for every
    account. Usage waits in memory until payg has it, at most ``max_waiting`` events; ``on_problem`` is told
    what goes wrong with it, and which events are lost by that. What must outlive this process is published
    over AMQP instead.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        source: str = "payg-client",
        timeout_s: float = 5.0,
        max_waiting: int = 10_000,
        on_problem: OnProblem | None = None,
    ) -> None:
        self.source = source
        self._key = key
        self._http = httpx.AsyncClient(
            base_url=base_url,
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_S)),
            limits=httpx.Limits(max_connections=100, keepalive_expiry=_KEEPALIVE_S),
        )
        self._outbox = Outbox(self._post_usage, max_waiting, on_problem)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def authorize(
        self,
        *,
        model: str,
        input_tokens: int,
        max_output_tokens: int,
        provider: str | None = None,
        secret: str | None = None,
        api_key_id: str | None = None,
    ) -> Hold:
        """Hold the most that a request can cost.

        Whose request it is: of the caller with this ``secret`` (its own `sk-…`, as it sent it), or of the key
        with this ``api_key_id``; with neither, of the client's own key. Raises PaymentRequiredError where it
        cannot be paid, RefusedError for an unknown key, model, …, UnavailableError.
        """
        asked: dict[str, Any] = {
            "model": model,
            "provider": provider,
            "input_tokens": input_tokens,
            "max_output_tokens": max_output_tokens,
            "api_key_id": api_key_id,
        }
        answer = await self._ask("POST", "/v1/authorize", asked, secret=secret, repeatable=False)
        return _read(answer, Hold)

    async def extend(self, hold_id: str) -> datetime | None:
        """Let a hold live for one life more; return when it expires, None where it is gone."""
        try:
            answer = await self._ask("POST", f"/v1/holds/{hold_id}/extend")
        except RefusedError as error:
            if error.status == 404:
                return None
            raise
        return _read(answer, _Extended).expires_at

    async def release(self, hold_id: str) -> bool:
        """Give a hold back: the request was not served; return whether it was still held."""
        try:
            await self._ask("DELETE", f"/v1/holds/{hold_id}")
        except RefusedError as error:
            if error.status == 404:
                return False
            raise
        return True

    def send_usage(self, *events: Event) -> None:
        """Send usage, a few milliseconds later and together with what else there is; returns at once.

        It is sent again until payg has it: an event is debited once, by its id.
        """
        self._outbox.put(events)

    async def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until payg has all usage that was sent; return whether it does."""
        return await self._outbox.flush(timeout_s)

    async def aclose(self, timeout_s: float = 10.0) -> None:
        """Send what is left and close the connections."""
        await self._outbox.close(timeout_s)
        await self._http.aclose()

    async def _post_usage(self, body: bytes) -> httpx.Response:
        # The outbox itself tries again, for as long as it takes.
        headers = {"Content-Type": "application/cloudevents-batch+json"}
        return await self._send("POST", "/v1/usage", body, headers, self._key)

    async def _ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        secret: str | None = None,
        repeatable: bool = True,
    ) -> httpx.Response:
        """Ask, and ask again where that does no harm: a request that was never sent, or can be repeated."""
        content = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"}
        for pause_s in _PAUSES_S:
            try:
                return await self._send(method, path, content, headers, secret or self._key)
            except UnavailableError as error:
                unsent = isinstance(error.__cause__, httpx.ConnectError | httpx.ConnectTimeout)
                if not (repeatable or unsent):
                    raise
            await asyncio.sleep(pause_s)
        return await self._send(method, path, content, headers, secret or self._key)

    async def _send(
        self, method: str, path: str, content: bytes | None, headers: dict[str, str], key: str
    ) -> httpx.Response:
        headers = {**headers, "Authorization": f"Bearer {key}"}
        try:
            answer = await self._http.request(method, path, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise UnavailableError(f"payg does not answer: {error!r}") from error
        raise_for(answer)
        return answer


def _read(answer: httpx.Response, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.content, type=type_)
    except msgspec.MsgspecError as error:
        raise UnavailableError(f"payg's answer cannot be read: {error}") from error
