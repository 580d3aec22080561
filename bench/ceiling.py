"""The ceiling: the same rows into the same tables, set-based, with nothing of the pipeline around it.

No queue, no decoding, no decision, no hash: the values of every statement lie ready before the clock starts.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import asyncpg
import msgspec

from bench.debit_stage import GRACE, price
from bench.rig import Rig, connected
from bench.traffic import Traffic
from shared.clock import utc_now
from shared.db import books, tables
from shared.domain.debit import Debit, debit
from shared.domain.ledger import Transfer
from shared.domain.usage import PricedUsage
from workers.debit import by_account

BATCH = 2_000

_MOVE = """
    UPDATE accounts a SET version = c.version + 1, seq = c.seq, head_hash = c.hash, balance_nanos = c.balance
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bigint[])
         AS c (account_id, version, seq, hash, balance)
    WHERE a.account_id = c.account_id AND a.version = c.version
"""
_COLUMNS = {
    "usage_ids": [column.name for column in tables.usage_ids.columns],
    "usage_records": [column.name for column in tables.usage_records.columns],
    "transfers": ["account_id", *Transfer.__struct_fields__],
}


@dataclass(frozen=True, slots=True)
class _Batch:
    moved: list[list[Any]]
    rows: dict[str, list[tuple[Any, ...]]]


def ceiling(rig: Rig, *, accounts: int, records: int, connections: int) -> float:
    """Return how many records a second the bare statements write, on so many connections at once.

    The accounts are shared out among the connections by their debit queues, so that none waits for another.
    """
    url = rig.database(accounts)
    rate = asyncio.run(_measure(url, Traffic(accounts).events(records), records, connections))
    rig.drop(url)
    return rate


async def _measure(url: str, events: Sequence[bytes], records: int, connections_at_once: int) -> float:
    shares: list[list[PricedUsage]] = [[] for _ in range(connections_at_once)]
    for number, priced in enumerate((await price(url, events)).values()):
        shares[number % connections_at_once] += priced
    lanes = [await _prepare(url, priced) for priced in shares]
    connections = [await asyncpg.connect(url) for _ in lanes]
    started = monotonic()
    await asyncio.gather(*map(_write, connections, lanes))
    seconds = monotonic() - started
    for connection in connections:
        await connection.close()
    return records / seconds


async def _write(connection: "asyncpg.Connection", batches: Sequence[_Batch]) -> None:
    for batch in batches:
        async with connection.transaction():
            await connection.execute(_MOVE, *batch.moved)
            for table, rows in batch.rows.items():
                await connection.copy_records_to_table(table, columns=_COLUMNS[table], records=rows)


async def _prepare(url: str, priced: Sequence[PricedUsage]) -> list[_Batch]:
    """Decide everything in memory, batch upon batch, as the debit stage would."""
    now = utc_now()
    accounts = {usage.account_id for usage in priced}
    async with connected(url) as engine, engine.connect() as connection:
        states = await books.load_accounts(connection, accounts, now, GRACE)
    batches = []
    for start in range(0, len(priced), BATCH):
        decisions = [
            debit(states[account_id], records, {}, now, GRACE)
            for account_id, records in sorted(by_account(priced[start : start + BATCH]).items())
        ]
        batches.append(_as_values(decisions))
        for decision in decisions:
            after = msgspec.structs.replace(decision.after, version=decision.before.version + 1)
            states[after.account_id] = after
    return batches


def _as_values(decisions: Sequence[Debit]) -> _Batch:
    records = [record for decision in decisions for record in decision.records]
    moved: list[list[Any]] = [
        [d.before.account_id for d in decisions],
        [d.before.version for d in decisions],
        [d.after.seq for d in decisions],
        [d.after.head_hash for d in decisions],
        [d.after.balance_nanos for d in decisions],
    ]
    rows: dict[str, list[tuple[Any, ...]]] = {
        "usage_ids": [(r.row.account_id, r.row.event_id, r.row.transfer_seq, r.fingerprint) for r in records],
        "usage_records": [(*r.row, r.digest, r.debited_at) for r in records],
        "transfers": [
            (d.after.account_id, *msgspec.structs.astuple(transfer))
            for d in decisions
            for transfer in d.transfers
        ],
    }
    return _Batch(moved, rows)
