"""SQL of usage by day. The days are a projection of the books: what is new is added when somebody asks.

So the debit pays nothing for them, and whoever looks at an account with a million records reads a few hundred
rows. A record counts on the UTC day of its own time; a void takes its record out again.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.tables import usage_days


class Step(StrEnum):
    """How much time one point of a series covers; weeks begin on Monday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Facet(StrEnum):
    """What a series is split by."""

    MODEL = "model"
    KEY = "key"


#: What is summed up of a day's records.
SUMS = (
    "records",
    "input_tokens",
    "output_tokens",
    "list_nanos",
    "charge_nanos",
    "quota_nanos",
    "balance_nanos",
    "uncollected_nanos",
)
_FACETS = {
    Facet.MODEL: (usage_days.c.provider, usage_days.c.model),
    Facet.KEY: (usage_days.c.api_key_id,),
}

_BEGIN = text("INSERT INTO usage_rollups (account_id) VALUES (:account_id) ON CONFLICT DO NOTHING")
_LOCK = text("SELECT rolled_seq FROM usage_rollups WHERE account_id = :account_id FOR UPDATE")
_UPTO = text("SELECT seq FROM accounts WHERE account_id = :account_id")
_ROLL_UP = text("""
    INSERT INTO usage_days AS d (account_id, day, provider, model, api_key_id, records, input_tokens,
        output_tokens, list_nanos, charge_nanos, quota_nanos, balance_nanos, uncollected_nanos)
    SELECT :account_id, date_trunc('day', time, 'UTC'), coalesce(provider, ''), model,
           coalesce(api_key_id, ''), sum(sign),
           sum(sign * (CAST(input_tokens AS bigint) + cache_read_tokens + cache_write_tokens
                       + input_audio_tokens)),
           sum(sign * (CAST(output_tokens AS bigint) + output_audio_tokens)),
           sum(sign * list_nanos), sum(sign * charge_nanos), sum(sign * quota_nanos),
           sum(sign * balance_nanos), sum(sign * uncollected_nanos)
    FROM (
        SELECT 1 AS sign, u.* FROM usage_records u
        WHERE u.account_id = :account_id AND u.transfer_seq > :after AND u.transfer_seq <= :upto
        UNION ALL
        SELECT -1, u.* FROM transfers t
        JOIN usage_ids i ON i.account_id = t.account_id AND i.event_id = t.reverses_event_id
        JOIN usage_records u ON u.account_id = i.account_id AND u.transfer_seq = i.transfer_seq
             AND u.event_id = i.event_id
        WHERE t.account_id = :account_id AND t.seq > :after AND t.seq <= :upto AND t.kind = 'void'
    ) AS changes
    WHERE time >= CAST(:since AS timestamptz)
    GROUP BY 2, 3, 4, 5
    ON CONFLICT ON CONSTRAINT usage_days_pkey DO UPDATE
    SET records = d.records + excluded.records,
        input_tokens = d.input_tokens + excluded.input_tokens,
        output_tokens = d.output_tokens + excluded.output_tokens,
        list_nanos = d.list_nanos + excluded.list_nanos,
        charge_nanos = d.charge_nanos + excluded.charge_nanos,
        quota_nanos = d.quota_nanos + excluded.quota_nanos,
        balance_nanos = d.balance_nanos + excluded.balance_nanos,
        uncollected_nanos = d.uncollected_nanos + excluded.uncollected_nanos
""")
_ROLLED = text("UPDATE usage_rollups SET rolled_seq = :upto WHERE account_id = :account_id")
_FORGET = text("DELETE FROM usage_days WHERE account_id = :account_id AND day >= CAST(:since AS timestamptz)")
_EVER = datetime.min.replace(tzinfo=UTC)
_SUMMARY = """
    SELECT date_trunc(:step, day, 'UTC') AS period, model, api_key_id,
           CAST(sum(records) AS bigint) AS records, CAST(sum(input_tokens) AS bigint) AS input_tokens,
           CAST(sum(output_tokens) AS bigint) AS output_tokens, CAST(sum(list_nanos) AS bigint) AS list_nanos,
           CAST(sum(charge_nanos) AS bigint) AS charge_nanos, CAST(sum(quota_nanos) AS bigint) AS quota_nanos,
           CAST(sum(balance_nanos) AS bigint) AS balance_nanos,
           CAST(sum(uncollected_nanos) AS bigint) AS uncollected_nanos
    FROM usage_days
    WHERE account_id = :account_id AND day >= :since{}
    GROUP BY GROUPING SETS ((1), (2), (3))
    ORDER BY 1, charge_nanos DESC
"""
# Two statements: where a key may or may not be given the planner takes all rows for a few, and sorts them.
_SUMMARY_OF_ALL = text(_SUMMARY.format(""))
_SUMMARY_OF_KEY = text(_SUMMARY.format(" AND api_key_id = :api_key_id"))


async def roll_up(connection: AsyncConnection, account_id: str) -> None:
    """Bring the days of an account up to date; whoever calls commits."""
    account = {"account_id": account_id}
    await connection.execute(_BEGIN, account)
    after = (await connection.execute(_LOCK, account)).scalar_one()
    # Read after the lock: what is committed by now is what the sums below see.
    upto = (await connection.execute(_UPTO, account)).scalar_one_or_none()
    if upto is not None and upto > after:
        await connection.execute(_ROLL_UP, account | {"after": after, "upto": upto, "since": _EVER})
        await connection.execute(_ROLLED, account | {"upto": upto})


async def rebuild(connection: AsyncConnection, account_id: str, since: datetime) -> None:
    """Sum up the days from ``since`` on afresh; roll up before, in the same transaction."""
    account: dict[str, Any] = {"account_id": account_id}
    upto = (await connection.execute(_UPTO, account)).scalar_one()
    await connection.execute(_FORGET, account | {"since": since})
    await connection.execute(_ROLL_UP, account | {"after": 0, "upto": upto, "since": since})
    await connection.execute(_ROLLED, account | {"upto": upto})


async def read_series(
    connection: AsyncConnection,
    account_id: str,
    since: datetime,
    until: datetime,
    step: Step,
    facets: Collection[Facet],
    api_key_id: str | None = None,
) -> Sequence[Row[Any]]:
    """Return sums by period and facets, for days in [since, until), in order; of one key where given."""
    period = func.date_trunc(str(step), usage_days.c.day, "UTC").label("period")
    groups = [column for facet in facets for column in _FACETS[facet]]
    sums = [func.sum(usage_days.c[name]).label(name) for name in SUMS]
    query = (
        select(period, *groups, *sums)
        .where(usage_days.c.account_id == account_id, usage_days.c.day >= since, usage_days.c.day < until)
        .group_by(period, *groups)
        .order_by(period, *groups)
    )
    if api_key_id is not None:
        query = query.where(usage_days.c.api_key_id == api_key_id)
    return (await connection.execute(query)).all()


async def read_summary(
    connection: AsyncConnection, account_id: str, since: datetime, step: Step, api_key_id: str | None = None
) -> Sequence[Row[Any]]:
    """Return sums since a day by period, by model and by key; a row has one of the three, None as the others.

    By period first, then the largest charge first. Of one key where given.
    """
    given: dict[str, Any] = {"account_id": account_id, "since": since, "step": str(step)}
    if api_key_id is None:
        return (await connection.execute(_SUMMARY_OF_ALL, given)).all()
    return (await connection.execute(_SUMMARY_OF_KEY, given | {"api_key_id": api_key_id})).all()


async def read_totals(connection: AsyncConnection, account_id: str) -> tuple[int, int]:
    """Return what was ever charged to an account in nanos, and for how many records."""
    query = select(func.sum(usage_days.c.charge_nanos), func.sum(usage_days.c.records)).where(
        usage_days.c.account_id == account_id
    )
    charged, records = (await connection.execute(query)).one()
    return int(charged or 0), int(records or 0)
