"""Virtual hosts by the dozen, and servers of this folder's own for the tests that restart one."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from messaging_brokers import BrokerOfTest

from sandbox.servers import RabbitMQ, Redis

_AT_ONCE = 12
_numbers = count()
_CREATE = """\
[begin
   rabbit_vhost:add(Name, <<"payg">>),
   rabbit_auth_backend_internal:set_permissions(
     <<"guest">>, Name, <<".*">>, <<".*">>, <<".*">>, <<"payg">>)
 end || Name <- [{names}]]."""


def _virtual_hosts(server: RabbitMQ, at_once: int = _AT_ONCE) -> Iterator[str]:
    # rabbitmqctl takes half a second however much it is asked to do.
    while True:
        names = [f"messaging{next(_numbers)}" for _ in range(at_once)]
        server.ctl("eval", _CREATE.format(names=", ".join(f'<<"{name}">>' for name in names)))
        yield from (f"{server.url}{name}" for name in names)


@pytest.fixture(scope="session")
def virtual_hosts(rabbitmq: RabbitMQ) -> Iterator[str]:
    return _virtual_hosts(rabbitmq)


@pytest.fixture
def broker_url(virtual_hosts: Iterator[str]) -> str:
    """A virtual host of this test's own."""
    return next(virtual_hosts)


@pytest.fixture(scope="session")
def restartable_rabbitmq(servers_directory: Path) -> Iterator[RabbitMQ]:
    """A broker that a test may stop and start; it leaves it running."""
    with RabbitMQ(servers_directory / "restartable-rabbitmq") as server:
        yield server


@pytest.fixture(scope="session")
def restartable_hosts(restartable_rabbitmq: RabbitMQ) -> Iterator[str]:
    return _virtual_hosts(restartable_rabbitmq, 2)


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
