"""Exchanges, queues and their arguments: the one place where the processes meet.

    usage ─▶ usage.intake ─▶ pricing ─▶ debit.0 … debit.N-1 ─▶ thresholds ─▶ topup, notifications ─▶ alerts

Every queue is a durable quorum queue that loses nothing: what a consumer rejects goes to ``<queue>.XQ`` at
least once and stays there until somebody replays it.
Source for the arguments: https://www.rabbitmq.com/docs/quorum-queues
"""

from enum import StrEnum
from functools import lru_cache
from typing import Any
from zlib import crc32

from shared.domain.ids import AccountId

USAGE_EXCHANGE = "usage"
USAGE_ROUTING_KEY = "usage.recorded"
ALERTS_EXCHANGE = "alerts"
INTAKE_QUEUE = "usage.intake"

#: What dramatiq appends to the name of a queue for its delayed messages. payg delays none.
DELAYED = ".DQ"

#: How often a message may come back before it is taken for poison: a worker that dies with it counts.
DELIVERY_LIMIT = 100
#: Looking at dead letters counts as a delivery too, and must never use one up.
NO_DELIVERY_LIMIT = 2**31 - 1


class Stage(StrEnum):
    """The process types between the queue of usage and the alerts; each is an actor of that name."""

    INTAKE = "intake"
    PRICING = "pricing"
    DEBIT = "debit"
    THRESHOLDS = "thresholds"
    TOPUP = "topup"
    NOTIFICATIONS = "notifications"


def stage_queues(stage: Stage, debit_queues: int) -> list[str]:
    """Return the queues that a stage consumes."""
    if stage is Stage.INTAKE:
        return [INTAKE_QUEUE]
    if stage is Stage.DEBIT:
        return [f"debit.{index}" for index in range(debit_queues)]
    return [str(stage)]


def every_queue(debit_queues: int) -> list[str]:
    """Return the queues of all stages, upstream first."""
    return [queue for stage in Stage for queue in stage_queues(stage, debit_queues)]


@lru_cache(maxsize=100_000)
def debit_queue(account_id: AccountId, debit_queues: int) -> str:
    """Return the queue that takes all debits of an account, so that workers seldom meet on one."""
    return f"debit.{crc32(account_id.encode()) % debit_queues}"


def dead_letter_queue(queue: str) -> str:
    """Return where the messages end that a consumer of ``queue`` gave up on."""
    return f"{queue}.XQ"


def queue_arguments(queue: str) -> dict[str, Any]:
    """Return the arguments a queue is declared with; other ones are refused by the broker."""
    arguments = {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead_letter_queue(queue),
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-delivery-limit": DELIVERY_LIMIT,
    }
    if queue.startswith("debit."):
        arguments["x-single-active-consumer"] = True
    return arguments


def delayed_arguments(queue: str) -> dict[str, Any]:
    """Return the arguments of the queue of delayed messages that dramatiq insists on."""
    return {
        name: value for name, value in queue_arguments(queue).items() if name != "x-single-active-consumer"
    }


def dead_letter_arguments() -> dict[str, Any]:
    """Return the arguments of a dead-letter queue: nothing in it ever expires."""
    return {"x-queue-type": "quorum", "x-delivery-limit": NO_DELIVERY_LIMIT}
