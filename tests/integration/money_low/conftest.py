"""One stand-in for Stripe for all tests here; each test has a database and an account there of its own."""

from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest
from alert_events import check_alerts
from charged_money import ChargedMoney
from low_money import LowMoney
from low_processes import Processes, started
from low_webhooks import Webhooks, api_settings, serving
from sqlalchemy.ext.asyncio import AsyncEngine
from webhook_receiver import SECRET

from sandbox.servers import Postgres, RabbitMQ
from sandbox.stripe import FakeStripe
from sandbox.stripe.controls import Controls

_numbers = count()


@pytest.fixture(scope="session")
def low_stripe(servers_directory: Path) -> Iterator[FakeStripe]:
    with FakeStripe(servers_directory / "low_stripe") as server:
        yield server


@pytest.fixture
def low_controls(low_stripe: FakeStripe) -> Iterator[Controls]:
    with Controls(low_stripe.url) as controls:
        yield controls
        controls.clear_faults()
        controls.reset_clock()


@pytest.fixture
async def money(
    engine: AsyncEngine, database_url: str, low_stripe: FakeStripe, low_controls: Controls
) -> AsyncIterator[LowMoney]:
    """What it tells is what consumers were told that it tells."""
    key = f"sk_test_low_{next(_numbers)}"
    yield LowMoney(engine, database_url, low_controls, low_stripe.url, key)
    await check_alerts(engine)


@pytest.fixture
def charged(money: LowMoney) -> ChargedMoney:
    return ChargedMoney(money)


@pytest.fixture
def webhooks(money: LowMoney) -> Iterator[Webhooks]:
    """The HTTP tier, to which the test's account at Stripe sends its events."""
    with serving(api_settings(money)) as url:
        endpoint = money.controls.add_webhook(url, SECRET, api_key=money.stripe_key)
        yield Webhooks(money, url, endpoint)
        money.controls.remove_webhook(endpoint)


@pytest.fixture(scope="module")
def processes(
    postgres: Postgres, rabbitmq: RabbitMQ, low_stripe: FakeStripe, servers_directory: Path
) -> Iterator[Processes]:
    """The real processes of every stage and two clocks, on a database and a virtual host of their own."""
    with started(postgres, rabbitmq, low_stripe, servers_directory / "low_logs") as processes:
        yield processes
