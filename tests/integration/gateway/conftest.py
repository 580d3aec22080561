"""Payg with its stages and HTTP tier, and a gateway before it, for all tests of this folder."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest
from billed import Account, Gateway, Platform, gateway, platform
from gate_api import Payer, serving
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import Postgres, RabbitMQ, Redis
from shared.db.engine import create_engine
from shared.domain.money import NANOS_PER_DOLLAR
from shared.operations.accounts import create_account
from shared.operations.audit import audit
from shared.operations.money import credit_account

# 400 MB that nothing else needs: `make litellm` installs it.
collect_ignore = [] if find_spec("litellm") else ["test_litellm.py"]


@pytest.fixture(scope="session")
def payg(postgres: Postgres, rabbitmq: RabbitMQ, servers_directory: Path) -> Iterator[Platform]:
    directory = servers_directory / "gateway"
    with Redis(directory / "redis") as server, platform(postgres, rabbitmq, server.url, directory) as running:
        yield running


@pytest.fixture(scope="session")
def payg_url(payg: Platform) -> Iterator[str]:
    with serving(payg.settings) as url:
        yield url


@pytest.fixture(scope="session")
def before_toy(payg: Platform, payg_url: str) -> Iterator[Gateway]:
    with gateway(payg_url, payg.service_key) as running:
        yield running


@pytest.fixture
async def books(payg: Platform) -> AsyncIterator[AsyncEngine]:
    """The database, audited in the end."""
    engine = create_engine(payg.settings.database_url)
    yield engine
    assert (await audit(engine)).ok
    await engine.dispose()


@pytest.fixture
async def account(books: AsyncEngine, payg: Platform, payg_url: str) -> AsyncIterator[Account]:
    """An account with $1."""
    account_id, key = await create_account(books)
    await credit_account(books, account_id, NANOS_PER_DOLLAR, "opening", timedelta(hours=1))
    payer = Payer(account_id, key.api_key_id, key.api_key)
    account = Account(books, payg_url, payg.service_key, payer)
    yield account
    await account.close()
