"""The example gateway, the toy behind it, the stages that debit, and accounts that can pay."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx
from gate_api import Payer
from openai import AsyncOpenAI
from polling import eventually
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from payg_client import PaygClient
from sandbox.gateway import create_gateway, create_model_server, served
from sandbox.gateway.model_server import Toy
from sandbox.servers import Postgres, RabbitMQ
from sandbox.supervisor import Supervisor
from shared.db.engine import create_engine
from shared.domain.access import Scope
from shared.domain.money import NANOS_PER_DOLLAR, NANOS_PER_QUOTA_UNIT
from shared.domain.pricing import TokenRates
from shared.messaging.connect import open_transport
from shared.operations.keys import create_platform_key
from shared.operations.prices import set_price
from shared.settings import Settings

MODEL = "toy-model"
T = TypeVar("T")
#: A token of any kind costs a tenth of a cent.
TOKEN_NANOS = NANOS_PER_DOLLAR // 1000
TOKEN_QUOTA = TOKEN_NANOS // NANOS_PER_QUOTA_UNIT
_STAGES = ("intake", "pricing", "debit", "thresholds")


class Platform(NamedTuple):
    """What is behind the gateway: settings of payg, and the gateway's own key."""

    settings: Settings
    service_key: str


@contextmanager
def platform(postgres: Postgres, rabbitmq: RabbitMQ, redis_url: str, logs: Path) -> Iterator[Platform]:
    """Run the stages that a record passes, on servers of these tests' own."""
    name = "gateway"
    postgres.create_database(name, template="payg_template")
    (broker_url,) = rabbitmq.create_virtual_hosts(name)
    settings = Settings(
        database_url=postgres.url_of(name),
        broker_url=broker_url,
        redis_url=redis_url,
        rate_limit_per_s=0,
    )
    env = {
        **os.environ,
        "PAYG_DATABASE_URL": settings.database_url,
        "PAYG_BROKER_URL": settings.broker_url,
        "PAYG_REDIS_URL": redis_url,
    }
    with Supervisor({stage: f"payg worker {stage}" for stage in _STAGES}, env, logs=logs):
        yield Platform(settings, asyncio.run(_open(settings)))
    postgres.drop_database(name)


async def _open(settings: Settings) -> str:
    """Declare the exchanges, set the price, and make the gateway's key."""
    async with open_transport(settings.broker_url):
        pass
    engine = create_engine(settings.database_url)
    rate = TOKEN_NANOS * 10**6
    await set_price(engine, None, MODEL, TokenRates.inherit({"input": rate, "output": rate}), None)
    key = await create_platform_key(engine, "gateway", Scope.SERVICE)
    await engine.dispose()
    return key.api_key


class Gateway(NamedTuple):
    """A gateway that runs."""

    url: str
    toy: Toy

    def openai(self, secret: str) -> AsyncOpenAI:
        """Return a client as callers of the gateway have it; it is told of every failure at once."""
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key=secret, max_retries=0)


@contextmanager
def gateway(payg_url: str, service_key: str, **settings: Any) -> Iterator[Gateway]:
    """Run the example gateway in front of the toy."""
    toy = create_model_server()
    with served(toy) as model_server:
        client = PaygClient(payg_url, service_key, source="gateway-of-the-test", **settings)
        with served(create_gateway(client, model_server)) as url:
            yield Gateway(url, toy.state.toy)


class Account:
    """An account that asks through the gateway, and what payg says of it."""

    def __init__(self, engine: AsyncEngine, payg_url: str, service_key: str, payer: Payer) -> None:
        self.payer = payer
        self._engine = engine
        self._http = httpx.AsyncClient(base_url=payg_url)
        self._service_key = service_key

    async def quota(self) -> int:
        """Return what the account has, as clients of such platforms ask for it."""
        answer = await self._http.get(
            "/api/user/self", headers={"Authorization": f"Bearer {self.payer.api_key}"}
        )
        return int(answer.json()["data"]["quota"])

    async def records(self, number: int = 1) -> list[dict[str, Any]]:
        """Wait for so many usage records, and return them."""
        query = text("SELECT * FROM usage_records WHERE account_id = :account_id ORDER BY transfer_seq")

        async def found() -> list[dict[str, Any]]:
            async with self._engine.connect() as connection:
                rows = await connection.execute(query, {"account_id": self.payer.account_id})
                records = [dict(row) for row in rows.mappings()]
            return records if len(records) >= number else []

        return await eventually(found)

    async def can_hold(self, tokens: int) -> bool:
        """Whether so many tokens can be held now; what was held for the question is given back."""
        headers = {"Authorization": f"Bearer {self._service_key}"}
        asked = {"model": MODEL, "input_tokens": tokens, "max_output_tokens": 0}
        asked["api_key_id"] = self.payer.api_key_id
        answer = await self._http.post("/v1/authorize", json=asked, headers=headers)
        if answer.status_code == 200:
            await self._http.delete(f"/v1/holds/{answer.json()['hold_id']}", headers=headers)
        return answer.status_code == 200

    async def nothing_held(self) -> None:
        """Wait until all that the account has can be held."""
        tokens = await self.quota() // TOKEN_QUOTA

        async def free() -> bool:
            return await self.can_hold(tokens)

        await eventually(free)

    async def close(self) -> None:
        await self._http.aclose()
