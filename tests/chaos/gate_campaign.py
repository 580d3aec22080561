"""Hundreds of clients at a few accounts, over several processes that die now and then."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import httpx
from gate_tally import Request, Tally, at_list_price
from polling import answers, until
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import free_port
from sandbox.supervisor import Supervisor
from shared.clock import utc_now
from shared.domain.access import Scope
from shared.domain.money import NANOS_PER_DOLLAR
from shared.domain.pricing import TokenRates
from shared.ids import new_id
from shared.messaging.publisher import Publisher, usage_event
from shared.operations.accounts import create_account, create_plan
from shared.operations.keys import KeyLimit, create_key, create_platform_key
from shared.operations.money import credit_account
from shared.operations.prices import set_price
from shared.settings import Settings

HOLD_LIFE_S = 20
MODEL = "test-model"
NANOS_A_TOKEN = 1_000
APIS = 3
_COPIES = {"debit": 2, "api": APIS}
_STAGES = ("intake", "pricing", "debit", "thresholds", "notifications")
_GRACE = timedelta(hours=1)
_TOO_LATE = timedelta(seconds=HOLD_LIFE_S / 2)  # usage that is sent later may find its hold expired
_CENT = NANOS_PER_DOLLAR // 100
_DISCOUNT_PPM = 200_000
_QUICKLY_S = 0.5
_SLOWLY_S = 3.0
_CREDIT_EVERY_S = 1.0


@dataclass(frozen=True)
class Customer:
    """An account with one of its keys; ``tallies`` are that of the account, and of the key if it has a limit.

    ``aborts``: its streams are aborted, the hold given back first and what was used sent later.
    """

    account_id: str
    api_key_id: str
    tallies: Sequence[Tally]
    credited: bool = False
    aborts: bool = False


async def open_accounts(engine: AsyncEngine) -> list[Customer]:
    """Give the campaign a price, and accounts of every kind that can pay for some of what comes."""
    rates = {"input": NANOS_A_TOKEN * 10**6, "output": NANOS_A_TOKEN * 10**6}
    await set_price(engine, None, MODEL, TokenRates.inherit(rates), None)
    return [
        await _payg(engine, "payg"),
        await _payg(engine, "payg, streams aborted", aborts=True),
        await _subscriber(engine, "plan"),
        await _subscriber(engine, "plan, fallback, limit", fallback=True, limit_nanos=60 * _CENT),
        await _subscriber(engine, "plan, discount", fallback=True, discount_ppm=_DISCOUNT_PPM),
        *await _team(engine),
    ]


async def _payg(engine: AsyncEngine, name: str, *, aborts: bool = False) -> Customer:
    account_id, key = await create_account(engine, name=name)
    await credit_account(engine, account_id, 100 * _CENT, "opening", _GRACE)
    return Customer(account_id, key.api_key_id, [Tally(name, 100 * _CENT)], credited=True, aborts=aborts)


async def _subscriber(
    engine: AsyncEngine,
    name: str,
    *,
    fallback: bool = False,
    limit_nanos: int | None = None,
    discount_ppm: int = 0,
) -> Customer:
    plan = await create_plan(
        engine, name, quota_nanos=200 * _CENT, price_nanos=0, discount_ppm=discount_ppm, zone="UTC"
    )
    account_id, key = await create_account(
        engine, name=name, plan=plan, fallback=fallback, spending_limit_nanos=limit_nanos
    )
    await credit_account(engine, account_id, 100 * _CENT, "opening", _GRACE)
    balance = 0 if not fallback else 100 * _CENT if limit_nanos is None else min(100 * _CENT, limit_nanos)
    # What one request costs is rounded to the nano; so many of them may come to so many nanos more.
    can_pay = at_list_price(200 * _CENT, discount_ppm) + balance + (10_000 if discount_ppm else 0)
    return Customer(account_id, key.api_key_id, [Tally(name, can_pay)], credited=fallback and not limit_nanos)


async def _team(engine: AsyncEngine) -> list[Customer]:
    """Return the two keys of an account; one has a limit, which is less than the account has."""
    account_id, key = await create_account(engine, name="team")
    await credit_account(engine, account_id, 300 * _CENT, "opening", _GRACE)
    limited = await create_key(engine, account_id, "limited", KeyLimit(120 * _CENT, "day"))
    tally = Tally("team", 300 * _CENT)
    return [
        Customer(account_id, key.api_key_id, [tally]),
        Customer(account_id, limited.api_key_id, [tally, Tally("limited key", 120 * _CENT)]),
    ]


@contextmanager
def running(settings: Settings, logs: Path) -> Iterator[tuple[Supervisor, list[str]]]:
    """Run all stages and several HTTP tiers, each on a port of its own; yields them and their addresses."""
    ports = [free_port() for _ in range(APIS)]
    commands = {stage: f"payg worker {stage}" for stage in _STAGES} | {"clock": "payg clock"}
    commands |= {f"api-{port}": f"env PAYG_API_PORT={port} payg api" for port in ports}
    env = {
        "PAYG_DATABASE_URL": settings.database_url,
        "PAYG_BROKER_URL": settings.broker_url,
        "PAYG_REDIS_URL": str(settings.redis_url),
        "PAYG_HOLD_LIFE_S": str(HOLD_LIFE_S),
        "PAYG_GATE_FLOOR_USD": "0",
    }
    with Supervisor(commands, env, scale=_COPIES, logs=logs) as processes:
        yield processes, [f"http://127.0.0.1:{port}" for port in ports]


class Campaign:
    """Clients of a gateway that ask, serve, and send usage, until told to stop."""

    def __init__(
        self, http: Sequence[httpx.AsyncClient], publisher: Publisher, seed: int, *, all_served: bool
    ) -> None:
        self._http = http
        self._publisher = publisher
        self._all_served = all_served
        self._choose = random.Random(seed)
        self.published = 0
        self.aborted_nanos = 0
        self.answers: dict[int, int] = {}

    @classmethod
    @asynccontextmanager
    async def open(
        cls, engine: AsyncEngine, settings: Settings, urls: Sequence[str], seed: int, *, all_served: bool
    ) -> AsyncIterator["Campaign"]:
        """Yield a campaign once every HTTP tier answers.

        Where all is served, a request costs all that it is held at.
        """
        key = await create_platform_key(engine, "gateway", Scope.SERVICE)
        headers = {"Authorization": f"Bearer {key.api_key}"}
        limits = httpx.Limits(max_connections=None)
        http = [httpx.AsyncClient(base_url=url, headers=headers, timeout=10, limits=limits) for url in urls]
        async with Publisher(settings.broker_url) as publisher:
            until(lambda: all(answers(f"{url}/healthz") for url in urls))
            yield cls(http, publisher, seed, all_served=all_served)
        for client in http:
            await client.aclose()

    async def run(self, customers: Sequence[Customer], clients: int, stop: asyncio.Event) -> None:
        """Let so many clients work, spread over the accounts."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(clients):
                tasks.create_task(self._work(customers[number % len(customers)], stop))

    async def _work(self, customer: Customer, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await asyncio.sleep(self._choose.random() * _QUICKLY_S)
            with suppress(httpx.TransportError):
                if request := await self.ask(customer, self._choose.randrange(1, 100_000)):
                    await self._serve(customer, request)

    async def ask(self, customer: Customer, tokens: int) -> Request | None:
        """Ask for a request of so many tokens; None where it is refused."""
        asked_at = utc_now()
        body = {
            "model": MODEL,
            "input_tokens": tokens,
            "max_output_tokens": 0,
            "api_key_id": customer.api_key_id,
        }
        answer = await self._choose.choice(self._http).post("/v1/authorize", json=body)
        self.answers[answer.status_code] = self.answers.get(answer.status_code, 0) + 1
        if answer.status_code != httpx.codes.OK:
            assert answer.status_code in (402, 503), answer.text
            return None
        held = answer.json()
        expires_at = datetime.fromisoformat(held["expires_at"])
        request = Request(held["hold_id"], held["held_nanos"], asked_at, expires_at)
        for tally in customer.tallies:
            tally.serve(request)
        return request

    async def _serve(self, customer: Customer, request: Request) -> None:
        await asyncio.sleep(self._choose.random() * (_SLOWLY_S if self._all_served else _QUICKLY_S))
        if utc_now() < request.expires_at - _TOO_LATE:
            await self._choose.choice(self._ways(customer))(customer, request)

    def _ways(self, customer: Customer) -> Sequence[Callable[[Customer, Request], Awaitable[None]]]:
        if self._all_served:
            return [self.send, self._extend_and_send]
        if customer.aborts:
            return [self.give_back, self._abort]
        return [self.send, self.send, self._extend_and_send, self.give_back, self._abandon]

    async def send(self, customer: Customer, request: Request, *, with_hold: bool = True) -> None:
        """Send the usage of a request that cost no more than it was held at."""
        most = request.held_nanos // NANOS_A_TOKEN
        tokens = most if self._all_served else self._choose.randint(0, most)
        request.cost_nanos = tokens * NANOS_A_TOKEN
        hold = {"hold_id": request.hold_id} if with_hold else {}
        event = usage_event(
            id=new_id("req"), model=MODEL, api_key_id=customer.api_key_id, input_tokens=tokens, **hold
        )
        await self._publisher.publish(event)
        self.published += 1

    async def give_back(self, _customer: Customer, request: Request) -> None:
        request.given_back = True
        await self._choose.choice(self._http).delete(f"/v1/holds/{request.hold_id}")

    async def _extend_and_send(self, customer: Customer, request: Request) -> None:
        answer = await self._choose.choice(self._http).post(f"/v1/holds/{request.hold_id}/extend")
        if answer.status_code == httpx.codes.OK:
            request.expires_at = datetime.fromisoformat(answer.json()["expires_at"])
        await asyncio.sleep(self._choose.random() * _QUICKLY_S)
        await self.send(customer, request)

    async def _abort(self, customer: Customer, request: Request) -> None:
        """Give the hold of a stream back, then send what it used: nothing is held for that meanwhile."""
        await self.give_back(customer, request)
        await self.send(customer, request, with_hold=False)
        self.aborted_nanos += request.cost_nanos or 0

    async def _abandon(self, _customer: Customer, _request: Request) -> None:
        """Serve it and never tell: its hold expires."""


async def add_money(engine: AsyncEngine, customers: Sequence[Customer], stop: asyncio.Event) -> None:
    """Credit those accounts whose balance pays, now and then."""
    while not stop.is_set():
        await asyncio.sleep(_CREDIT_EVERY_S)
        for customer in customers:
            if customer.credited:
                for tally in customer.tallies:
                    tally.can_pay_nanos += 30 * _CENT  # from here on it may be there
                await credit_account(engine, customer.account_id, 30 * _CENT, "more", _GRACE)
