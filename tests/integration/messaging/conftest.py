"""Servers of this folder's own for the tests that restart one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from messaging_brokers import BrokerOfTest

from sandbox.servers import RabbitMQ, Redis


@pytest.fixture(scope="session")
def restartable_rabbitmq(servers_directory: Path) -> Iterator[RabbitMQ]:
    """A broker that a test may stop and start; it leaves it running."""
    with RabbitMQ(servers_directory / "restartable-rabbitmq") as server:
        yield server


@pytest.fixture(scope="session")
def restartable_hosts(restartable_rabbitmq: RabbitMQ) -> Iterator[str]:
    return iter(restartable_rabbitmq.create_virtual_hosts(*(f"restartable{n}" for n in range(16))))


@pytest.fixture
def restartable_redis(tmp_path: Path) -> Iterator[Redis]:
    with Redis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def quick_reconnects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let dramatiq's consumers come back at once: its own setting, read from the environment on import."""
    monkeypatch.setattr("dramatiq.worker.CONSUMER_RESTART_DELAY_SECS", 0.2)
    monkeypatch.setattr("dramatiq.worker.POST_PROCESS_MESSAGE_RETRY_DELAY_SECS", 0.2)


@pytest.fixture(params=["amqp", "redis"])
def broker(request: pytest.FixtureRequest) -> BrokerOfTest:
    """Each of the two brokers that the contract holds for."""
    fixture = "broker_url" if request.param == "amqp" else "redis_url"
    return BrokerOfTest(request.getfixturevalue(fixture))
