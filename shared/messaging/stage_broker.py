"""The dramatiq broker between the stages, on RabbitMQ or on Redis, chosen by the scheme of the URL."""

import dramatiq
from dramatiq.broker import MessageProxy
from dramatiq.middleware import AsyncIO, CurrentMessage, Middleware

from shared.messaging.envelope import BatchEncoder


class RejectFailed(Middleware):
    """Reject a message whose stage raised: to the dead letters, or back to its queue for ComesBack.

    It stands in the place of dramatiq's Retries, which would enqueue a copy and acknowledge the original even
    where enqueueing failed. Here the original is never acknowledged before its effect is committed.
    """

    def after_process_message(
        self,
        broker: dramatiq.Broker,  # noqa: ARG002
        message: MessageProxy,
        *,
        result: object = None,  # noqa: ARG002
        exception: BaseException | None = None,
    ) -> None:
        if exception is not None:
            message.fail()


def stage_broker(url: str, *extra: Middleware) -> dramatiq.Broker:
    """Return the broker for a URL: ``amqp://`` or ``redis://``. It connects when it is first used."""
    dramatiq.set_encoder(BatchEncoder())
    middleware: list[Middleware] = [AsyncIO(), CurrentMessage(), *extra, RejectFailed()]
    if url.startswith("amqp"):
        from shared.messaging.amqp_broker import QuorumBroker  # noqa: PLC0415 - only one of the two is needed

        return QuorumBroker(url, middleware)
    from shared.messaging.redis_broker import DurableRedisBroker  # noqa: PLC0415

    return DurableRedisBroker(url, middleware)
