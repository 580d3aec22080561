"""SQL of alert settings: an account's own bounds, its quiet hours, its rules and what those remember."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping, delete, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.tables import alert_rules, alert_settings
from shared.domain.alert_rules import Rule, RuleKind, RuleMemory
from shared.domain.cycles import time_zone
from shared.domain.levels import DEFAULT_BOUNDS, Bounds
from shared.domain.quiet import QuietHours

_SAVE_MEMORIES = text("""
    UPDATE alert_rules r SET told = m.told, period_start = m.period_start, spent_nanos = m.spent_nanos
    FROM unnest(CAST(:account_ids AS text[]), CAST(:kinds AS text[]), CAST(:bounds AS bigint[]),
                CAST(:told AS boolean[]), CAST(:periods AS timestamptz[]), CAST(:spent AS bigint[]))
         AS m (account_id, kind, bound, told, period_start, spent_nanos)
    WHERE r.account_id = m.account_id AND r.kind = m.kind AND r.bound = m.bound
""")


async def find_settings(connection: AsyncConnection, account_id: str) -> RowMapping | None:
    query = select(alert_settings).where(alert_settings.c.account_id == account_id)
    return (await connection.execute(query)).mappings().one_or_none()


async def load_bounds(connection: AsyncConnection, account_id: str) -> Bounds:
    """Return where the levels of an account begin."""
    row = await find_settings(connection, account_id)
    return bounds_of(row) if row else DEFAULT_BOUNDS


async def load_quiet_hours(
    connection: AsyncConnection, account_ids: Collection[str]
) -> Mapping[str, QuietHours]:
    """Return the quiet hours of those of these accounts that have some."""
    query = select(alert_settings).where(
        alert_settings.c.account_id.in_(account_ids), alert_settings.c.quiet_start.isnot(None)
    )
    rows = (await connection.execute(query)).mappings()
    return {row["account_id"]: quiet for row in rows if (quiet := quiet_of(row))}


async def load_rules(
    connection: AsyncConnection, account_ids: Collection[str]
) -> Mapping[str, Mapping[Rule, RuleMemory]]:
    """Return the rules of accounts, in a fixed order, with what they remember."""
    rules: dict[str, dict[Rule, RuleMemory]] = defaultdict(dict)
    if account_ids:
        query = select(alert_rules).where(alert_rules.c.account_id.in_(account_ids))
        for row in await connection.execute(query.order_by(*alert_rules.primary_key)):
            memory = RuleMemory(row.told, row.period_start, row.spent_nanos)
            rules[row.account_id][Rule(RuleKind(row.kind), row.bound)] = memory
    return rules


async def save_memories(connection: AsyncConnection, changed: Sequence[tuple[str, Rule, RuleMemory]]) -> None:
    """Store what rules remember. A rule that was taken away meanwhile stays away."""
    if changed:
        memories = [memory for _, _, memory in changed]
        await connection.execute(
            _SAVE_MEMORIES,
            {
                "account_ids": [account_id for account_id, _, _ in changed],
                "kinds": [str(rule.kind) for _, rule, _ in changed],
                "bounds": [rule.bound for _, rule, _ in changed],
                "told": [memory.told for memory in memories],
                "periods": [memory.period_start for memory in memories],
                "spent": [memory.spent_nanos for memory in memories],
            },
        )


async def save_settings(
    connection: AsyncConnection, account_id: str, values: Mapping[str, Any]
) -> RowMapping:
    """Write these settings; return all, with their row locked until the transaction ends."""
    statement = insert(alert_settings).values(account_id=account_id, **values)
    kept = statement.on_conflict_do_update(
        constraint="alert_settings_pkey", set_={"account_id": account_id, **values}
    )
    saved: RowMapping = (await connection.execute(kept.returning(alert_settings))).mappings().one()
    return saved


async def replace_rules(
    connection: AsyncConnection, account_id: str, kinds: Collection[RuleKind], rules: Collection[Rule]
) -> None:
    """Let an account have these rules of these kinds. One that stays remembers what it did."""
    named = alert_rules.c.kind.in_([str(kind) for kind in kinds])
    kept = [(str(rule.kind), rule.bound) for rule in rules]
    gone = tuple_(alert_rules.c.kind, alert_rules.c.bound).notin_(kept)
    await connection.execute(delete(alert_rules).where(alert_rules.c.account_id == account_id, named, gone))
    if kept:
        rows = [{"account_id": account_id, "kind": kind, "bound": bound} for kind, bound in kept]
        await connection.execute(insert(alert_rules).values(rows).on_conflict_do_nothing())


def own_bounds(low_nanos: int | None, warning_nanos: int | None, critical_nanos: int | None) -> Bounds:
    """Return where levels begin: everybody's where an account has no bound of its own."""
    if low_nanos is warning_nanos is critical_nanos is None:
        return DEFAULT_BOUNDS
    return Bounds(
        DEFAULT_BOUNDS.low_nanos if low_nanos is None else low_nanos,
        DEFAULT_BOUNDS.warning_nanos if warning_nanos is None else warning_nanos,
        DEFAULT_BOUNDS.critical_nanos if critical_nanos is None else critical_nanos,
    )


def bounds_of(row: RowMapping) -> Bounds:
    """Return the bounds in a row of settings."""
    return own_bounds(row["low_nanos"], row["warning_nanos"], row["critical_nanos"])


def quiet_of(row: RowMapping) -> QuietHours | None:
    """Return the quiet hours in a row of settings."""
    if row["quiet_start"] is None:
        return None
    return QuietHours(row["quiet_start"], row["quiet_end"], time_zone(row["time_zone"]))
