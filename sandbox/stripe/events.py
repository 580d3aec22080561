"""The list of what happened (docs.stripe.com/api/events)."""

import json

from sandbox.stripe import listing
from sandbox.stripe.call import Call
from sandbox.stripe.errors import invalid_request
from sandbox.stripe.objects import JsonObject
from sandbox.stripe.parameters import LIST, TEXT, Schema

LISTED: Schema = {"type": TEXT, "types": LIST, **listing.DATED}
READABLE: Schema = {"expand": LIST}


def list_all(call: Call, given: JsonObject) -> JsonObject:
    """List events, optionally of some types; `*` stands for any text in one."""
    if "type" in given and "types" in given:
        raise invalid_request("You may only specify one of these parameters: type, types.")
    types = given.get("types") or ([given["type"]] if "type" in given else None)
    return listing.page(call, "event", "/v1/events", given, types=json.dumps(types) if types else None)


def retrieve(call: Call, _given: JsonObject, event_id: str) -> JsonObject:
    """Return an event."""
    return call.find("event", event_id, "id")
