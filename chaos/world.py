"""Everything that runs in a campaign, servers and processes, each where a fault can get at it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from chaos.cluster import Balancer, RabbitCluster
from chaos.postgres_pair import PostgresPair
from sandbox.accounts import SeededAccount, seed_accounts
from sandbox.servers import Redis, free_port
from sandbox.servers.network import LOOPBACK
from sandbox.stripe import FakeStripe
from sandbox.supervisor import Supervisor, read_procfile
from shared.db.engine import create_engine
from shared.db.schema import migrate
from shared.domain.access import Scope
from shared.domain.money import NANOS_PER_DOLLAR
from shared.gateways.genai_prices import catalog
from shared.gateways.stripe_payments import configured_payments
from shared.messaging.connect import open_transport
from shared.operations.keys import create_platform_key
from shared.operations.payments.topups import set_auto_topup
from shared.operations.prices import import_models
from shared.settings import Settings

HOLD_LIFE_S = 30
_ACCOUNTS = 60
#: These top themselves up by little, and so often, beside those that do anyway.
_TOPPED_UP = ("payg", "team")
_TOPUP_NANOS = 5 * NANOS_PER_DOLLAR
_TOPUP_COOLDOWN_S = 10
_COPIES = {"intake": 2, "debit": 2, "clock": 2}


@dataclass(frozen=True)
class World:
    """The servers, the processes, and who may send what."""

    postgres: PostgresPair
    rabbitmq: RabbitCluster
    redis: Redis
    stripe: FakeStripe
    processes: Supervisor
    settings: Settings
    api_url: str
    service_key: str
    accounts: list[SeededAccount]

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[AsyncEngine]:
        """Yield fresh connections to the books: older ones may have broken."""
        engine = create_engine(self.settings.database_url, application="payg chaos")
        try:
            yield engine
        finally:
            await engine.dispose()


@asynccontextmanager
async def running_world(
    place: Path, procfile: Path, *, nodes: int, seed: int, small_disks: bool
) -> AsyncIterator[World]:
    """Start everything below ``place``, with accounts of every kind; it is all gone in the end."""
    async with AsyncExitStack() as stack:
        rabbitmq = stack.enter_context(RabbitCluster(place / "rabbitmq", nodes))
        postgres = stack.enter_context(PostgresPair(place, small_disks=small_disks))
        redis = stack.enter_context(Redis(place / "redis"))
        stripe = stack.enter_context(FakeStripe(place / "stripe"))
        balancer = await stack.enter_async_context(Balancer(rabbitmq.nodes))
        port = free_port()
        env = {
            "PAYG_DATABASE_URL": postgres.url,
            "PAYG_BROKER_URL": balancer.url,
            "PAYG_REDIS_URL": redis.url,
            "PAYG_STRIPE_API_KEY": "sk_test_chaos",  # pragma: allowlist secret
            "PAYG_STRIPE_API_BASE": stripe.url,
            "PAYG_API_PORT": str(port),
            "PAYG_HOLD_LIFE_S": str(HOLD_LIFE_S),
            "PAYG_GATE_FLOOR_USD": "0",
            "PAYG_TOPUP_COOLDOWN_S": str(_TOPUP_COOLDOWN_S),
        }
        settings = _as_settings(env)
        service_key, accounts = await _prepare(settings, seed)
        rabbitmq.save_declarations()
        processes = Supervisor(read_procfile(procfile), env, scale=_COPIES, logs=place / "logs")
        processes.start()
        stack.push_async_callback(asyncio.to_thread, processes.stop)  # they part from a balancer that runs
        yield World(
            postgres,
            rabbitmq,
            redis,
            stripe,
            processes,
            settings,
            f"http://{LOOPBACK}:{port}",
            service_key,
            accounts,
        )


def _as_settings(env: Mapping[str, str]) -> Settings:
    return Settings.model_validate({name.removeprefix("PAYG_").lower(): value for name, value in env.items()})


async def _prepare(settings: Settings, seed: int) -> tuple[str, list[SeededAccount]]:
    engine = create_engine(settings.database_url)
    await migrate(engine)
    await import_models(engine, "genai-prices", catalog())
    payments = configured_payments(settings)
    accounts = await seed_accounts(engine, settings, _ACCOUNTS, seed, payments)
    for account in accounts:
        if account.kind in _TOPPED_UP:
            await set_auto_topup(
                engine,
                payments,
                account.account_id,
                threshold_nanos=_TOPUP_NANOS,
                amount_nanos=_TOPUP_NANOS,
                payment_method="pm_card_visa",
            )
    key = await create_platform_key(engine, "gateway", Scope.SERVICE)
    await engine.dispose()
    # The queue exists before the first message: an exchange drops what it cannot route.
    async with open_transport(settings.broker_url):
        pass
    return key.api_key, list(accounts)
