"""Post what a rerating shows as corrections: one transfer an account, once whatever how often it is asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import rerating as sql
from shared.db.engine import database_time
from shared.domain.errors import RefusedError
from shared.domain.ids import AccountId
from shared.domain.ledger import TransferKind
from shared.domain.money import MAX_BALANCE_NANOS
from shared.domain.rerate_posting import RerateKey, corrections_of
from shared.domain.rerating import RerateLine
from shared.operations.money import commit_transfers, read_account
from shared.operations.rerate import OtherPrices, rerate

#: Debits carry the time of their process's clock and commit a little later: by then all are in.
_SETTLED_AFTER = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class PostedCorrection:
    """A transfer that posts a rerating; ``posted_before`` where an earlier request had made it."""

    account_id: AccountId
    seq: int
    kind: TransferKind
    amount_nanos: int
    cause: str
    posted_before: bool = False


async def rerate_and_post(
    engine: AsyncEngine,
    account_ids: Sequence[str],
    start: datetime,
    end: datetime,
    prices: OtherPrices,
    reason: str,
    grace: timedelta,
) -> tuple[list[RerateLine], list[PostedCorrection]]:
    """Rerate, and credit or take from each account what its balance paid too much or too little.

    Raises what ``rerate`` does, and RefusedError, with nothing posted, where the span is not over, a record
    has no price, or an account has another rerating posted for some of the span. Each account is a
    transaction of its own: what was interrupted is finished by asking again.
    """
    async with engine.connect() as connection:
        if end > await database_time(connection) - _SETTLED_AFTER:
            raise RefusedError("only what is over can be posted: --to lies at least a minute ago")
    lines = await rerate(engine, account_ids, start, end, prices)
    if unpriced := sum(line.unpriced_records for line in lines):
        raise RefusedError(f"{unpriced} records have no price at these prices: nothing was posted")
    key, corrections = _key(start, end, prices), corrections_of(lines)
    async with engine.connect() as connection:
        for made in await sql.posted_rerates(connection, {line.account_id for line in lines}):
            _same_or_refused(made, key, corrections.get(made["account_id"], 0))
    cause = f"rerate from {key.start.isoformat()} to {key.end.isoformat()}: {reason}"
    return lines, [await _post(engine, *each, key, cause, grace) for each in corrections.items()]


def _key(start: datetime, end: datetime, prices: OtherPrices) -> RerateKey:
    listed = prices.listed and sorted(prices.listed, key=attrgetter("provider", "model"))
    return RerateKey.of(start, end, (prices.model, listed, prices.at))


async def _post(
    engine: AsyncEngine,
    account_id: AccountId,
    amount_nanos: int,
    key: RerateKey,
    cause: str,
    grace: timedelta,
) -> PostedCorrection:
    while True:
        async with engine.begin() as connection:
            # The account's version is read first: whoever posts after the look-up below moves it.
            before, rolled, transfers = await read_account(connection, account_id, grace)
            if made := await _made_before(connection, account_id, amount_nanos, key):
                return made
            if abs(rolled.balance_nanos + amount_nanos) > MAX_BALANCE_NANOS:
                raise RefusedError(f"the balance of {account_id} would leave the $4,000,000,000 it may have")
            now = await database_time(connection)
            kind = TransferKind.CREDIT if amount_nanos > 0 else TransferKind.ADJUSTMENT
            after, transfer = rolled.post(kind, amount_nanos, f"{kind}: {cause}", now)
            marks = {transfer.seq: {"idempotency_key": str(key)}}
            if await commit_transfers(connection, before, after, (*transfers, transfer), marks):
                return PostedCorrection(account_id, transfer.seq, kind, amount_nanos, transfer.cause)


async def _made_before(
    connection: AsyncConnection, account_id: AccountId, amount_nanos: int, key: RerateKey
) -> PostedCorrection | None:
    found = None
    for made in await sql.posted_rerates(connection, [account_id]):
        if _same_or_refused(made, key, amount_nanos):
            kind = TransferKind(made["kind"])
            found = PostedCorrection(
                account_id, made["seq"], kind, amount_nanos, made["cause"], posted_before=True
            )
    return found


def _same_or_refused(made: RowMapping, key: RerateKey, amount_nanos: int) -> bool:
    """Return whether a transfer posted this very rerating; raises RefusedError where it is in its way."""
    where = f"transfer {made['seq']} of {made['account_id']}"
    if made["idempotency_key"] == str(key):
        if made["amount_nanos"] != amount_nanos:
            raise RefusedError(f"{where} posted this rerating with another amount: correct it by hand")
        return True
    other = RerateKey.parse(made["idempotency_key"])
    if other and key.overlaps(other):
        raise RefusedError(f"{where} posted another rerating of some of that time: correct it by hand")
    return False
