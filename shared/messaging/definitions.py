"""What RabbitMQ is told before the first process starts: queues, users and what each may do.

Each process has a user of its own, named as in the Procfile. None of them may create or delete anything, so
the queues stand here; a stage reads its own queues and no others. Stages send to each other through the
default exchange, for which RabbitMQ knows no narrower right than to send to any queue.
Source: https://www.rabbitmq.com/docs/definitions, https://www.rabbitmq.com/docs/access-control
"""

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shared.messaging.topology import (
    ALERTS_EXCHANGE,
    DELAYED,
    INTAKE_QUEUE,
    USAGE_EXCHANGE,
    USAGE_ROUTING_KEY,
    Stage,
    dead_letter_arguments,
    dead_letter_queue,
    delayed_arguments,
    queue_arguments,
    stage_queues,
)

#: How permissions name the exchange without a name.
DEFAULT_EXCHANGE = "amq.default"
#: Queues of those who subscribe to alerts begin with this, or the server names them.
SUBSCRIPTIONS = r"^(alerts\..+|amq\.gen-.+)$"
#: A subscriber that is gone fills no disk: what goes over this can be read again, payg keeps every alert.
SUBSCRIPTION_BYTES = 1024**3
NOTHING, ANYTHING = "^$", ".*"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rights:
    """Patterns: what a user may write to, read from and create; routing keys it may use, by exchange."""

    write: str
    read: str
    configure: str = NOTHING
    routing_keys: Mapping[str, str] | None = None


def users(debit_queues: int) -> dict[str, Rights]:
    """Return each user with its rights: one a process, and those outside."""
    queues = {stage: stage_queues(stage, debit_queues) for stage in Stage}
    stages = {
        str(stage): Rights(_any(DEFAULT_EXCHANGE), _any(*_with_delayed(queues[stage]))) for stage in Stage
    }
    dead = _any(*(dead_letter_queue(queue) for names in queues.values() for queue in names))
    return stages | {
        "notifications": Rights(_any(DEFAULT_EXCHANGE, ALERTS_EXCHANGE), stages["notifications"].read),
        "clock": Rights(_any(DEFAULT_EXCHANGE), NOTHING),
        "api": Rights(_any(DEFAULT_EXCHANGE, USAGE_EXCHANGE), dead),
        "operator": Rights(ANYTHING, ANYTHING, ANYTHING),
        "upstream": Rights(
            _any(USAGE_EXCHANGE), NOTHING, routing_keys={USAGE_EXCHANGE: _any(USAGE_ROUTING_KEY)}
        ),
        "subscriber": Rights(SUBSCRIPTIONS, f"{SUBSCRIPTIONS}|{_any(ALERTS_EXCHANGE)}", SUBSCRIPTIONS),
    }


def definitions(debit_queues: int, passwords: Mapping[str, str], vhost: str = "/") -> Json:
    """Return the definitions as RabbitMQ imports them. A user without a password cannot log in by one."""
    rights = users(debit_queues)
    queues = [queue for stage in Stage for queue in stage_queues(stage, debit_queues)]
    return {
        "vhosts": [{"name": vhost}],
        "users": [_user(name, passwords.get(name)) for name in rights],
        "permissions": [
            {"user": name, "vhost": vhost, "configure": of.configure, "write": of.write, "read": of.read}
            for name, of in rights.items()
        ],
        "topic_permissions": [
            {"user": name, "vhost": vhost, "exchange": exchange, "write": pattern, "read": NOTHING}
            for name, of in rights.items()
            for exchange, pattern in (of.routing_keys or {}).items()
        ],
        "exchanges": [
            {
                "name": name,
                "vhost": vhost,
                "type": "topic",
                "durable": True,
                "auto_delete": False,
                "arguments": {},
            }
            for name in (USAGE_EXCHANGE, ALERTS_EXCHANGE)
        ],
        "queues": [
            {"name": name, "vhost": vhost, "durable": True, "auto_delete": False, "arguments": arguments}
            for queue in queues
            for name, arguments in _declared(queue)
        ],
        "bindings": [
            {
                "source": USAGE_EXCHANGE,
                "vhost": vhost,
                "destination": INTAKE_QUEUE,
                "destination_type": "queue",
                "routing_key": USAGE_ROUTING_KEY,
                "arguments": {},
            }
        ],
        "policies": [
            {
                "name": "subscriptions",
                "vhost": vhost,
                "pattern": SUBSCRIPTIONS,
                "apply-to": "queues",
                "priority": 0,
                "definition": {"max-length-bytes": SUBSCRIPTION_BYTES, "overflow": "drop-head"},
            }
        ],
    }


def _declared(queue: str) -> Iterable[tuple[str, Json]]:
    yield queue, queue_arguments(queue)
    yield dead_letter_queue(queue), dead_letter_arguments()
    if queue != INTAKE_QUEUE:
        yield queue + DELAYED, delayed_arguments(queue)


def _with_delayed(queues: Iterable[str]) -> list[str]:
    return [name for queue in queues for name in (queue, queue + DELAYED)]


def _any(*names: str) -> str:
    return f"^({'|'.join(map(re.escape, names))})$"


def _user(name: str, password: str | None) -> Json:
    return {
        "name": name,
        "password_hash": hashed(password, secrets.token_bytes(4)) if password else "",
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": "monitoring" if name == "operator" else "",
    }


def hashed(password: str, salt: bytes) -> str:
    """Return a password as RabbitMQ keeps it: https://www.rabbitmq.com/docs/passwords#computing-password-hash."""
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
