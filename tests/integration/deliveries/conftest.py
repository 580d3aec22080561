"""Receivers, and a database whose alerts they get."""

from collections.abc import AsyncIterator, Iterator

import pytest
from hook_alerts import Hooks
from hook_receiver import Receiver
from sqlalchemy.ext.asyncio import AsyncEngine


@pytest.fixture
async def hooks(engine: AsyncEngine, database_url: str) -> AsyncIterator[Hooks]:
    hooks = Hooks(engine, database_url)
    yield hooks
    await hooks.http.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def other() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver
