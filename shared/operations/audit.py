"""Prove the books on one snapshot, or name the first row that is wrong."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import audit as sql
from shared.db import operations_view, periods
from shared.db.engine import snapshot
from shared.db.prices import rate_tiers
from shared.domain.audit import AccountAudit, Fault, StoredAccount, StoredUsage
from shared.domain.ids import AccountId
from shared.domain.ledger import Transfer, TransferKind
from shared.domain.payment_audit import PaymentAudit, StoredPayments
from shared.domain.periods import Period, PeriodProof, PeriodSum

Item = TypeVar("Item")
Progress = Callable[[int, int], None]

_READ_ONLY = "25006"


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The outcome: how much was checked, and the first fault if there is one.

    ``proofs`` has, for sound books, what the usage rows of each attached month come to.
    """

    accounts: int
    transfers: int
    usage_records: int
    detached_periods: int
    fault: Fault | None
    proofs: Mapping[Period, PeriodProof] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.fault is None


async def audit(engine: AsyncEngine, progress: Progress = lambda _done, _of: None) -> AuditReport:
    """Check every account; ``progress`` is told accounts done and accounts in all."""
    async with snapshot(engine) as connection:
        counts = await sql.count_books(connection)
        away = await periods.recorded(connection)
        try:
            proofs = await _check_books(connection, away, lambda done: progress(done, counts[0]))
        except Fault as fault:
            return AuditReport(*counts, len(away), fault)
    return AuditReport(*counts, len(away), None, proofs)


async def note_audit(engine: AsyncEngine, report: AuditReport) -> bool:
    """Note that the books were audited and what was found; return False on a read-only copy of them."""
    counts = (report.accounts, report.transfers, report.usage_records)
    try:
        async with engine.begin() as connection:
            await operations_view.note_audit(connection, counts, str(report.fault) if report.fault else None)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _READ_ONLY:
            raise
        return False
    return True


async def _check_books(
    connection: AsyncConnection, away: Mapping[Period, periods.Recorded], progress: Callable[[int], None]
) -> dict[Period, PeriodProof]:
    rates, cycles = await rate_tiers(connection), await sql.load_cycles(connection)
    voids, payments = await sql.load_voids(connection), await sql.load_payments(connection)
    carried = await sql.load_carried(connection)
    walk = _Walk(
        _Ahead(sql.stream_transfers(connection)), _Ahead(sql.stream_usage(connection)), frozenset(away)
    )
    done = 0
    async for account in sql.stream_accounts(connection):
        account_id = account.account_id
        checks = AccountAudit(account, rates, voids.get(account_id, ()), carried.get(account_id, ()))
        paid = PaymentAudit(account_id)
        await walk.check_account(account, checks, paid)
        checks.check_end(cycles.get(account_id, ()))
        paid.check_end(payments.get(account_id, StoredPayments()))
        done += 1
        progress(done)
    await walk.check_nothing_left()
    return await _check_periods(connection, away, walk.sums)


async def _check_periods(
    connection: AsyncConnection, away: Mapping[Period, periods.Recorded], sums: Mapping[Period, PeriodSum]
) -> dict[Period, PeriodProof]:
    """Check what was noted of detached months: their transfers prove the rows, the ids their number."""
    ids = await sql.count_ids(connection, away.keys()) if away else {}
    for period, noted in away.items():
        if sums.get(period, PeriodSum()).proof.digest != noted.proof.digest:
            raise Fault("usage_periods", str(period), "its digest is not that of its transfers")
        if ids.get(period, 0) != noted.proof.rows:
            what = f"it says {noted.proof.rows} rows, usage_ids has {ids.get(period, 0)} of them"
            raise Fault("usage_periods", str(period), what)
    return {period: summed.proof for period, summed in sums.items() if period not in away}


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


class _Walk:
    """Transfers and usage rows side by side, in order of account and number."""

    def __init__(
        self,
        transfers: "_Ahead[tuple[AccountId, Transfer, int | None]]",
        usage: "_Ahead[StoredUsage]",
        away: frozenset[Period],
    ) -> None:
        self._transfers = transfers
        self._usage = usage
        self._away = away
        self.sums: dict[Period, PeriodSum] = defaultdict(PeriodSum)

    async def check_account(self, account: StoredAccount, checks: AccountAudit, paid: PaymentAudit) -> None:
        while (item := await self._transfers.peek()) and item[0] == account.account_id:
            _, transfer, reverses_seq = item
            usage = await self._usage_of(account.account_id, transfer.seq)
            period = Period.of(transfer.occurred_at)
            checks.check_transfer(transfer, usage, detached=period in self._away)
            paid.check_transfer(transfer, reverses_seq)
            if transfer.kind == TransferKind.USAGE:
                self.sums[period].add(transfer.rows_digest or b"", len(usage))
            self._transfers.take()
        stray = await self._usage.peek()
        if stray and stray.row.account_id <= account.account_id:
            raise _stray(stray)

    async def check_nothing_left(self) -> None:
        if item := await self._transfers.peek():
            raise Fault("transfers", f"{item[0]}/{item[1].seq}", "belongs to no account")
        if stored := await self._usage.peek():
            raise _stray(stored)

    async def _usage_of(self, account_id: AccountId, seq: int) -> list[StoredUsage]:
        rows = []
        while (stored := await self._usage.peek()) and (stored.row.account_id, stored.row.transfer_seq) <= (
            account_id,
            seq,
        ):
            if (stored.row.account_id, stored.row.transfer_seq) != (account_id, seq):
                raise _stray(stored)
            rows.append(stored)
            self._usage.take()
        return rows


def _stray(stored: StoredUsage) -> Fault:
    key = f"{stored.row.account_id}/{stored.row.event_id}"
    return Fault(
        "usage_records", key, f"belongs to no transfer: there is no number {stored.row.transfer_seq}"
    )
