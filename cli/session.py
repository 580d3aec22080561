"""What a command runs in: the settings, a database engine and, where it needs one, a transport."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import create_engine
from shared.messaging.connect import open_transport
from shared.messaging.transport import Transport
from shared.operations.holds import configured_holds
from shared.settings import load_settings

Result = TypeVar("Result")


def with_database(work: Callable[[AsyncEngine], Awaitable[Result]]) -> Result:
    """Run ``work`` with an engine and return what it returns."""

    async def run() -> Result:
        engine = create_engine(load_settings().database_url, application="payg cli")
        try:
            return await work(engine)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def with_account(account_id: str, work: Callable[[AsyncEngine], Awaitable[Result]]) -> Result:
    """Run ``work``, which changes an account, and tell the gate at once."""

    async def run(engine: AsyncEngine) -> Result:
        result = await work(engine)
        await tell_gate(engine, [account_id])
        return result

    return with_database(run)


async def tell_gate(engine: AsyncEngine, account_ids: Collection[str]) -> None:
    """Let the gate know at once that these accounts changed."""
    holds = configured_holds(engine, load_settings())
    await holds.refresh(account_ids)
    await holds.close()


def with_transport(work: Callable[[AsyncEngine, Transport], Awaitable[Result]]) -> Result:
    """Run ``work`` with an engine and a connection to the broker."""

    async def run(engine: AsyncEngine) -> Result:
        async with open_transport(load_settings().broker_url) as transport:
            return await work(engine, transport)

    return with_database(run)
