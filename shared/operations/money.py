"""Move money by hand: credits, and voids of what should not have been charged. Safe to ask for twice."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from msgspec.structs import replace
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import books, journal, periods
from shared.db.engine import database_time
from shared.domain.account import AccountState, CycleState, roll_over
from shared.domain.errors import NotFoundError, RefusedError
from shared.domain.ids import AccountId
from shared.domain.ledger import Transfer, TransferKind
from shared.domain.money import MAX_BALANCE_NANOS


async def credit_account(
    engine: AsyncEngine,
    account_id: str,
    amount_nanos: int,
    reason: str,
    grace: timedelta,
    idempotency_key: str | None = None,
) -> Mapping[str, Any]:
    """Add to a balance and return the transfer; the same idempotency key gives the same transfer.

    Raises NotFoundError for an unknown account, RefusedError for an amount out of range or a key that was
    used for something else.
    """
    if amount_nanos <= 0:
        raise RefusedError("a credit is positive")
    return await adjust_account(engine, account_id, amount_nanos, reason, grace, idempotency_key)


async def adjust_account(
    engine: AsyncEngine,
    account_id: str,
    amount_nanos: int,
    reason: str,
    grace: timedelta,
    idempotency_key: str | None = None,
) -> Mapping[str, Any]:
    """Credit an account, or with a negative amount take money off it; return the transfer, as a credit does.

    Raises what ``credit_account`` does.
    """
    kind = TransferKind.CREDIT if amount_nanos > 0 else TransferKind.ADJUSTMENT
    cause = f"{kind}: {reason}"
    while True:
        async with engine.begin() as connection:
            if idempotency_key and (
                made := await journal.find_transfer(connection, account_id, idempotency_key)
            ):
                return _same_or_refused(made, amount_nanos, cause)
            before, rolled, transfers = await read_account(connection, account_id, grace)
            if amount_nanos == 0 or abs(rolled.balance_nanos + amount_nanos) > MAX_BALANCE_NANOS:
                raise RefusedError("an amount is not zero, and keeps the balance within $4,000,000,000")
            now = await database_time(connection)
            after, transfer = rolled.post(kind, amount_nanos, cause, now)
            marks = {transfer.seq: {"idempotency_key": idempotency_key}} if idempotency_key else {}
            if await commit_transfers(connection, before, after, (*transfers, transfer), marks):
                return as_mapping(transfer)


async def void_usage(
    engine: AsyncEngine, account_id: str, event_id: str, reason: str, grace: timedelta
) -> Mapping[str, Any]:
    """Give back what a record took from balance and quota, once, and return the reversing transfer.

    Raises NotFoundError for an unknown record, RefusedError where it was voided before or is detached.
    """
    while True:
        async with engine.begin() as connection:
            if await journal.is_voided(connection, account_id, event_id):
                raise RefusedError(f"usage record {event_id} was voided before")
            row = await _record(connection, account_id, event_id)
            before, rolled, transfers = await read_account(connection, account_id, grace)
            restored = await _give_back(connection, rolled, row)
            now = await database_time(connection)
            after, transfer = restored.post(
                TransferKind.VOID,
                row["balance_nanos"],
                f"void {event_id}: {reason}",
                now,
                quota_amount_nanos=row["quota_nanos"],
            )
            marks = {transfer.seq: {"reverses_event_id": event_id}}
            if await commit_transfers(connection, before, after, (*transfers, transfer), marks):
                return as_mapping(transfer) | {"reverses_event_id": event_id}


def as_mapping(transfer: Transfer) -> dict[str, Any]:
    """Return a transfer as people see it."""
    return {name: getattr(transfer, name) for name in transfer.__struct_fields__}


async def read_account(
    connection: AsyncConnection, account_id: str, grace: timedelta
) -> tuple[AccountState, AccountState, tuple[Transfer, ...]]:
    """Return an account as it is, as it is after a roll-over that is due, and the transfers of that.

    Raises NotFoundError for an unknown account.
    """
    now = await database_time(connection)
    states = await books.load_accounts(connection, [AccountId(account_id)], now, grace)
    if not states:
        raise NotFoundError(f"there is no account {account_id}")
    before = states[AccountId(account_id)]
    return before, *roll_over(before, now, grace)


async def commit_transfers(
    connection: AsyncConnection,
    before: AccountState,
    after: AccountState,
    transfers: tuple[Transfer, ...],
    marks: Mapping[int, books.Marks],
) -> books.Moved:
    """Write the transfers with their marks, by number; the answer is false where the account changed."""
    moved = await books.move_versions(connection, [(before, after)])
    if not moved:
        return moved
    await books.insert_transfers(connection, [(after.account_id, transfer) for transfer in transfers], marks)
    return moved


async def _record(connection: AsyncConnection, account_id: str, event_id: str) -> RowMapping:
    row = await journal.find_usage(connection, AccountId(account_id), event_id)
    if row is not None:
        return row
    seq = await journal.find_debit(connection, account_id, event_id)
    period = None if seq is None else await periods.detached_period(connection, account_id, seq)
    if period is None:
        raise NotFoundError(f"account {account_id} has no usage record {event_id}")
    raise RefusedError(
        f"usage record {event_id} was debited in {period}, which is detached: "
        f"`payg usage attach {period}` brings it back, then void it"
    )


async def _give_back(connection: AsyncConnection, state: AccountState, row: RowMapping) -> AccountState:
    """Return the state with the record's share of its cycle restored, be the cycle open or closed."""
    if row["cycle_start"] is None:
        return state
    cycle = next((c for c in state.cycles if c.start == row["cycle_start"]), None)
    if cycle is not None:
        return state.with_cycle(_restored(cycle, row))
    closed = await books.load_cycle(connection, state.account_id, row["cycle_start"])
    return replace(state, cycles=(_restored(closed, row), *state.cycles)) if closed else state


def _restored(cycle: CycleState, row: RowMapping) -> CycleState:
    return replace(
        cycle,
        quota_remaining_nanos=cycle.quota_remaining_nanos + row["quota_nanos"],
        spent_nanos=cycle.spent_nanos - row["balance_nanos"],
    )


def _same_or_refused(made: RowMapping, amount_nanos: int, cause: str) -> Mapping[str, Any]:
    if made["amount_nanos"] != amount_nanos or made["cause"] != cause:
        raise RefusedError(f"idempotency key {made['idempotency_key']} was used for another credit")
    return {name: made[name] for name in Transfer.__struct_fields__}
