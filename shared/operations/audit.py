"""Prove the books on one snapshot, or name the first row that is wrong."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import audit as sql
from shared.db.engine import snapshot
from shared.db.prices import rate_tiers
from shared.domain.audit import AccountAudit, Fault, StoredAccount, StoredUsage
from shared.domain.ids import AccountId
from shared.domain.ledger import Transfer

Item = TypeVar("Item")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The outcome: how much was checked, and the first fault if there is one."""

    accounts: int
    transfers: int
    usage_records: int
    fault: Fault | None

    @property
    def ok(self) -> bool:
        return self.fault is None


async def audit(engine: AsyncEngine, progress: Progress = lambda _done, _of: None) -> AuditReport:
    """Check every account; ``progress`` is told accounts done and accounts in all."""
    async with snapshot(engine) as connection:
        counts = await sql.count_books(connection)
        rates, cycles = await rate_tiers(connection), await sql.load_cycles(connection)
        voids, topups = await sql.load_voids(connection), await sql.load_topups(connection)
        transfers = _Ahead(sql.stream_transfers(connection))
        usage = _Ahead(sql.stream_usage(connection))
        done = 0
        try:
            async for account in sql.stream_accounts(connection):
                checks = AccountAudit(account, rates, voids.get(account.account_id, ()))
                await _check_account(account, checks, transfers, usage)
                checks.check_end(cycles.get(account.account_id, ()), topups.get(account.account_id, ()))
                done += 1
                progress(done, counts[0])
            await _check_nothing_left(transfers, usage)
        except Fault as fault:
            return AuditReport(*counts, fault)
    return AuditReport(*counts, None)


class _Ahead(Generic[Item]):
    """A stream whose next item can be looked at before it is taken."""

    def __init__(self, items: AsyncIterator[Item]) -> None:
        self._items = items
        self._next: Item | None = None

    async def peek(self) -> Item | None:
        if self._next is None:
            self._next = await anext(self._items, None)
        return self._next

    def take(self) -> None:
        self._next = None


async def _check_account(
    account: StoredAccount,
    checks: AccountAudit,
    transfers: "_Ahead[tuple[AccountId, Transfer]]",
    usage: "_Ahead[StoredUsage]",
) -> None:
    while (item := await transfers.peek()) and item[0] == account.account_id:
        checks.check_transfer(item[1], await _usage_of(usage, account.account_id, item[1].seq))
        transfers.take()
    stray = await usage.peek()
    if stray and stray.row.account_id <= account.account_id:
        raise _stray(stray)


async def _usage_of(usage: "_Ahead[StoredUsage]", account_id: AccountId, seq: int) -> list[StoredUsage]:
    rows = []
    while (stored := await usage.peek()) and (stored.row.account_id, stored.row.transfer_seq) <= (
        account_id,
        seq,
    ):
        if (stored.row.account_id, stored.row.transfer_seq) != (account_id, seq):
            raise _stray(stored)
        rows.append(stored)
        usage.take()
    return rows


async def _check_nothing_left(
    transfers: "_Ahead[tuple[AccountId, Transfer]]", usage: "_Ahead[StoredUsage]"
) -> None:
    if item := await transfers.peek():
        raise Fault("transfers", f"{item[0]}/{item[1].seq}", "belongs to no account")
    if stored := await usage.peek():
        raise _stray(stored)


def _stray(stored: StoredUsage) -> Fault:
    key = f"{stored.row.account_id}/{stored.row.event_id}"
    return Fault(
        "usage_records", key, f"belongs to no transfer: there is no number {stored.row.transfer_seq}"
    )
