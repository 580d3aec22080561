"""What travels between the stages: dramatiq messages whose one argument is a batch, a JSON array.

The batch is left as bytes while dramatiq handles the message around it; the stage that it is for decodes it
once, into its own type. Events travel as the JSON they came as, so that quarantine can show it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import dramatiq
import msgspec
from dramatiq.encoder import Encoder, MessageData

from shared.messaging.topology import Stage


class _Envelope(msgspec.Struct):
    """The fields of a dramatiq message, the arguments still encoded."""

    queue_name: str
    actor_name: str
    args: tuple[msgspec.Raw]
    kwargs: dict[str, Any]
    options: dict[str, Any]
    message_id: str
    message_timestamp: int


class BatchEncoder(Encoder):
    """Encodes messages with msgspec and leaves the batch undecoded."""

    def encode(self, data: MessageData) -> bytes:
        return msgspec.json.encode(data)

    def decode(self, data: bytes) -> MessageData:
        return msgspec.structs.asdict(msgspec.json.decode(data, type=_Envelope))


class Origin(NamedTuple):
    """What a batch goes back to: a name for logs, and the trace that it belongs to, where there is one.

    The name is the correlation id that an upstream message came with, or the id of its first event. Batches
    that are merged go on under the first one's.
    """

    correlation_id: str | None = None
    traceparent: str | None = None

    def options(self) -> dict[str, str]:
        """Return it as the options of a message."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Return what the options of a message say."""
        return cls(options.get("correlation_id"), options.get("traceparent"))


NO_ORIGIN = Origin()


@dataclass(frozen=True, slots=True)
class StageMessage:
    """A batch on its way to a stage. Its elements are anything msgspec can encode."""

    stage: Stage
    queue: str
    batch: Sequence[Any]
    origin: Origin = NO_ORIGIN

    def encode(self) -> "dramatiq.Message[None]":
        """Return it as a dramatiq message."""
        return dramatiq.Message(
            queue_name=self.queue,
            actor_name=str(self.stage),
            args=(self.batch,),
            kwargs={},
            options=self.origin.options(),
        )


def messages_to(stage: Stage, batch: Sequence[Any]) -> list[StageMessage]:
    """Return the message that brings a batch to a stage with one queue, or none for an empty batch."""
    return [StageMessage(stage, str(stage), batch)] if batch else []
