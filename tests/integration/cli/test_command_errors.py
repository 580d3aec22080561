"""What the command line says when it cannot: one line, no traceback, and the status of the contract."""

from pathlib import Path

import pytest
from payg_command import Inside, Payg

from sandbox.servers import Postgres, free_port
from shared.settings import Settings

NOBODY = "acct_nobody"
_NOT_FOUND = [
    f"account show {NOBODY}",
    f"account set {NOBODY} --frozen on",
    f"account credit {NOBODY} 1 --reason test",
    "account create --plan nothing",
    f"key create {NOBODY}",
    "key revoke key_nobody",
    f"usage void req_1 --account {NOBODY} --reason test",
    f"transfers list --account {NOBODY}",
    "usage attach 2020-01",
    "usage detach --before 2999-01",
    "prices show nobody-knows",
    "quarantine release qtn_nothing",
    "quarantine dismiss qtn_nothing --because test",
    "plan create p --quota 1 --time-zone Mars/Olympus",
]
_WRONG_USAGE = [
    "bench growth --write",
    "nonsense",
    "account show",
    "account create --nonsense",
    "account create --anchor 2026-01-31T00:00:00Z",
    "account create --plan pro --anchor yesterday",
    "account create --fallback perhaps",
    "account create --spending-limit little",
    f"account set {NOBODY} --frozen maybe",
    f"account credit {NOBODY} much --reason test",
    f"account credit {NOBODY} 1.0000000001 --reason test",
    f"account credit {NOBODY} 1",
    "plan create p",
    "plan create p --quota 1 --discount 101",
    f"key create {NOBODY} --limit 5",
    f"key create {NOBODY} --period day",
    "prices set m --input 1",
    "prices set m --input -1 --output 1",
    "prices set m --input 100001 --output 1",
    "prices set m --input 1 --output 1 --from soon",
    "prices import nowhere.csv",
    "quarantine release",
    "quarantine release qtn_1 --reason conflict",
    "quarantine release --reason nonsense",
    "quarantine dismiss qtn_1",
    "usage void req_1 --account a",
    "usage detach",
    "usage detach --before yesterday",
    "usage attach 2026-13",
    "transfers list",
    "worker nonsense",
    "drain --timeout long",
]


@pytest.mark.parametrize("command", _NOT_FOUND)
def test_what_is_not_found_is_one_line_and_status_1(inside: Inside, command: str) -> None:
    inside(command).assert_fails(1, "payg: ")


@pytest.mark.parametrize("command", _WRONG_USAGE)
def test_wrong_usage_is_status_2(inside: Inside, command: str) -> None:
    done = inside(command)
    done.assert_fails(2)
    assert done.err


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PAYG_DATABASE_URL", None, "is not set"),
        ("PAYG_BROKER_URL", None, "is not set"),
        ("PAYG_DATABASE_URL", "mysql://here/db", "must start with"),
        ("PAYG_BROKER_URL", "http://here", "must start with"),
        ("PAYG_DEBIT_QUEUES", "many", "integer"),
        ("PAYG_DEBIT_QUEUES", "0", "greater than or equal to 1"),
        ("PAYG_MIN_TIME", "long ago", "datetime"),
    ],
)
def test_a_missing_or_malformed_setting_stops_with_one_line_that_names_it(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, words: str
) -> None:
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    done = inside("audit")
    assert done.status in (1, 2)
    assert len(done.err.splitlines()) == 1, done.err
    assert name in done.err
    assert words in done.err
    assert "Traceback" not in done.err


def test_a_setting_that_stops_the_program_stops_a_worker_too(payg: Payg) -> None:
    done = payg("worker", "debit", PAYG_DATABASE_URL="nonsense")
    assert (done.status > 0, len(done.err.splitlines())) == (True, 1), done.err
    assert "PAYG_DATABASE_URL" in done.err


def test_a_database_that_is_down_is_one_line_and_status_1(payg: Payg) -> None:
    nowhere = f"postgresql://payg@127.0.0.1:{free_port()}/payg"
    payg("account", "show", NOBODY, PAYG_DATABASE_URL=nowhere).assert_fails(1)
    payg("account", "show", NOBODY, json=False, PAYG_DATABASE_URL=nowhere).assert_fails(1)


def test_a_database_that_does_not_exist_is_one_line_and_status_1(payg: Payg, postgres: Postgres) -> None:
    payg("audit", PAYG_DATABASE_URL=postgres.url_of("nothing")).assert_fails(1, "nothing")


def test_a_database_that_was_not_migrated_is_one_line_and_status_1(payg: Payg, postgres: Postgres) -> None:
    payg("audit", PAYG_DATABASE_URL=postgres.url).assert_fails(1)


def test_a_broker_that_is_down_is_one_line_and_status_1(payg: Payg) -> None:
    nowhere = f"amqp://guest:guest@127.0.0.1:{free_port()}/"
    payg("drain", PAYG_BROKER_URL=nowhere).assert_fails(1, "RabbitMQ")


def test_a_file_that_is_not_there_is_one_line_and_status_1(payg: Payg) -> None:
    payg("publish", "nowhere.jsonl").assert_fails(1, "nowhere.jsonl")


def test_a_line_that_is_nested_too_deeply_is_named(payg: Payg) -> None:
    deep = "[" * 50_000 + "]" * 50_000
    payg("publish", "-", stdin=f'{{"id": "1"}}\n{{"x": {deep}}}\n').assert_fails(1, "line 2")


def test_settings_may_stand_in_a_file_of_the_directory(payg: Payg, tmp_path: Path) -> None:
    file = tmp_path / ".payg" / "env"
    file.parent.mkdir()
    file.write_text("".join(f"{n}={v}\n" for n, v in payg.env.items() if n.startswith("PAYG_")))
    bare = Payg({n: v for n, v in payg.env.items() if not n.startswith("PAYG_")}, tmp_path)
    assert bare("migrate").object == {"migrated": True}


def test_links_lead_to_the_port_that_is_set() -> None:
    settings = Settings(database_url="postgresql://nobody", broker_url="amqp://nobody", api_port=9000)
    assert settings.public_url == "http://127.0.0.1:9000"
