"""The AsyncAPI document of both exchanges, made from the types that messages are read and checked by.

Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from shared.domain.alert_events import event_type_of
from shared.domain.alerts import AlertType
from shared.domain.events import MAX_EVENTS, UsageData, UsageEvent
from shared.messaging.topology import ALERTS_EXCHANGE, USAGE_EXCHANGE, USAGE_ROUTING_KEY

Document = dict[str, Any]

_EVENT = "application/cloudevents+json"
_BATCH = "application/cloudevents-batch+json"
_ABOUT = """\
Usage records go in over the exchange `usage`, alerts come out over the exchange `alerts`: CloudEvents 1.0 in
JSON on AMQP 0-9-1. Delivery is at least once: drop ids that are known. Sorted by `sequence`, the alerts of an
account are in order. Fields and types may be added: ignore those you do not know.
"""


def asyncapi_document() -> Document:
    """Return the document."""
    alerts = {event.__name__: alert for alert in AlertType for event in [event_type_of(alert)]}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "payg",
            "version": version("payg"),
            "description": _ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": _EVENT,
        "channels": {"usage": _usage_channel(), "alerts": _alerts_channel(alerts)},
        "operations": {
            "takeUsage": _operation("receive", "usage", "payg takes usage records."),
            "tellAlerts": _operation("send", "alerts", "payg tells about accounts."),
        },
        "components": {"messages": _messages(alerts), "schemas": _schemas()},
    }


def _usage_channel() -> Document:
    return {
        "address": USAGE_ROUTING_KEY,
        "description": "Publish with confirms, persistent: a confirmed message is not lost.",
        "messages": {name: _ref("messages", name) for name in ("UsageEvent", "UsageEvents")},
        "bindings": _exchange(USAGE_EXCHANGE),
    }


def _alerts_channel(alerts: dict[str, AlertType]) -> Document:
    return {
        "address": "{type}",
        "description": "Bind a queue of your own; the routing key is the type, such as `topup.failed`.",
        "parameters": {
            "type": {"description": "the type of the alert", "enum": [str(alert) for alert in AlertType]}
        },
        "messages": {name: _ref("messages", name) for name in alerts},
        "bindings": _exchange(ALERTS_EXCHANGE),
    }


def _exchange(name: str) -> Document:
    exchange = {"name": name, "type": "topic", "durable": True, "autoDelete": False, "vhost": "/"}
    return {"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"}}


def _operation(action: str, channel: str, summary: str) -> Document:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}


def _messages(alerts: dict[str, AlertType]) -> Document:
    batch = {
        "type": "array",
        "items": _ref("schemas", "UsageEvent"),
        "minItems": 1,
        "maxItems": MAX_EVENTS,
    }
    return {
        "UsageEvent": _message("UsageEvent", "A usage record.", _ref("schemas", "UsageEvent")),
        "UsageEvents": _message("UsageEvents", "Usage records.", batch, _BATCH),
        **{name: _message(name, f"`{alert}`", _ref("schemas", name)) for name, alert in alerts.items()},
    }


def _message(name: str, summary: str, payload: Document, content_type: str = _EVENT) -> Document:
    return {"name": name, "summary": summary, "contentType": content_type, "payload": payload}


def _schemas() -> Document:
    types: Sequence[type] = [_usage_event(), *(event_type_of(alert) for alert in AlertType)]
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return dict(sorted(schemas.items()))


def _usage_event() -> type[msgspec.Struct]:
    """Return the type of usage events with metadata as the object it has to be: it is read as raw text."""
    data = _like(UsageData, metadata=("metadata", dict[str, Any] | None, None))
    return _like(UsageEvent, data=("data", data))


def _like(struct: type[msgspec.Struct], **replaced: tuple[Any, ...]) -> type[msgspec.Struct]:
    """Return a type of the same name, documentation and fields but these."""
    fields: list[Any] = [
        replaced.get(field.name)
        or ((field.name, field.type) if field.required else (field.name, field.type, field.default))
        for field in msgspec.structs.fields(struct)
    ]
    return msgspec.defstruct(struct.__name__, fields, namespace={"__doc__": struct.__doc__})


def _ref(kind: str, name: str) -> Document:
    return {"$ref": f"#/components/{kind}/{name}"}
