"""Reading what an answer used, while it passes. Of a stream no more is kept than one incomplete event."""

import re
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from payg_client.tokens import tokens_of_usage

_END_OF_EVENT = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_END_OF_LINE = re.compile(rb"\r\n|\n|\r")
_MAX_EVENT_BYTES = 1024 * 1024
_MAX_JSON_BYTES = 64 * 1024 * 1024
#: What an answer says that is no output of the model.
_NO_TEXT = frozenset(
    ("role", "id", "type", "object", "status", "finish_reason", "logprobs", "data", "embedding")
)


class Meter(Protocol):
    """Reads an answer.

    ``tokens`` are what it reported last, ``text_bytes`` how much text it had so far, ``produced`` whether the
    model did anything that the caller got.
    """

    tokens: dict[str, int] | None
    text_bytes: int
    response_id: str | None

    @property
    def produced(self) -> bool: ...

    def feed(self, body: bytes, *, more: bool) -> bytes:
        """Read a part; return what is passed on of it."""
        ...


class _Answer(msgspec.Struct):
    id: Any = None
    usage: Any = None
    choices: Any = None
    output: Any = None


class JsonMeter:
    """Reads an answer that is one JSON object, at its end; it is passed on as it comes."""

    def __init__(self) -> None:
        self.tokens: dict[str, int] | None = None
        self.text_bytes = 0
        self.response_id: str | None = None
        self._complete = False
        self._parts: list[bytes] = []

    @property
    def produced(self) -> bool:
        return self._complete or self.text_bytes > 0

    def feed(self, body: bytes, *, more: bool) -> bytes:
        self.text_bytes += len(body)
        if self.text_bytes <= _MAX_JSON_BYTES:
            self._parts.append(body)
        if not more:
            self._complete = True
            self._read(b"".join(self._parts))
        return body

    def _read(self, body: bytes) -> None:
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return
        self.response_id = answer.id if isinstance(answer.id, str) else None
        self.tokens = _tokens(answer.usage)
        self.text_bytes = _text_bytes([answer.choices, answer.output])


class _Chunk(msgspec.Struct):
    id: Any = None
    usage: Any = None
    choices: Any = None
    delta: Any = None
    response: Any = None


class StreamMeter:
    """Reads a stream of server-sent events, and passes each on as soon as it is complete.

    ``hides_usage`` keeps back the event that has nothing but the usage: not every client expects one.
    """

    def __init__(self, *, hides_usage: bool) -> None:
        self.tokens: dict[str, int] | None = None
        self.text_bytes = 0
        self.response_id: str | None = None
        self._hides_usage = hides_usage
        self._rest = b""

    @property
    def produced(self) -> bool:
        return self.text_bytes > 0

    def feed(self, body: bytes, *, more: bool) -> bytes:
        self._rest += body
        passed: list[bytes] = []
        start = 0
        for end in _END_OF_EVENT.finditer(self._rest):
            event = self._rest[start : end.end()]
            start = end.end()
            if self._passes(event):
                passed.append(event)
        self._rest = self._rest[start:]
        if not more or len(self._rest) > _MAX_EVENT_BYTES:
            if self._passes(self._rest):
                passed.append(self._rest)
            self._rest = b""
        return b"".join(passed)

    def _passes(self, event: bytes) -> bool:
        lines = _END_OF_LINE.split(event)
        data = b"\n".join(line[5:].strip() for line in lines if line.startswith(b"data:"))
        if not data.startswith(b"{"):
            return True
        try:
            chunk = msgspec.json.decode(data, type=_Chunk)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return True
        self._read(chunk)
        return not (self._hides_usage and chunk.choices == [] and chunk.usage is not None)

    def _read(self, chunk: _Chunk) -> None:
        response = chunk.response if isinstance(chunk.response, dict) else {}
        name = chunk.id or response.get("id")
        self.response_id = name if isinstance(name, str) else self.response_id
        self.tokens = _tokens(chunk.usage) or _tokens(response.get("usage")) or self.tokens
        self.text_bytes += _text_bytes([chunk.choices, chunk.delta])


def _tokens(usage: object) -> dict[str, int] | None:
    return tokens_of_usage(usage) if isinstance(usage, Mapping) else None


def _text_bytes(answer: object) -> int:
    """Return how much text is in an answer, or in a part of one."""
    found, waiting = 0, [answer]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            found += len(node.encode())
        elif isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            waiting.extend(value for name, value in node.items() if name not in _NO_TEXT)
    return found
