"""Private, throw-away, real servers on loopback: PostgreSQL, Redis and RabbitMQ."""

from sandbox.servers.errors import ServerError
from sandbox.servers.network import free_port
from sandbox.servers.postgres import Postgres, as_user, system_postgres
from sandbox.servers.process import ServerProcess
from sandbox.servers.rabbitmq import RabbitMQ, find_rabbitmq, missing_rabbitmq
from sandbox.servers.redis import Redis

__all__ = [
    "Postgres",
    "RabbitMQ",
    "Redis",
    "ServerError",
    "ServerProcess",
    "as_user",
    "find_rabbitmq",
    "free_port",
    "missing_rabbitmq",
    "system_postgres",
]
