"""Lists of objects, page by page, the newest first (docs.stripe.com/api/pagination)."""

import json
from dataclasses import dataclass
from typing import Any

from sandbox.stripe.call import Call
from sandbox.stripe.errors import invalid_request
from sandbox.stripe.objects import JsonObject, public
from sandbox.stripe.parameters import LIST, TEXT, WHOLE, Parameter, Schema
from sandbox.stripe.store import Page

PAGED: Schema = {"limit": WHOLE, "starting_after": TEXT, "ending_before": TEXT, "expand": LIST}
DATED: Schema = {"created": Parameter("range"), **PAGED}

_LIMIT = 10
_LIMIT_MAX = 100


@dataclass(frozen=True)
class EventFilter:
    """Which events to list: of types (`*` stands for any text), since (unix seconds), delivered or not."""

    types: list[str] | None = None
    since_s: int | None = None
    delivered: bool | None = None


def page(
    call: Call,
    kind: str,
    path: str,
    given: JsonObject,
    by: tuple[str, ...] = (),
    events: EventFilter = EventFilter(),
) -> JsonObject:
    """Return a page of a kind of objects as Stripe's list object.

    `by` names the parameters that, where they are given, fields of the same name must be equal to. Raises
    `ApiError` for a limit out of bounds and for a cursor that is no such object.
    """
    limit = given.get("limit", _LIMIT)
    if not 1 <= limit <= _LIMIT_MAX:
        raise invalid_request(f"Invalid limit: it must be between 1 and {_LIMIT_MAX}", param="limit")
    for cursor in ("starting_after", "ending_before"):
        if cursor in given:
            call.find(kind, given[cursor], cursor)
    backwards = "ending_before" in given
    created: int | dict[str, int] = given.get("created", {})
    dates = {"gte": created, "lte": created} if isinstance(created, int) else created
    bounds: dict[str, Any] = {**dates}
    found = call.store.page(
        Page(
            account=call.account,
            kind=kind,
            limit=limit + 1,  # one more tells whether there are more
            older_than=given.get("starting_after"),
            newer_than=given.get("ending_before"),
            only=json.dumps({name: given[name] for name in by if name in given}),
            types=json.dumps(events.types) if events.types else None,
            since=events.since_s,
            delivered=events.delivered,
            **bounds,
        )
    )
    shown = found[:limit][::-1] if backwards else found[:limit]
    return {
        "object": "list",
        "data": [public(stored) for stored in shown],
        "has_more": len(found) > limit,
        "url": path,
    }
