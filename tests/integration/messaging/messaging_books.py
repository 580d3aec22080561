"""Usage for the books of a test: one account, one price, events, and what became of them."""

from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.domain.pricing import TokenRates
from shared.messaging.publisher import usage_event
from shared.operations.accounts import create_account
from shared.operations.prices import set_price

MODEL = "model-of-the-test"


async def open_books(engine: AsyncEngine) -> str:
    """Set a price and open an account; return the account's id."""
    rates = TokenRates.inherit({"input": 10**9, "output": 2 * 10**9})
    await set_price(engine, None, MODEL, rates, None)
    account_id, _ = await create_account(engine)
    return account_id


def event(event_id: str, account_id: str = "acct_1", **data: Any) -> dict[str, Any]:
    """Return a good event; ``data`` goes over what is in it."""
    return usage_event(id=event_id, **{"model": MODEL, "account_id": account_id, "input_tokens": 100, **data})


def body(*events: object) -> bytes:
    """Return an event as a message body, several as an array."""
    return msgspec.json.encode(events[0] if len(events) == 1 else events)


async def debited(engine: AsyncEngine) -> set[str]:
    """Return the ids of all records in the books."""
    async with engine.connect() as connection:
        return set((await connection.execute(text("SELECT event_id FROM usage_records"))).scalars())


async def quarantined(engine: AsyncEngine) -> list[bytes]:
    """Return the raw bodies of all records that were parked."""
    async with engine.connect() as connection:
        return list((await connection.execute(text("SELECT raw FROM quarantine ORDER BY raw"))).scalars())
