"""The connection to the broker that a URL names: RabbitMQ or Redis."""

from contextlib import suppress

from shared.messaging.transport import Transport


def open_transport(url: str) -> Transport:
    """Return the transport for a broker URL; it connects when it is entered."""
    if url.startswith("amqp"):
        from shared.messaging.amqp_transport import AmqpTransport  # noqa: PLC0415 - only one of the two is needed

        return AmqpTransport(url)
    from shared.messaging.redis_transport import RedisTransport  # noqa: PLC0415

    return RedisTransport(url)


def broker_reachable(url: str) -> bool:
    """Return whether the broker lets us in just now. It blocks for some seconds where it does not answer."""
    with suppress(Exception):
        if url.startswith("amqp"):
            import pika  # noqa: PLC0415 - only one of the two is needed

            pika.BlockingConnection(pika.URLParameters(url)).close()
            return True
        import redis  # noqa: PLC0415

        with redis.Redis.from_url(url, socket_connect_timeout=10) as client:
            return bool(client.ping())
    return False
