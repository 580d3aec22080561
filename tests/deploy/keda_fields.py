"""The fields of a KEDA ScaledObject that payg uses, as the documentation has them; any other is an error."""

from typing import Any, Literal

import msgspec


class Part(msgspec.Struct, forbid_unknown_fields=True):
    """A part of the object with no fields but its own."""


class Metadata(Part):
    name: str
    namespace: str
    labels: dict[str, str] = {}


class Target(Part):
    name: str


class RabbitQueue(Part):
    """https://keda.sh/docs/scalers/rabbitmq-queue"""

    queueName: str  # noqa: N815 - KEDA's names
    mode: Literal["QueueLength", "MessageRate"]
    value: str
    protocol: Literal["amqp", "http", "auto"]
    hostFromEnv: str  # noqa: N815


class RabbitTrigger(Part, tag_field="type", tag="rabbitmq"):
    metadata: RabbitQueue


class Query(Part):
    """https://keda.sh/docs/scalers/prometheus"""

    serverAddress: str  # noqa: N815
    query: str
    threshold: str


class PrometheusTrigger(Part, tag_field="type", tag="prometheus"):
    metadata: Query


class Spec(Part):
    scaleTargetRef: Target  # noqa: N815
    triggers: list[RabbitTrigger | PrometheusTrigger]
    minReplicaCount: int  # noqa: N815
    maxReplicaCount: int  # noqa: N815
    cooldownPeriod: int  # noqa: N815


class ScaledObject(Part):
    """https://keda.sh/docs/reference/scaledobject-spec"""

    apiVersion: Literal["keda.sh/v1alpha1"]  # noqa: N815
    kind: Literal["ScaledObject"]
    metadata: Metadata
    spec: Spec


def as_scaled_object(rendered: dict[str, Any]) -> ScaledObject:
    """Return the object with its types; raises msgspec.ValidationError where KEDA would refuse it."""
    return msgspec.convert(rendered, ScaledObject)
