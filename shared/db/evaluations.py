"""SQL of evaluations: which accounts are due, how far each was evaluated, and what that needs to read."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Row, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.alert_settings import load_rules, own_bounds, save_memories
from shared.db.tables import key_spend
from shared.domain.alert_rules import Rule, RuleKind, RuleMemory, Watched
from shared.domain.alerts import Entry, Limits, Told
from shared.domain.levels import DEFAULT_BOUNDS, Level
from shared.domain.pace import pack, unpack


@dataclass(frozen=True, slots=True)
class EvaluatedAccount:
    """An account as an evaluation finds it."""

    account_id: str
    evaluated_seq: int
    version: int
    seq: int
    balance_nanos: int
    told: Told
    limits: Limits
    look_again_at: datetime | None


class Evaluation(NamedTuple):
    """What an evaluation leaves behind: what the account has been told, and when it is worth another look."""

    account: EvaluatedAccount
    told: Told
    look_again_at: datetime | None


@dataclass(frozen=True, slots=True)
class KeyCharge:
    """What a key with a limit spent in a transfer, by the period of the record's time."""

    account_id: str
    transfer_seq: int
    api_key_id: str
    limit_nanos: int
    period_start: datetime
    charge_nanos: int


# An evaluation that is undone puts them back; a second one that comes meanwhile waits, and finds them gone.
_TAKE_DUE = text("""
    DELETE FROM due_evaluations WHERE due_id = ANY (CAST(:due_ids AS bigint[])) RETURNING account_ids
""")
# Rows are locked in the order of their ids; until the end of the transaction an account is evaluated once.
_LOCK = text("""
    SELECT account_id FROM evaluations WHERE account_id = ANY (CAST(:account_ids AS text[]))
    ORDER BY account_id FOR UPDATE
""")
_BEGIN = text("""
    INSERT INTO evaluations (account_id)
    SELECT a.account_id FROM accounts a WHERE a.account_id = ANY (CAST(:account_ids AS text[]))
    ORDER BY a.account_id
    ON CONFLICT DO NOTHING
""")
# Read after the lock: whoever held it before may have evaluated what is newer than our first look.
_ACCOUNTS = text("""
    SELECT e.account_id, e.evaluated_seq, a.version, a.seq, a.balance_nanos,
           e.told_level, e.told_quota, e.told_spending_limit,
           CASE WHEN a.fallback THEN a.spending_limit_nanos END, e.look_again_at, e.pace,
           s.account_id IS NOT NULL AS has_settings, s.low_nanos, s.warning_nanos, s.critical_nanos
    FROM evaluations e JOIN accounts a USING (account_id) LEFT JOIN alert_settings s USING (account_id)
    WHERE a.account_id = ANY (CAST(:account_ids AS text[]))
    ORDER BY a.account_id
""")
_NEW_TRANSFERS = text("""
    SELECT t.account_id, t.seq, t.kind, t.balance_after_nanos, t.quota_amount_nanos, t.quota_after_nanos,
           t.cycle_spent_after_nanos, t.occurred_at, t.amount_nanos,
           CASE WHEN wanted.asks_for_quota THEN coalesce((
               SELECT c.quota_nanos FROM cycles c
               WHERE c.account_id = t.account_id
                 AND c.cycle_start <= t.occurred_at AND t.occurred_at < c.cycle_end), 0)
           ELSE 0 END
    FROM unnest(CAST(:account_ids AS text[]), CAST(:after AS bigint[]), CAST(:upto AS bigint[]),
                CAST(:asking AS boolean[]))
         AS wanted (account_id, after_seq, upto_seq, asks_for_quota)
    JOIN transfers t ON t.account_id = wanted.account_id
         AND t.seq > wanted.after_seq AND t.seq <= wanted.upto_seq
    ORDER BY t.account_id, t.seq
""")
_PERIOD = """CASE k.limit_period WHEN 'day' THEN date_trunc('day', u.time, 'UTC')
                               WHEN 'month' THEN date_trunc('month', u.time, 'UTC')
                               ELSE CAST('1970-01-01T00:00:00Z' AS timestamptz) END"""
# The bounds say nothing that the numbers do not say; with them, months that cannot matter are not touched.
_KEY_CHARGES = text(f"""
    SELECT u.account_id, u.transfer_seq, u.api_key_id, k.limit_nanos,
           {_PERIOD} AS period_start,
           CAST(sum(u.charge_nanos) AS bigint) AS charge_nanos
    FROM unnest(CAST(:account_ids AS text[]), CAST(:after AS bigint[]), CAST(:upto AS bigint[]))
         AS wanted (account_id, after_seq, upto_seq)
    JOIN api_keys k ON k.account_id = wanted.account_id AND k.limit_nanos IS NOT NULL
    JOIN usage_records u ON u.account_id = wanted.account_id AND u.api_key_id = k.api_key_id
         AND u.transfer_seq > wanted.after_seq AND u.transfer_seq <= wanted.upto_seq
         AND u.debited_at BETWEEN CAST(:first AS timestamptz) AND CAST(:last AS timestamptz)
    GROUP BY 1, 2, 3, 4, 5
    ORDER BY 1, 2, 3, 5
""")  # noqa: S608 - words of ours
_SAVE = text("""
    UPDATE evaluations e
    SET evaluated_seq = s.seq, told_level = s.level, told_quota = s.quota,
        told_spending_limit = s.spending_limit, look_again_at = s.look_again_at, pace = s.pace
    FROM unnest(CAST(:account_ids AS text[]), CAST(:seqs AS bigint[]), CAST(:levels AS text[]),
                CAST(:quotas AS boolean[]), CAST(:limits AS boolean[]), CAST(:looks AS timestamptz[]),
                CAST(:paces AS bytea[]))
         AS s (account_id, seq, level, quota, spending_limit, look_again_at, pace)
    WHERE e.account_id = s.account_id
""")
_ADD_KEY_SPEND = text("""
    INSERT INTO key_spend (account_id, api_key_id, period_start, spent_nanos)
    SELECT * FROM unnest(CAST(:account_ids AS text[]), CAST(:keys AS text[]), CAST(:periods AS timestamptz[]),
                         CAST(:charges AS bigint[]))
    ON CONFLICT (account_id, api_key_id, period_start)
        DO UPDATE SET spent_nanos = key_spend.spent_nanos + excluded.spent_nanos
""")
_FORGET_KEY_SPEND = text("DELETE FROM key_spend WHERE account_id = :account_id AND period_start >= :since")
_SUM_KEY_SPEND = text(f"""
    INSERT INTO key_spend (account_id, api_key_id, period_start, spent_nanos)
    SELECT account_id, api_key_id, period_start, sum(charge_nanos) FROM (
        SELECT u.account_id, u.api_key_id, {_PERIOD} AS period_start, u.charge_nanos
        FROM evaluations e
        JOIN api_keys k ON k.account_id = e.account_id AND k.limit_nanos IS NOT NULL
        JOIN usage_records u ON u.account_id = e.account_id AND u.api_key_id = k.api_key_id
             AND u.transfer_seq <= e.evaluated_seq
        WHERE e.account_id = :account_id
    ) AS spent
    WHERE period_start >= :since
    GROUP BY 1, 2, 3
""")  # noqa: S608 - words of ours
_MARK_DUE = text("""
    INSERT INTO due_evaluations (account_ids) VALUES (CAST(:account_ids AS text[])) RETURNING due_id
""")
_WAKE = text("""
    WITH woken AS (
        UPDATE evaluations SET look_again_at = NULL
        WHERE account_id IN (
            SELECT account_id FROM evaluations WHERE look_again_at <= clock_timestamp()
            ORDER BY look_again_at LIMIT :limit FOR UPDATE SKIP LOCKED)
        RETURNING account_id
    )
    INSERT INTO due_evaluations (account_ids) SELECT array_agg(account_id) FROM woken HAVING count(*) > 0
    RETURNING due_id
""")
# Taking them moves their time, so that another clock does not take them too, and they come again if we die.
_OVERDUE = text("""
    UPDATE due_evaluations SET due_at = clock_timestamp() + CAST(:again_after AS interval)
    WHERE due_id IN (
        SELECT due_id FROM due_evaluations
        WHERE due_at < clock_timestamp() - CAST(:older_than AS interval)
        ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING due_id
""")
_COUNT_DUE = text("""
    SELECT (SELECT count(*) FROM due_evaluations)
         + (SELECT count(*) FROM evaluations WHERE look_again_at <= clock_timestamp())
""")


async def mark_due(connection: AsyncConnection, account_ids: Collection[str]) -> int | None:
    """Note that these accounts have something to evaluate, in the transaction that gave the reason.

    Return the id of the note, None for no accounts.
    """
    if not account_ids:
        return None
    rows = await connection.execute(_MARK_DUE, {"account_ids": list(account_ids)})
    due_id: int = rows.scalar_one()
    return due_id


async def take_due(connection: AsyncConnection, due_ids: Collection[int]) -> set[str]:
    """Take notes away that are still there, with the evaluation that follows; return the accounts in them."""
    rows = await connection.execute(_TAKE_DUE, {"due_ids": list(due_ids)})
    return {account_id for account_ids in rows.scalars() for account_id in account_ids}


async def lock_accounts(connection: AsyncConnection, account_ids: Collection[str]) -> list[EvaluatedAccount]:
    """Return the accounts that exist, each locked against other evaluations until the transaction ends."""
    ids = {"account_ids": list(account_ids)}
    locked = (await connection.execute(_LOCK, ids)).all()
    if len(locked) < len(account_ids):
        await connection.execute(_BEGIN, ids)
        await connection.execute(_LOCK, ids)
    rows = (await connection.execute(_ACCOUNTS, ids)).all()
    accounts = [_evaluated(row) for row in rows]
    watching = await load_rules(connection, [row.account_id for row in rows if row.has_settings])
    return [_watching(account, watching) for account in accounts] if watching else accounts


async def new_entries(
    connection: AsyncConnection, accounts: Sequence[EvaluatedAccount]
) -> Mapping[str, list[Entry]]:
    """Return the transfers that were not evaluated yet, by account and in order."""
    entries: dict[str, list[Entry]] = defaultdict(list)
    asking = [bool(a.told.watched.rules) and _asks_for_quota(a) for a in accounts]
    for account_id, *entry in await connection.execute(_NEW_TRANSFERS, _range(accounts) | {"asking": asking}):
        entries[account_id].append(Entry(*entry))
    return entries


async def new_key_charges(
    connection: AsyncConnection,
    accounts: Sequence[EvaluatedAccount],
    entries: Mapping[str, Sequence[Entry]],
) -> list[tuple[KeyCharge, int]]:
    """Return what keys with limits spent in those transfers, each with its period's sum before."""
    times = [entry.occurred_at for found in entries.values() for entry in found]
    if not times:
        return []
    parameters = _range(accounts) | {"first": min(times), "last": max(times)}
    charges = [KeyCharge(*row) for row in await connection.execute(_KEY_CHARGES, parameters)]
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


async def rebuild_key_spend(connection: AsyncConnection, account_id: str, since: datetime) -> None:
    """Sum up afresh what keys with limits spent in periods from ``since`` on, as far as was evaluated."""
    for statement in (_FORGET_KEY_SPEND, _SUM_KEY_SPEND):
        await connection.execute(statement, {"account_id": account_id, "since": since})


async def save_evaluations(connection: AsyncConnection, evaluations: Sequence[Evaluation]) -> None:
    """Store how far each account was evaluated, what it has been told, and when to look again."""
    changed = [
        (account, told, look_again_at)
        for account, told, look_again_at in evaluations
        if (account.evaluated_seq, account.told, account.look_again_at) != (account.seq, told, look_again_at)
    ]
    if changed:
        await connection.execute(
            _SAVE,
            {
                "account_ids": [account.account_id for account, _, _ in changed],
                "seqs": [account.seq for account, _, _ in changed],
                "levels": [str(told.level) for _, told, _ in changed],
                "quotas": [told.quota for _, told, _ in changed],
                "limits": [told.spending_limit for _, told, _ in changed],
                "looks": [look_again_at for _, _, look_again_at in changed],
                "paces": [pack(told.pace) for _, told, _ in changed],
            },
        )
    await save_memories(
        connection,
        [
            (account.account_id, rule, memory)
            for account, told, _ in changed
            if told.watched.rules
            for rule, memory in told.watched.rules.items()
            if memory != account.told.watched.rules[rule]
        ],
    )


async def overdue(
    connection: AsyncConnection, *, older_than_s: float, again_after_s: float, limit: int
) -> list[int]:
    """Return notes that nobody took for so long, and let them be overdue again somewhat later.

    Accounts whose time for another look has come get a note first.
    """
    woken = list((await connection.execute(_WAKE, {"limit": limit})).scalars())
    parameters: dict[str, Any] = {
        "older_than": timedelta(seconds=older_than_s),
        "again_after": timedelta(seconds=again_after_s),
        "limit": limit,
    }
    return woken + list((await connection.execute(_OVERDUE, parameters)).scalars())


async def count_due(connection: AsyncConnection) -> int:
    """Return how many evaluations are outstanding."""
    return int((await connection.execute(_COUNT_DUE)).scalar_one())


def _asks_for_quota(account: EvaluatedAccount) -> bool:
    return any(rule.kind is RuleKind.QUOTA_SHARE for rule in account.told.watched.rules)


def _evaluated(row: Row[*tuple[Any, ...]]) -> EvaluatedAccount:
    account_id, evaluated_seq, version, seq, balance_nanos, *rest = row
    level, quota, spending_limit, limit_nanos, again_at, pace, has_settings, *bounds = rest
    return EvaluatedAccount(
        account_id,
        evaluated_seq,
        version,
        seq,
        balance_nanos,
        Told(Level(level), quota, spending_limit, unpack(pace)),
        Limits(own_bounds(*bounds) if has_settings else DEFAULT_BOUNDS, limit_nanos),
        again_at,
    )


def _watching(
    account: EvaluatedAccount, watching: Mapping[str, Mapping[Rule, RuleMemory]]
) -> EvaluatedAccount:
    if account.account_id not in watching:
        return account
    watched = Watched(watching[account.account_id])
    return replace(account, told=replace(account.told, watched=watched))


def _range(accounts: Sequence[EvaluatedAccount]) -> dict[str, Any]:
    return {
        "account_ids": [account.account_id for account in accounts],
        "after": [account.evaluated_seq for account in accounts],
        "upto": [account.seq for account in accounts],
    }
