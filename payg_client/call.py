"""One request that is served, and what its answer told so far."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import uuid4

from starlette.types import Message, Receive, Scope, Send

from payg_client.asked import Asked
from payg_client.client import Hold
from payg_client.events import usage_event
from payg_client.metering import JsonMeter, Meter, StreamMeter
from payg_client.tokens import estimate_output_tokens

#: What would no longer be true of the request, or let the answer be compressed, so that it is not read.
_NOT_HANDED_ON = frozenset((b"content-length", b"transfer-encoding", b"accept-encoding"))


class Call:
    """Stands between the application and its caller, and reads what passes."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        asked: Asked,
        hold: Hold | None,
        api_key_id: str,
        began_at: datetime,
    ) -> None:
        self.hold = hold
        self._scope = scope
        self._receive = receive
        self._send = send
        self._asked = asked
        self._api_key_id = api_key_id
        self._began_at = began_at
        self._body_taken = False
        self._meter: Meter | None = None

    def inner_scope(self) -> Scope:
        headers = [pair for pair in self._scope["headers"] if pair[0] not in _NOT_HANDED_ON]
        headers.append((b"content-length", b"%d" % len(self._asked.body)))
        return {**self._scope, "headers": headers, "payg_hold": self.hold}

    async def receive(self) -> Message:
        """Give the application the body, and after that what comes from outside: that the caller went."""
        if self._body_taken:
            return await self._receive()
        self._body_taken = True
        return {"type": "http.request", "body": self._asked.body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and 200 <= message["status"] < 300:
            message = {**message, "headers": self._metered(message["headers"])}
        elif message["type"] == "http.response.body" and self._meter is not None:
            more = message.get("more_body", False)
            body = self._meter.feed(message.get("body", b""), more=more)
            if more and not body:
                return
            message = {**message, "body": body}
        await self._send(message)

    def _metered(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Choose how the answer is read; a stream loses its length, as it may lose an event."""
        named = [(name.lower(), value) for name, value in headers]
        if dict(named).get(b"content-type", b"").startswith(b"text/event-stream"):
            self._meter = StreamMeter(hides_usage=self._asked.hides_usage)
            return [pair for pair in named if pair[0] != b"content-length"]
        self._meter = JsonMeter()
        return named

    def event(self, source: str, provider: str | None) -> dict[str, Any] | None:
        """Return the usage event of the request, None where nothing was used."""
        meter = self._meter
        if meter is None or (meter.tokens is None and not meter.produced):
            return None
        tokens, metadata = meter.tokens, {"response_id": meter.response_id}
        if tokens is None:
            output = min(estimate_output_tokens(meter.text_bytes), self._asked.max_output_tokens)
            tokens = {"input_tokens": self._asked.input_tokens, "output_tokens": output}
            metadata["estimated"] = "the answer told no usage"
        # An id of our own: those of answers are chosen by the model server, and some repeat themselves. The
        # time is that of the hold, so that both have one price.
        return usage_event(
            id=f"req_{uuid4().hex}",
            model=self._asked.model,
            source=source,
            time=self._began_at,
            api_key_id=self._api_key_id,
            provider=provider,
            hold_id=self.hold.hold_id if self.hold else None,
            metadata=metadata,
            **tokens,
        )
