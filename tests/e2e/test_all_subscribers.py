"""A day of traffic, replayed at speed while processes are killed: every kind of subscriber hears the same."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from operator import itemgetter
from pathlib import Path
from time import monotonic
from typing import Any, Self

import pytest
from e2e_alert_accounts import AlertAccount, create_accounts, day_of_traffic, fill_up
from e2e_reference import assert_books_match
from e2e_rules import Crossing, expected_crossings
from e2e_subscribers import (
    EventStream,
    FlakyReceiver,
    RestartedSubscriber,
    mailed,
    printed,
    reading,
    streaming,
)
from e2e_traffic import drained, messages, publish, subscribed
from mail_server import MailServer
from node_example import NodeExample
from polling import eventually
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chaos.model import expected_alerts
from sandbox.servers.network import free_port
from sandbox.supervisor import Supervisor, read_procfile
from shared.domain.alerts import AlertType
from shared.domain.deliveries import BACK_OFF
from shared.messaging.connect import open_transport
from shared.operations.delivery.mail_recipients import put_recipient
from shared.operations.delivery.webhook_endpoints import create_endpoint
from shared.settings import Settings

_PROCFILE = Path(__file__).parents[2] / "Procfile"
_ACCOUNTS = 12
_RECORDS = 4_000
_KILLS = 14
_BETWEEN_KILLS_S = 0.4
_SEED = 5
_BALANCE_TYPES = [type_ for type_ in AlertType if type_.startswith("balance.")]
#: What such a day brings to somebody, at the least.
_KINDS = {
    *_BALANCE_TYPES,
    AlertType.QUOTA_EXHAUSTED,
    AlertType.SPENDING_LIMIT_REACHED,
    AlertType.KEY_LIMIT_REACHED,
    *(type_ for type_ in AlertType if type_.startswith("rule.")),
}
#: What failed is tried again seconds later, then minutes and hours later; those pass at once.
_LATER = text("UPDATE alert_deliveries SET next_attempt_at = now() WHERE state = 'waiting' AND attempts > 1")
_FIRST_RETRY = text(
    "SELECT min(updated_at - created_at) FROM alert_deliveries WHERE state = 'sent' AND attempts = 2"
)
_UNSENT = text("SELECT count(*) FROM alert_deliveries WHERE state <> 'sent'")

Events = list[dict[str, Any]]
Publish = Callable[[list[bytes]], Awaitable[None]]


@dataclass
class Day:
    """Accounts with their day of traffic, and who is told of it whatever the transport is."""

    engine: AsyncEngine
    settings: Settings
    env: dict[str, str]
    accounts: list[AlertAccount]
    events: Events
    hook: FlakyReceiver
    filtered: FlakyReceiver
    mail: MailServer
    streams: list[EventStream]

    @classmethod
    async def prepare(cls, engine: AsyncEngine, settings: Settings, env: dict[str, str]) -> Self:
        """Create the accounts and ask for alerts; nothing runs yet."""
        accounts = await create_accounts(engine, _ACCOUNTS)
        hook, filtered = FlakyReceiver(free_port(), _SEED), FlakyReceiver(free_port(), _SEED + 1)
        mail, port = MailServer(), free_port()
        await _ask_for_alerts(engine, accounts, hook.url, filtered.url)
        async with open_transport(settings.broker_url):
            pass  # the exchanges exist before anybody uses them
        return cls(
            engine,
            settings,
            env
            | {
                "PAYG_BROKER_URL": settings.broker_url,
                "PAYG_API_PORT": str(port),
                "PAYG_SMTP_URL": mail.url,
                "PAYG_MAIL_FROM": "billing@payg.test",
                "PAYG_WEBHOOK_LOOPBACK": "true",
                "PAYG_ALERTS_PER_HOUR": "0",
                "PAYG_BATCH_RECORDS": "20",
            },
            accounts,
            day_of_traffic(accounts, _RECORDS, _SEED),
            hook,
            filtered,
            mail,
            [EventStream(f"http://127.0.0.1:{port}", each.key.api_key) for each in accounts],
        )

    async def pass_by(self, processes: Supervisor, publish: Publish) -> None:
        """Publish everything twice and out of order; between, receivers are gone and balances filled up."""
        bodies = messages(self.events, seed=_SEED)
        early = len(bodies) // 3
        with self.hook:
            await publish(bodies[:early])
            assert await drained(self.engine, self.settings, timeout_s=90) is None
        for account in self.accounts:
            await fill_up(self.engine, account.account_id)
        await publish(bodies[early:])
        await eventually(lambda: "api" in processes.pids() and all(each.connections for each in self.streams))
        processes.kill("api")  # each stream is cut off

    async def assert_all_told(self, told: dict[str, Callable[[], Events]]) -> None:
        """Everybody, and those of the day itself, knows what the model makes of the books."""
        told = told | {
            "webhook": lambda: self.hook.events,
            "SSE": lambda: [event for stream in self.streams for event in stream.events],
        }
        with self.hook, self.mail:
            assert await drained(self.engine, self.settings, timeout_s=90) is None
            expected = await _expected(self.engine)
            assert {kind for alerts in expected.values() for kind, _, _ in alerts} >= _KINDS
            whole = sum(map(len, expected.values()))
            await _until(self.engine, lambda: all(len(_ids(read())) >= whole for read in told.values()))
            await eventually(lambda: all(stream.connections > 1 for stream in self.streams))
        assert await _first_retry(self.engine) >= BACK_OFF[0]
        for name, read in told.items():
            assert _differences(_by_account(read()), expected) == {}, name
        every = self.hook.events
        _assert_filtered(every, self.filtered.events, self.accounts[1])
        assert set(mailed(self.mail)) == {
            (_address(event["data"]["account_id"]), event["id"]) for event in every
        }


@pytest.mark.slow
async def test_each_kind_of_subscriber_is_told_what_the_books_lead_to(
    settings: Settings,
    engine: AsyncEngine,
    payg_env: dict[str, str],
    node_example: NodeExample,
    tmp_path: Path,
) -> None:
    day = await Day.prepare(engine, settings, payg_env)
    python, choose = RestartedSubscriber(settings.broker_url), random.Random(_SEED)
    log = tmp_path / "logs/node.log"
    commands = read_procfile(_PROCFILE) | {"node": node_example.command("node-service")}
    async with subscribed(settings.broker_url) as plain, python.running(), streaming(day.streams):
        with Supervisor(commands, day.env, scale={"debit": 2}, logs=log.parent) as processes, day.filtered:
            await day.pass_by(processes, partial(_disturbed, settings, processes, choose))
            told = {
                "plain AMQP": lambda: list(plain),
                "Python": lambda: list(python.events),
                "Node": lambda: printed(log),
            }
            await day.assert_all_told(told)
    assert sum(map(len, processes.deaths.values())) >= _KILLS
    await assert_books_match(engine, day.events)


@pytest.mark.slow
async def test_on_redis_everybody_is_told_the_same(
    settings: Settings, engine: AsyncEngine, payg_env: dict[str, str], redis_url: str, tmp_path: Path
) -> None:
    day = await Day.prepare(engine, settings.model_copy(update={"broker_url": redis_url}), payg_env)
    python, commands = RestartedSubscriber(redis_url), read_procfile(_PROCFILE)
    async with reading(redis_url) as plain, python.running(), streaming(day.streams):
        with Supervisor(commands, day.env, logs=tmp_path / "logs") as processes, day.filtered:
            await day.pass_by(processes, partial(_on_redis, redis_url))
            await day.assert_all_told(
                {"Redis": lambda: list(plain), "Python over Redis": lambda: list(python.events)}
            )
    await assert_books_match(engine, day.events)


async def _ask_for_alerts(
    engine: AsyncEngine, accounts: list[AlertAccount], everybodys_url: str, url: str
) -> None:
    """An endpoint hears of everybody, one of one account's balance; each account has an address for mail."""
    await create_endpoint(engine, None, everybodys_url, loopback=True)
    await create_endpoint(engine, accounts[1].account_id, url, _BALANCE_TYPES, loopback=True)
    for account in accounts:
        await put_recipient(engine, account.account_id, _address(account.account_id))


def _address(account_id: str) -> str:
    return f"{account_id}@example.com"


async def _disturbed(
    settings: Settings, processes: Supervisor, choose: random.Random, bodies: list[bytes]
) -> None:
    """Publish evenly while processes are killed."""
    times = _KILLS // 2
    publishing = asyncio.create_task(publish(settings.broker_url, bodies, over_s=times * _BETWEEN_KILLS_S))
    await _kill(processes, choose, times)
    await publishing


async def _on_redis(url: str, bodies: list[bytes]) -> None:
    async with open_transport(url) as transport:
        for body in bodies:
            await transport.publish_usage(body, "application/json")


async def _kill(processes: Supervisor, choose: random.Random, times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(_BETWEEN_KILLS_S * (0.5 + choose.random()))
        if running := list(processes.pids()):
            processes.kill(choose.choice(running))


async def _expected(engine: AsyncEngine) -> dict[str, list[Crossing]]:
    """Return the contract's alerts, and those of rules and keys, by account."""
    contract, own = await expected_alerts(engine), await expected_crossings(engine)
    both = {
        account: sorted([(kind, seq, "") for kind, seq in contract.get(account, [])] + own.get(account, []))
        for account in contract.keys() | own.keys()
    }
    return {account: told for account, told in both.items() if told}


async def _until(engine: AsyncEngine, everybody_knows: Callable[[], bool]) -> None:
    """Wait until all is sent, and everybody has it; what is to be tried again later is tried now."""
    deadline, later = monotonic() + 60, monotonic()
    while True:
        async with engine.begin() as connection:
            unsent = (await connection.execute(_UNSENT)).scalar_one()
            if unsent and monotonic() > later:
                later = monotonic() + 0.5
                await connection.execute(_LATER)
        if not unsent and everybody_knows():
            return
        if monotonic() > deadline:
            return  # what is missing is shown by who compares
        await asyncio.sleep(0.1)


async def _first_retry(engine: AsyncEngine) -> timedelta:
    """Return how long the quickest second attempt was waited for."""
    async with engine.connect() as connection:
        found: timedelta = (await connection.execute(_FIRST_RETRY)).scalar_one()
    return found


def _ids(events: Iterable[dict[str, Any]]) -> set[str]:
    return {event["id"] for event in events}


def _by_account(events: Events) -> dict[str, list[Crossing]]:
    """Drop known ids, sort by ``sequence``, and say of each alert what the model says of it."""
    told: dict[str, list[Crossing]] = defaultdict(list)
    for event in sorted({event["id"]: event for event in events}.values(), key=itemgetter("sequence")):
        data, kind = event["data"], event["type"].removeprefix("payg.").removesuffix(".v1")
        bound = [str(value) for name, value in data.get("rule", {}).items() if name != "bound"]
        which = " ".join([*bound, *([data["api_key_id"]] if "api_key_id" in data else [])])
        told[data["account_id"]].append((kind, data["transfer_seq"], which))
    return {account: sorted(found) for account, found in told.items()}


def _differences(
    told: dict[str, list[Crossing]], expected: dict[str, list[Crossing]]
) -> dict[str, tuple[list[Crossing], list[Crossing]]]:
    """Return what was told too much and what is missing, by account."""
    return {
        account: (_beyond(told, expected, account), _beyond(expected, told, account))
        for account in told.keys() | expected.keys()
        if told.get(account) != expected.get(account)
    }


def _beyond(one: dict[str, list[Crossing]], other: dict[str, list[Crossing]], account: str) -> list[Crossing]:
    return sorted((Counter(one.get(account, [])) - Counter(other.get(account, []))).elements())


def _assert_filtered(every: Events, filtered: Events, account: AlertAccount) -> None:
    """The endpoint of one account has its balance alerts, all of them and nothing else."""
    assert (
        _ids(filtered)
        == {
            event["id"]
            for event in every
            if event["data"]["account_id"] == account.account_id and event["type"].startswith("payg.balance.")
        }
        != set()
    )
