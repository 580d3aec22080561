"""Accounts that are told something, and the HTTP tier in front of them."""

from collections.abc import Iterator

import pytest
from alert_books import Told
from gate_api import serving
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.settings import Settings


@pytest.fixture
async def told(engine: AsyncEngine) -> Told:
    return await Told.create(engine, "Acme")


@pytest.fixture
def events_url(database_url: str) -> Iterator[str]:
    """The HTTP tier; nothing here needs a broker."""
    with serving(Settings(database_url=database_url, broker_url="amqp://nobody", rate_limit_per_s=0)) as url:
        yield url
