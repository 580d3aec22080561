"""Usage events: CloudEvents 1.0 in JSON, one or an array of them, decoded and checked.

Source: CloudEvents 1.0 JSON event format, https://github.com/cloudevents/spec
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec

from shared.domain.errors import MalformedError
from shared.domain.tokens import MAX_TOKENS, TokenCounts

USAGE_TYPE: Final = "payg.usage.recorded.v1"
CONTENT_TYPES: Final = frozenset(
    {"application/cloudevents+json", "application/cloudevents-batch+json", "application/json"}
)
MAX_BODY_BYTES: Final = 8 * 1024 * 1024
MAX_EVENTS: Final = 10_000
#: Longer names are no names, and would not fit an index of the database.
MAX_NAME_LENGTH: Final = 512
MAX_METADATA_BYTES: Final = 16 * 1024

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_LENGTH)]
TokenCount = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)]


_NO_METADATA = msgspec.Raw(b"null")


class UsageData(msgspec.Struct, frozen=True, gc=False):
    """What was used, and by whom. ``metadata`` is kept as the JSON text it came as."""

    model: Name
    api_key_id: Name | None = None
    account_id: Name | None = None
    provider: Name | None = None
    input_tokens: TokenCount = 0
    output_tokens: TokenCount = 0
    cache_read_tokens: TokenCount = 0
    cache_write_tokens: TokenCount = 0
    input_audio_tokens: TokenCount = 0
    output_audio_tokens: TokenCount = 0
    hold_id: Name | None = None
    metadata: msgspec.Raw = _NO_METADATA


class UsageEvent(msgspec.Struct, frozen=True, gc=False):
    """One usage record as its source reported it; ``time`` carries its offset."""

    specversion: Literal["1.0"]
    type: Literal["payg.usage.recorded.v1"]
    source: Name
    id: Name
    time: Annotated[datetime, msgspec.Meta(tz=True)]
    data: UsageData

    @property
    def tokens(self) -> TokenCounts:
        data = self.data
        return TokenCounts(
            data.input_tokens,
            data.output_tokens,
            data.cache_read_tokens,
            data.cache_write_tokens,
            data.input_audio_tokens,
            data.output_audio_tokens,
        )

    @property
    def metadata_json(self) -> str | None:
        """The metadata as the text it came as, None where there is nothing in it."""
        if self.data.metadata is _NO_METADATA:
            return None
        metadata = bytes(self.data.metadata)
        return None if metadata in (b"null", b"{}") else metadata.decode()


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Which event times are believed."""

    earliest: datetime
    max_future: timedelta


_event_decoder = msgspec.json.Decoder(UsageEvent)
_elements_decoder = msgspec.json.Decoder(list[msgspec.Raw])
#: NUL, written as an escape: a backslash before it that is not itself escaped.
_nul_escape = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_token = re.compile(rb'"(?:[^"\\]|\\.)*"|[][{},"]', re.DOTALL)
_json_space = b" \t\n\r"


def split_body(body: bytes, content_type: str | None = None) -> list[bytes]:
    """Return the events of a message body, each as the JSON it came as, none of them checked yet.

    Raises MalformedError when the message as a whole cannot be read.
    """
    if len(body) > MAX_BODY_BYTES:
        raise MalformedError(f"too large: {len(body)} bytes, at most {MAX_BODY_BYTES} are taken")
    if content_type and content_type.partition(";")[0].strip().lower() not in CONTENT_TYPES:
        raise MalformedError(
            f"content type {content_type[:100]!r} is not one of {', '.join(sorted(CONTENT_TYPES))}"
        )
    if not body.lstrip(_json_space).startswith(b"["):
        return [body]
    elements = _split_array(body)
    if not elements:
        raise MalformedError("an array without events")
    if len(elements) > MAX_EVENTS:
        raise MalformedError(
            f"too large: {len(elements)} events, at most {MAX_EVENTS} are taken in one message"
        )
    return elements


def decode_event(raw: bytes, limits: TimeLimits, now: datetime) -> UsageEvent:
    """Return the event in ``raw``; raises MalformedError saying what is wrong with it."""
    try:
        text = raw.decode()
        event = _event_decoder.decode(raw)
    except UnicodeDecodeError:
        raise MalformedError("not UTF-8") from None
    except msgspec.ValidationError as error:
        raise MalformedError(f"not a usage event: {error}") from None
    except msgspec.DecodeError as error:
        raise MalformedError(f"not JSON, or a string holds a lone surrogate: {error}") from None
    except RecursionError:
        raise MalformedError("nested too deeply") from None
    if "\\u0000" in text and _nul_escape.search(text):
        raise MalformedError("a string holds NUL")
    _check_time(event.time, limits, now)
    _check_data(event.data)
    return event


def reread_event(raw: bytes) -> UsageEvent:
    """Return an event that passed ``decode_event`` before, without checking it again."""
    return _event_decoder.decode(raw)


def content_fingerprint(
    account_id: str,
    api_key_id: str | None,
    provider: str | None,
    model: str,
    time: datetime,
    tokens: TokenCounts,
) -> bytes:
    """Return 16 bytes that are equal for equal content: what makes a second event with one id a conflict."""
    content = (account_id, api_key_id, provider, model, time.astimezone(UTC), tokens)
    return hashlib.sha256(msgspec.json.encode(content)).digest()[:16]


def _check_time(time: datetime, limits: TimeLimits, now: datetime) -> None:
    if time < limits.earliest:
        raise MalformedError(f"time {time.isoformat()} lies before {limits.earliest.isoformat()}")
    if time > now + limits.max_future:
        raise MalformedError(f"time {time.isoformat()} lies more than {limits.max_future} ahead")


def _check_data(data: UsageData) -> None:
    if data.api_key_id is None and data.account_id is None:
        raise MalformedError("data names neither api_key_id nor account_id")
    metadata = bytes(data.metadata)
    if metadata != b"null" and not metadata.startswith(b"{"):
        raise MalformedError("metadata is not an object")
    if len(metadata) > MAX_METADATA_BYTES:
        raise MalformedError(f"metadata is too large: at most {MAX_METADATA_BYTES} bytes are kept")


def _split_array(body: bytes) -> list[bytes]:
    try:
        return [bytes(element) for element in _elements_decoder.decode(body)]
    except (msgspec.DecodeError, RecursionError):
        # One element may be what the decoder refuses. Only strings and brackets tell where each one ends,
        # so that the guilty one is refused later and its neighbours are not.
        return _split_by_brackets(body.strip(_json_space))


def _split_by_brackets(array: bytes) -> list[bytes]:
    elements: list[bytes] = []
    open_brackets = bytearray()
    start = 1
    for match in _token.finditer(array):
        token = match.group()
        if token in b"[{":
            open_brackets += token
        elif token in b"]}":
            if bytes(open_brackets[-1:]) != (b"[" if token == b"]" else b"{"):
                break
            open_brackets.pop()
        if (token == b"," and len(open_brackets) == 1) or (token == b"]" and not open_brackets):
            elements.append(array[start : match.start()].strip(_json_space))
            start = match.end()
        if not open_brackets or token == b'"':
            break
    if open_brackets or start != len(array) or (b"" in elements and elements != [b""]):
        raise MalformedError("not JSON: the array cannot be read")
    return [element for element in elements if element]
