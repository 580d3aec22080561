"""SQL of evaluations: which accounts are due, how far each was evaluated, and what that needs to read."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.tables import key_spend
from shared.domain.alerts import Entry, Limits, Told
from shared.domain.levels import Level


@dataclass(frozen=True, slots=True)
class EvaluatedAccount:
    """An account as an evaluation finds it. ``mark`` is the reason it was due, None where there was none."""

    account_id: str
    evaluated_seq: int
    seq: int
    balance_nanos: int
    told: Told
    limits: Limits
    mark: int | None


@dataclass(frozen=True, slots=True)
class KeyCharge:
    """What a key with a limit spent in a transfer, by the period of the record's time."""

    account_id: str
    transfer_seq: int
    api_key_id: str
    limit_nanos: int
    period_start: datetime
    charge_nanos: int


# Rows are locked in the order of their ids; until the end of the transaction an account is evaluated once.
_ENSURE = text("""
    INSERT INTO evaluations (account_id)
    SELECT a.account_id FROM accounts a WHERE a.account_id = ANY (CAST(:account_ids AS text[]))
    ORDER BY a.account_id
    ON CONFLICT DO NOTHING
""")
_LOCK = text("""
    SELECT account_id FROM evaluations WHERE account_id = ANY (CAST(:account_ids AS text[]))
    ORDER BY account_id FOR UPDATE
""")
# The mark is read before the account: a reason that comes later moves it, and is not taken away unseen.
_MARKS = text("""
    SELECT account_id, mark FROM due_evaluations WHERE account_id = ANY (CAST(:account_ids AS text[]))
""")
_ACCOUNTS = text("""
    SELECT e.*, a.seq, a.balance_nanos, a.fallback, a.spending_limit_nanos
    FROM evaluations e JOIN accounts a USING (account_id)
    WHERE a.account_id = ANY (CAST(:account_ids AS text[]))
    ORDER BY a.account_id
""")
_NEW_TRANSFERS = text("""
    SELECT t.account_id, t.seq, t.kind, t.balance_after_nanos, t.quota_amount_nanos, t.quota_after_nanos,
           t.cycle_spent_after_nanos, t.occurred_at
    FROM unnest(CAST(:account_ids AS text[]), CAST(:after AS bigint[]), CAST(:upto AS bigint[]))
         AS wanted (account_id, after_seq, upto_seq)
    JOIN transfers t ON t.account_id = wanted.account_id
         AND t.seq > wanted.after_seq AND t.seq <= wanted.upto_seq
    ORDER BY t.account_id, t.seq
""")
_KEY_CHARGES = text("""
    SELECT u.account_id, u.transfer_seq, u.api_key_id, k.limit_nanos,
           CASE k.limit_period WHEN 'day' THEN date_trunc('day', u.time, 'UTC')
                               WHEN 'month' THEN date_trunc('month', u.time, 'UTC')
                               ELSE CAST('1970-01-01T00:00:00Z' AS timestamptz) END AS period_start,
           CAST(sum(u.charge_nanos) AS bigint) AS charge_nanos
    FROM unnest(CAST(:account_ids AS text[]), CAST(:after AS bigint[]), CAST(:upto AS bigint[]))
         AS wanted (account_id, after_seq, upto_seq)
    JOIN api_keys k ON k.account_id = wanted.account_id AND k.limit_nanos IS NOT NULL
    JOIN usage_records u ON u.account_id = wanted.account_id AND u.api_key_id = k.api_key_id
         AND u.transfer_seq > wanted.after_seq AND u.transfer_seq <= wanted.upto_seq
    GROUP BY 1, 2, 3, 4, 5
    ORDER BY 1, 2, 3, 5
""")
_SAVE = text("""
    UPDATE evaluations e
    SET evaluated_seq = s.seq, told_level = s.level, told_quota = s.quota,
        told_spending_limit = s.spending_limit
    FROM unnest(CAST(:account_ids AS text[]), CAST(:seqs AS bigint[]), CAST(:levels AS text[]),
                CAST(:quotas AS boolean[]), CAST(:limits AS boolean[]))
         AS s (account_id, seq, level, quota, spending_limit)
    WHERE e.account_id = s.account_id
""")
_ADD_KEY_SPEND = text("""
    INSERT INTO key_spend (account_id, api_key_id, period_start, spent_nanos)
    SELECT * FROM unnest(CAST(:account_ids AS text[]), CAST(:keys AS text[]), CAST(:periods AS timestamptz[]),
                         CAST(:charges AS bigint[]))
    ON CONFLICT (account_id, api_key_id, period_start)
        DO UPDATE SET spent_nanos = key_spend.spent_nanos + excluded.spent_nanos
""")
_MARK_DUE = text("""
    INSERT INTO due_evaluations AS due (account_id, due_at, mark)
    SELECT account_id, clock_timestamp(), 1 FROM unnest(CAST(:account_ids AS text[])) AS a (account_id)
    ORDER BY account_id
    ON CONFLICT (account_id) DO UPDATE SET due_at = least(due.due_at, excluded.due_at), mark = due.mark + 1
""")
_DONE = text("""
    WITH seen AS MATERIALIZED (
        SELECT d.account_id
        FROM due_evaluations d
        JOIN unnest(CAST(:account_ids AS text[]), CAST(:marks AS bigint[])) AS s (account_id, mark)
             USING (account_id, mark)
        ORDER BY d.account_id
        FOR UPDATE OF d
    )
    DELETE FROM due_evaluations d USING seen WHERE d.account_id = seen.account_id
""")
_DUE_LATER = text("""
    INSERT INTO due_evaluations AS due (account_id, due_at, mark)
    SELECT account_id, due_at, 1
    FROM unnest(CAST(:account_ids AS text[]), CAST(:times AS timestamptz[])) AS l (account_id, due_at)
    ORDER BY account_id
    ON CONFLICT (account_id) DO NOTHING
""")
# Taking them moves their time, so that another clock does not take them too, and they come again if we die.
_TAKE_DUE = text("""
    UPDATE due_evaluations SET due_at = clock_timestamp() + CAST(:again_after AS interval)
    WHERE account_id IN (
        SELECT account_id FROM due_evaluations
        WHERE due_at < clock_timestamp() - CAST(:older_than AS interval)
        ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING account_id
""")


async def mark_due(connection: AsyncConnection, account_ids: Collection[str]) -> None:
    """Note that these accounts have something to evaluate, in the transaction that gave the reason."""
    if account_ids:
        await connection.execute(_MARK_DUE, {"account_ids": list(account_ids)})


async def lock_accounts(connection: AsyncConnection, account_ids: Collection[str]) -> list[EvaluatedAccount]:
    """Return the accounts that exist, each locked against other evaluations until the transaction ends."""
    ids = {"account_ids": sorted(account_ids)}
    await connection.execute(_ENSURE, ids)
    await connection.execute(_LOCK, ids)
    marks = {row.account_id: row.mark for row in await connection.execute(_MARKS, ids)}
    return [
        EvaluatedAccount(
            row["account_id"],
            row["evaluated_seq"],
            row["seq"],
            row["balance_nanos"],
            Told(Level(row["told_level"]), row["told_quota"], row["told_spending_limit"]),
            Limits(spending_limit_nanos=row["spending_limit_nanos"] if row["fallback"] else None),
            marks.get(row["account_id"]),
        )
        for row in (await connection.execute(_ACCOUNTS, ids)).mappings()
    ]


async def new_entries(
    connection: AsyncConnection, accounts: Sequence[EvaluatedAccount]
) -> Mapping[str, list[Entry]]:
    """Return the transfers that were not evaluated yet, by account and in order."""
    entries: dict[str, list[Entry]] = defaultdict(list)
    for account_id, *entry in await connection.execute(_NEW_TRANSFERS, _range(accounts)):
        entries[account_id].append(Entry(*entry))
    return entries


async def new_key_charges(
    connection: AsyncConnection, accounts: Sequence[EvaluatedAccount]
) -> list[tuple[KeyCharge, int]]:
    """Return what keys with limits spent in those transfers, each with its period's sum before."""
    charges = [KeyCharge(*row) for row in await connection.execute(_KEY_CHARGES, _range(accounts))]
    if not charges:
        return []
    ids = {charge.account_id for charge in charges}
    rows = await connection.execute(select(key_spend).where(key_spend.c.account_id.in_(ids)))
    spent = {(row.account_id, row.api_key_id, row.period_start): row.spent_nanos for row in rows}
    told: list[tuple[KeyCharge, int]] = []
    for charge in charges:
        period = (charge.account_id, charge.api_key_id, charge.period_start)
        told.append((charge, spent.get(period, 0)))
        spent[period] = spent.get(period, 0) + charge.charge_nanos
    return told


async def add_key_spend(connection: AsyncConnection, charges: Sequence[KeyCharge]) -> None:
    """Count what keys with limits spent."""
    sums: dict[tuple[str, str, datetime], int] = defaultdict(int)
    for charge in charges:
        sums[charge.account_id, charge.api_key_id, charge.period_start] += charge.charge_nanos
    if sums:
        periods = sorted(sums)
        await connection.execute(
            _ADD_KEY_SPEND,
            {
                "account_ids": [period[0] for period in periods],
                "keys": [period[1] for period in periods],
                "periods": [period[2] for period in periods],
                "charges": [sums[period] for period in periods],
            },
        )


async def save_evaluations(
    connection: AsyncConnection, evaluated: Sequence[tuple[EvaluatedAccount, Told]]
) -> None:
    """Store how far each account was evaluated and what it has been told."""
    changed = [(a, told) for a, told in evaluated if (a.evaluated_seq, a.told) != (a.seq, told)]
    if changed:
        await connection.execute(
            _SAVE,
            {
                "account_ids": [account.account_id for account, _ in changed],
                "seqs": [account.seq for account, _ in changed],
                "levels": [str(told.level) for _, told in changed],
                "quotas": [told.quota for _, told in changed],
                "limits": [told.spending_limit for _, told in changed],
            },
        )


async def settle_due(
    connection: AsyncConnection, accounts: Sequence[EvaluatedAccount], later: Mapping[str, datetime]
) -> None:
    """Take away the reasons that were seen; accounts in ``later`` are due again at that time."""
    seen = [account for account in accounts if account.mark is not None]
    await connection.execute(
        _DONE,
        {"account_ids": [a.account_id for a in seen], "marks": [a.mark for a in seen]},
    )
    if later:
        await connection.execute(
            _DUE_LATER, {"account_ids": list(later.keys()), "times": list(later.values())}
        )


async def take_due(
    connection: AsyncConnection, *, older_than_s: float, again_after_s: float, limit: int
) -> list[str]:
    """Return accounts that have been due for so long, and let them be due again somewhat later."""
    parameters: dict[str, Any] = {
        "older_than": timedelta(seconds=older_than_s),
        "again_after": timedelta(seconds=again_after_s),
        "limit": limit,
    }
    return list((await connection.execute(_TAKE_DUE, parameters)).scalars())


async def count_due(connection: AsyncConnection) -> int:
    """Return how many accounts are due now."""
    query = text("SELECT count(*) FROM due_evaluations WHERE due_at <= clock_timestamp()")
    return int((await connection.execute(query)).scalar_one())


def _range(accounts: Sequence[EvaluatedAccount]) -> dict[str, Any]:
    return {
        "account_ids": [account.account_id for account in accounts],
        "after": [account.evaluated_seq for account in accounts],
        "upto": [account.seq for account in accounts],
    }
