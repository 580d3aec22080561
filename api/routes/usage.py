"""Usage over HTTP: the same events as over AMQP."""

from collections.abc import Collection
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from api.access import Asking
from api.errors import RESPONSES, ApiError
from api.key_cache import Key
from api.services import Services, services_of
from shared.clock import utc_now
from shared.domain.access import PLATFORM
from shared.domain.errors import MalformedError
from shared.domain.events import (
    CONTENT_TYPES,
    MAX_EVENTS,
    MAX_NAME_LENGTH,
    TimeLimits,
    UsageEvent,
    decode_event,
    split_body,
)

router = APIRouter(tags=["usage"], responses=RESPONSES)

_EXAMPLE = {
    "specversion": "1.0",
    "type": "payg.usage.recorded.v1",
    "source": "gateway-eu-1",
    "id": "req_01J",
    "time": "2026-11-23T12:00:00Z",
    "data": {"api_key_id": "key_1", "model": "gpt-4o", "input_tokens": 374, "output_tokens": 44},
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            media_type: {
                "schema": {
                    "anyOf": [{"type": "object"}, {"type": "array", "minItems": 1, "maxItems": MAX_EVENTS}]
                },
                "example": _EXAMPLE,
            }
            for media_type in sorted(CONTENT_TYPES)
        },
    }
}


#: A larger body is read beside the event loop, where nobody waits for it.
_LARGE_BODY = 64 * 1024


class Verdict(BaseModel):
    """What becomes of one event."""

    id: str | None
    status: Literal["accepted", "malformed"]
    detail: str | None = None


class Verdicts(BaseModel):
    """One verdict for each event, in the order they came in."""

    events: list[Verdict]


@router.post("/v1/usage", status_code=202, openapi_extra=_BODY)
async def send_usage(
    request: Request, key: Asking, services: Annotated[Services, Depends(services_of)]
) -> Verdicts:
    """Take usage events; answered when the broker has those safe that are accepted."""
    media_type = request.headers.get("content-type", "application/json")
    if media_type.partition(";")[0].strip().lower() not in CONTENT_TYPES:
        raise ApiError(415, "unsupported_media_type", f"send one of {', '.join(sorted(CONTENT_TYPES))}")
    body, limits = await request.body(), services.settings.time_limits
    try:
        if len(body) < _LARGE_BODY:
            read = _read(body, media_type, limits)
        else:
            read = await run_in_threadpool(_read, body, media_type, limits)
    except MalformedError as error:
        raise ApiError(400, "malformed", str(error)) from None
    await _check_owner(read.events, key, services)
    if read.accepted:
        await services.publish(read.accepted)
    return Verdicts(events=read.verdicts)


class _Read(NamedTuple):
    """A body's verdicts, and of those that are accepted what they are and how they came."""

    verdicts: list[Verdict]
    events: list[UsageEvent]
    accepted: list[msgspec.Raw]


def _read(body: bytes, media_type: str, limits: TimeLimits) -> _Read:
    read = _Read([], [], [])
    elements = split_body(body, media_type)
    if elements == [body] and not isinstance(_json_in(body), dict):
        raise MalformedError("neither an event nor an array of events")
    for raw in elements:
        try:
            event = decode_event(raw, limits, utc_now())
        except MalformedError as error:
            read.verdicts.append(Verdict(id=_id_in(raw), status="malformed", detail=str(error)))
        else:
            read.verdicts.append(Verdict(id=event.id, status="accepted"))
            read.events.append(event)
            read.accepted.append(msgspec.Raw(raw))
    return read


async def _check_owner(events: Collection[UsageEvent], key: Key, services: Services) -> None:
    """Raise ApiError 403 where an event is not of the key's own account: then none is taken."""
    if key.scopes & PLATFORM:
        return
    for api_key_id in {event.data.api_key_id for event in events} - {None, key.api_key_id}:
        owner = await services.keys.owner(str(api_key_id))
        if owner != key.account_id:
            raise ApiError(403, "not_your_key", f"{api_key_id} is no key of this account")
    if others := {event.data.account_id for event in events} - {None, key.account_id}:
        raise ApiError(403, "not_your_account", f"this key does not speak for account {others.pop()}")


def _id_in(raw: bytes) -> str | None:
    """Return the id of an event that is malformed elsewhere, if it has one."""
    named = _json_in(raw)
    found = named.get("id") if isinstance(named, dict) else None
    return found[:MAX_NAME_LENGTH] if isinstance(found, str) else None


def _json_in(raw: bytes) -> object:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
