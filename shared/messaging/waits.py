"""How long messages wait between two stages, seen where a worker takes them up."""

from time import time

import dramatiq
from dramatiq.broker import MessageProxy
from dramatiq.middleware import Middleware

from shared.metrics import QUEUE_WAIT


class Waits(Middleware):
    """Measures how long each message waited. ``taken_until`` is by queue when the newest was sent, in ms."""

    def __init__(self) -> None:
        self.taken_until: dict[str, int] = {}

    def before_process_message(self, broker: dramatiq.Broker, message: MessageProxy) -> None:  # noqa: ARG002
        sent_ms, queue = message.message_timestamp, message.queue_name
        QUEUE_WAIT.labels(queue).observe(max(0.0, time() - sent_ms / 1000))
        self.taken_until[queue] = max(sent_ms, self.taken_until.get(queue, 0))
