"""SQL of the books: accounts with their cycles, transfers and usage. Set-based; whoever calls commits.

Accounts are guarded by their version. To debit: read the accounts first, then the ids the books already hold,
decide, and move the versions; a version that moved in between loses, and with it everything that was decided
for that account. Since inserting usage always moves the version, no id can slip in unseen.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Row, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db import tables
from shared.db.evaluations import mark_due
from shared.domain.account import AccountState, CycleState, PlanTerms
from shared.domain.debit import DebitedRecord
from shared.domain.ids import AccountId, EventId
from shared.domain.ledger import Transfer

_LOAD_ACCOUNTS = text("""
    SELECT a.account_id, a.version, a.seq, a.head_hash, a.balance_nanos, a.fallback, a.spending_limit_nanos,
           a.anchor, a.plan_id, p.quota_nanos, p.discount_ppm, p.time_zone, a.frozen, a.cycle_start
    FROM accounts a LEFT JOIN plans p USING (plan_id)
    WHERE a.account_id = ANY (CAST(:account_ids AS text[]))
""")

# The newest cycle comes along even when it is over: roll-over starts from it.
_LOAD_CYCLES = text("""
    SELECT c.account_id, c.cycle_start, c.cycle_end, c.plan_id, c.quota_nanos, c.discount_ppm,
           c.quota_remaining_nanos, c.spent_nanos
    FROM unnest(CAST(:account_ids AS text[]), CAST(:newest AS timestamptz[])) AS wanted (account_id, newest)
    JOIN cycles c USING (account_id)
    WHERE c.cycle_end > :open_until OR c.cycle_start = wanted.newest
    ORDER BY c.account_id, c.cycle_start
""")

_KNOWN_IDS = text("""
    SELECT u.account_id, u.event_id, u.fingerprint
    FROM unnest(CAST(:account_ids AS text[]), CAST(:event_ids AS text[])) AS wanted (account_id, event_id)
    JOIN usage_ids u USING (account_id, event_id)
""")

# Rows are locked in the order of their ids, so two batches can wait for each other but never deadlock. A row
# that is locked cannot move, so its place is a good way back to it.
_MOVE_VERSIONS = text("""
    WITH locked AS MATERIALIZED (
        SELECT a.ctid AS place, c.*
        FROM unnest(
            CAST(:account_ids AS text[]), CAST(:versions AS bigint[]), CAST(:seqs AS bigint[]),
            CAST(:head_hashes AS bytea[]), CAST(:balances AS bigint[]), CAST(:cycle_starts AS timestamptz[]),
            CAST(:cycle_ends AS timestamptz[])
        ) AS c (account_id, version, seq, head_hash, balance_nanos, cycle_start, cycle_end)
        JOIN accounts a USING (account_id)
        WHERE a.version = c.version
        ORDER BY a.account_id
        FOR NO KEY UPDATE OF a
    )
    UPDATE accounts a
    SET version = c.version + 1, seq = c.seq, head_hash = c.head_hash, balance_nanos = c.balance_nanos,
        cycle_start = c.cycle_start, cycle_end = c.cycle_end
    FROM locked c
    WHERE a.ctid = c.place AND a.version = c.version
    RETURNING a.account_id
""")

_SAVE_CYCLES = text("""
    INSERT INTO cycles (account_id, cycle_start, cycle_end, plan_id, quota_nanos, discount_ppm,
                        quota_remaining_nanos, spent_nanos)
    SELECT * FROM unnest(
        CAST(:account_ids AS text[]), CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]),
        CAST(:plan_ids AS text[]), CAST(:quotas AS bigint[]), CAST(:discounts AS integer[]),
        CAST(:remaining AS bigint[]), CAST(:spent AS bigint[]))
    ON CONFLICT (account_id, cycle_start) DO UPDATE
    SET quota_remaining_nanos = excluded.quota_remaining_nanos, spent_nanos = excluded.spent_nanos
""")

_TO_ROLL = text("""
    SELECT account_id FROM accounts
    WHERE plan_id IS NOT NULL AND cycle_end <= :now
    ORDER BY cycle_end LIMIT :limit
""")

_start = attrgetter("start")
_TRANSFER_COLUMNS = ("account_id", *Transfer.__struct_fields__)
#: What a transfer may carry beside what is hashed of it: who asked for it, and what it reverses.
Marks = Mapping[str, str | int]
NO_MARKS: Mapping[int, Marks] = MappingProxyType({})
_MARKS = ("idempotency_key", "reverses_event_id", "reverses_seq")
_USAGE_COLUMNS = tuple(column.name for column in tables.usage_records.columns)
_USAGE_ID_COLUMNS = tuple(column.name for column in tables.usage_ids.columns)


async def load_accounts(
    connection: AsyncConnection, account_ids: Collection[AccountId], now: datetime, grace: timedelta
) -> dict[AccountId, AccountState]:
    """Return the states of those accounts that exist, each with the cycles that still take records."""
    rows = (await connection.execute(_LOAD_ACCOUNTS, {"account_ids": list(account_ids)})).all()
    newest = {row[0]: row[-1] for row in rows if row[-1] is not None}
    cycles = await _load_cycles(connection, newest, now - grace) if newest else {}
    return {row[0]: _state(row, cycles.get(row[0], ())) for row in rows}


async def known_ids(
    connection: AsyncConnection, records: Iterable[tuple[AccountId, str]]
) -> dict[AccountId, dict[EventId, bytes]]:
    """Return, by account, which of these event ids the books hold, with the fingerprint of their content."""
    pairs = list(records)
    rows = await connection.execute(
        _KNOWN_IDS,
        {"account_ids": [account for account, _ in pairs], "event_ids": [event for _, event in pairs]},
    )
    known: dict[AccountId, dict[EventId, bytes]] = defaultdict(dict)
    for account_id, event_id, fingerprint in rows:
        known[account_id][event_id] = fingerprint
    return known


class Moved(NamedTuple):
    """The accounts whose version was still the one that was read, and the note that they are due."""

    account_ids: frozenset[AccountId]
    due_id: int | None

    def __bool__(self) -> bool:
        return bool(self.account_ids)


async def move_versions(
    connection: AsyncConnection, changes: Sequence[tuple[AccountState, AccountState]]
) -> Moved:
    """Write the new states of accounts whose version is still the one that was read.

    ``changes`` are pairs of the state read and the state decided. Cycles of the winners are written too, and
    since any change may alter a decision, the winners are due for evaluation.
    """
    if not changes:
        return Moved(frozenset(), None)
    newest = [_newest_cycle(before, after) for before, after in changes]
    rows = await connection.execute(
        _MOVE_VERSIONS,
        {
            "account_ids": [before.account_id for before, _ in changes],
            "versions": [before.version for before, _ in changes],
            "seqs": [after.seq for _, after in changes],
            "head_hashes": [after.head_hash for _, after in changes],
            "balances": [after.balance_nanos for _, after in changes],
            "cycle_starts": [cycle and cycle.start for cycle in newest],
            "cycle_ends": [cycle and cycle.end for cycle in newest],
        },
    )
    won: frozenset[AccountId] = frozenset(rows.scalars())
    await _save_cycles(connection, [change for change in changes if change[0].account_id in won])
    return Moved(won, await mark_due(connection, won))


async def insert_transfers(
    connection: AsyncConnection,
    transfers: Iterable[tuple[AccountId, Transfer]],
    marks: Mapping[int, Marks] = NO_MARKS,
) -> None:
    """Append transfers to the books; those of one account may have marks, by number."""
    rows = [(account_id, *msgspec.structs.astuple(transfer)) for account_id, transfer in transfers]
    if not marks:
        await _copy(connection, "transfers", _TRANSFER_COLUMNS, rows)
        return
    seq = _TRANSFER_COLUMNS.index("seq")
    marked = [(*row, *(marks.get(row[seq], {}).get(name) for name in _MARKS)) for row in rows]
    await _copy(connection, "transfers", (*_TRANSFER_COLUMNS, *_MARKS), marked)


async def insert_usage(connection: AsyncConnection, records: Sequence[DebitedRecord]) -> None:
    """Append debited records to the books, and claim their ids."""
    ids = [(r.row.account_id, r.row.event_id, r.row.transfer_seq, r.fingerprint) for r in records]
    rows = [(*r.row, r.digest, r.debited_at) for r in records]
    await _copy(connection, "usage_ids", _USAGE_ID_COLUMNS, ids)
    await _copy(connection, "usage_records", _USAGE_COLUMNS, rows)


async def load_cycle(
    connection: AsyncConnection, account_id: AccountId, cycle_start: datetime
) -> CycleState | None:
    """Return one cycle of an account, open or long closed."""
    cycles = tables.cycles
    query = select(cycles).where(cycles.c.account_id == account_id, cycles.c.cycle_start == cycle_start)
    row = (await connection.execute(query)).one_or_none()
    return CycleState(*row[1:]) if row else None


async def accounts_to_roll(connection: AsyncConnection, now: datetime, limit: int) -> list[AccountId]:
    """Return accounts with a plan whose newest cycle is over."""
    return list((await connection.execute(_TO_ROLL, {"now": now, "limit": limit})).scalars())


async def _load_cycles(
    connection: AsyncConnection, newest: Mapping[AccountId, datetime], open_until: datetime
) -> Mapping[AccountId, tuple[CycleState, ...]]:
    values = {"account_ids": list(newest), "newest": list(newest.values()), "open_until": open_until}
    cycles: dict[AccountId, tuple[CycleState, ...]] = defaultdict(tuple)
    for account_id, *cycle in await connection.execute(_LOAD_CYCLES, values):
        cycles[account_id] += (CycleState(*cycle),)
    return cycles


async def _save_cycles(
    connection: AsyncConnection, changes: Iterable[tuple[AccountState, AccountState]]
) -> None:
    changed = [
        (after.account_id, cycle)
        for before, after in changes
        for cycle in after.cycles
        if cycle not in before.cycles
    ]
    if not changed:
        return
    await connection.execute(
        _SAVE_CYCLES,
        {
            "account_ids": [account_id for account_id, _ in changed],
            "starts": [cycle.start for _, cycle in changed],
            "ends": [cycle.end for _, cycle in changed],
            "plan_ids": [cycle.plan_id for _, cycle in changed],
            "quotas": [cycle.quota_nanos for _, cycle in changed],
            "discounts": [cycle.discount_ppm for _, cycle in changed],
            "remaining": [cycle.quota_remaining_nanos for _, cycle in changed],
            "spent": [cycle.spent_nanos for _, cycle in changed],
        },
    )


async def _copy(
    connection: AsyncConnection, table: str, columns: Sequence[str], records: list[tuple[Any, ...]]
) -> None:
    """Append rows with COPY, inside the transaction of ``connection``: the fastest way into a table."""
    driver = (await connection.get_raw_connection()).driver_connection
    if driver is None:
        raise RuntimeError("the connection to PostgreSQL is closed")
    await driver.copy_records_to_table(table, columns=columns, records=records)


def _newest_cycle(before: AccountState, after: AccountState) -> CycleState | None:
    """Return the newest cycle: it stays known when it has been over for long."""
    cycles = before.cycles + after.cycles
    return max(cycles, key=_start) if cycles else None


def _state(row: Row[*tuple[Any, ...]], cycles: tuple[CycleState, ...]) -> AccountState:
    account_id, version, seq, head_hash, balance, fallback, limit, anchor, plan_id, *terms, frozen, _ = row
    plan = None if plan_id is None else PlanTerms(plan_id, *terms)
    return AccountState(
        account_id, version, seq, head_hash, balance, fallback, limit, anchor, plan, cycles, frozen
    )
