"""The command line with a database and a virtual host that the tests of this folder share."""

from collections.abc import Iterator

import pytest
from payg_command import Inside, Payg, inside_this_process, migrated

from sandbox.servers import Postgres, RabbitMQ


@pytest.fixture(scope="session")
def payg(postgres: Postgres, rabbitmq: RabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Payg]:
    with migrated(postgres, rabbitmq, "commands", tmp_path_factory.mktemp("commands")) as payg:
        yield payg


@pytest.fixture
def inside(payg: Payg, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Inside:
    """The command line inside this process: starting another takes a second."""
    return inside_this_process(payg, monkeypatch, capsys)
