"""The list of what happened (docs.stripe.com/api/events)."""

from sandbox.stripe import listing
from sandbox.stripe.call import Call
from sandbox.stripe.errors import invalid_request
from sandbox.stripe.listing import EventFilter
from sandbox.stripe.objects import JsonObject
from sandbox.stripe.parameters import FLAG, LIST, TEXT, Schema

LISTED: Schema = {"type": TEXT, "types": LIST, "delivery_success": FLAG, **listing.DATED}
READABLE: Schema = {"expand": LIST}

KEPT_S = 30 * 24 * 3600


def list_all(call: Call, given: JsonObject) -> JsonObject:
    """List the events of the last 30 days, optionally of some types; `*` stands for any text in one.

    `delivery_success` asks for those that all webhooks, or not all, have answered with 2xx.
    """
    if "type" in given and "types" in given:
        raise invalid_request("You may only specify one of these parameters: type, types.")
    types = given.get("types") or ([given["type"]] if "type" in given else None)
    return listing.page(
        call,
        "event",
        "/v1/events",
        given,
        events=EventFilter(types, call.now_s - KEPT_S, given.get("delivery_success")),
    )


def retrieve(call: Call, _given: JsonObject, event_id: str) -> JsonObject:
    """Return an event of the last 30 days; raises `ApiError` (404) for an older one."""
    event = call.find("event", event_id, "id")
    if event["created"] < call.now_s - KEPT_S:
        raise invalid_request(f"No such event: '{event_id}'", "resource_missing", "id", status=404)
    return event
