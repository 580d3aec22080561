"""The console over HTTP, with a stand-in for Stripe and the embedded broker."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from console_scene import ADMIN_KEY, Scene, small_scene
from gate_api import serving
from low_money import LowMoney
from low_webhooks import api_settings
from mail_server import MailServer
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.stripe import FakeStripe
from sandbox.stripe.controls import Controls

_numbers = count()


@pytest.fixture(scope="session")
def console_stripe(servers_directory: Path) -> Iterator[FakeStripe]:
    with FakeStripe(servers_directory / "console_stripe") as server:
        yield server


@pytest.fixture
def money(engine: AsyncEngine, database_url: str, console_stripe: FakeStripe) -> Iterator[LowMoney]:
    with Controls(console_stripe.url) as controls:
        key = f"sk_test_console_{next(_numbers)}"
        yield LowMoney(engine, database_url, controls, console_stripe.url, key)


@pytest.fixture
def console_url(money: LowMoney, redis_url: str) -> Iterator[str]:
    """The HTTP tier with the console; Redis is the gate's and the broker."""
    more = {"broker_url": redis_url, "admin_key": ADMIN_KEY, "rate_limit_per_s": 0}
    with serving(api_settings(money, **more)) as url:
        yield url


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture
def mailed_url(money: LowMoney, redis_url: str, mail_server: MailServer) -> Iterator[str]:
    """The console of a server that sends mail."""
    more = {"broker_url": redis_url, "admin_key": ADMIN_KEY, "rate_limit_per_s": 0}
    mail = {"smtp_url": mail_server.url, "mail_from": "Acme Billing <billing@payg.test>"}
    with serving(api_settings(money, **more, **mail)) as url:
        yield url


@pytest.fixture
async def scene(money: LowMoney) -> Scene:
    return await small_scene(money)
