"""The command ``payg`` as a program of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from sandbox.servers import Postgres, RabbitMQ
from shared.settings import load_settings

PAYG = Path(sys.executable).with_name("payg")


@dataclass(frozen=True)
class Done:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """What it printed, one object a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def object(self) -> dict[str, Any]:
        """The one object that it printed."""
        assert self.status == 0, self.err
        (printed,) = self.objects
        return printed

    def assert_fails(self, status: int, *words: str) -> None:
        """It ended with that status and one line for people that has all the words."""
        assert self.status == status, self.err
        assert self.out == ""
        assert "Traceback" not in self.err
        if status == 1:
            assert len(self.err.splitlines()) == 1, self.err
        for word in words:
            assert word in self.err, self.err


@dataclass(frozen=True)
class Payg:
    """The command in an environment, in a directory without settings of its own."""

    env: Mapping[str, str]
    directory: Path

    def __call__(self, *arguments: str, json: bool = True, stdin: str = "", **settings: str | None) -> Done:
        """Run it; settings go over the environment, None takes one out."""
        env = {name: value for name, value in {**self.env, **settings}.items() if value is not None}
        done = subprocess.run(
            [PAYG, *arguments, *(["--json"] if json else [])],
            env=env,
            cwd=self.directory,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def all(self, *commands: str) -> list[Done]:
        """Run commands side by side: starting takes longer than what they do."""
        with ThreadPoolExecutor(3) as threads:
            return list(threads.map(lambda command: self(*command.split()), commands))


#: Runs a command line in this process.
Inside = Callable[[str], Done]


def inside_this_process(
    payg: Payg, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Inside:
    """Return what runs a command line in this process, in the environment and the directory of a command."""
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


@contextmanager
def migrated(postgres: Postgres, rabbitmq: RabbitMQ, name: str, directory: Path) -> Iterator[Payg]:
    """Yield the command with a migrated database and a virtual host of that name."""
    postgres.create_database(name)
    (broker_url,) = rabbitmq.create_virtual_hosts(name)
    urls = {"PAYG_DATABASE_URL": postgres.url_of(name), "PAYG_BROKER_URL": broker_url}
    payg = Payg(environment(**urls), directory)
    assert payg("migrate").object == {"migrated": True}
    yield payg
    postgres.drop_database(name)


def environment(**settings: str) -> dict[str, str]:
    """Return this process's environment without any setting of payg but these."""
    return {**{k: v for k, v in os.environ.items() if not k.startswith("PAYG_")}, **settings}
