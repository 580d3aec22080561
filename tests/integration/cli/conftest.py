"""The command line with a database and a virtual host that the tests of this folder share."""

import sys
from collections.abc import Iterator

import pytest
from payg_command import Done, Inside, Payg, migrated

from cli.main import main
from sandbox.servers import Postgres, RabbitMQ
from shared.settings import load_settings


@pytest.fixture(scope="session")
def payg(postgres: Postgres, rabbitmq: RabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Payg]:
    with migrated(postgres, rabbitmq, "commands", tmp_path_factory.mktemp("commands")) as payg:
        yield payg


@pytest.fixture
def inside(payg: Payg, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Inside:
    """The command line inside this process: starting another takes a second."""
    for name, value in payg.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(payg.directory)

    def run(command: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["payg", *command.split(), "--json"])
        load_settings.cache_clear()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Done(int(ended.value.code or 0), captured.out, captured.err)

    return run
