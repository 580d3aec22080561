"""SQL of top-ups: the settings of automatic ones, the rows with their states, the saved cards."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Interval,
    Row,
    RowMapping,
    Select,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.payment_tables import auto_topups, payment_customers, topups
from shared.db.tables import accounts
from shared.domain.topup import (
    OPEN_STATES,
    AutoTopup,
    Channel,
    TopupHistory,
    TopupState,
    day_start,
    month_start,
)
from shared.domain.topup_states import check_move


@dataclass(frozen=True, slots=True)
class Topup:
    """A top-up as it stands in the database."""

    account_id: str
    topup_id: str
    automatic: bool
    state: TopupState
    channel: Channel
    amount_nanos: int
    payment_method_id: str | None
    payment_intent_id: str | None
    attempt: int
    created_at: datetime
    saves_card: bool
    checkout_session_id: str | None
    create_attempt: int
    declined_charge_id: str | None
    waits_until: datetime | None


# Balance and top-ups in one statement: a top-up that is open no more is in the balance read with it.
_AUTOMATIC = text("""
    SELECT s.*, c.payment_method_id, a.balance_nanos, taken.*, last.updated_at AS last_at,
           CASE WHEN last.state = 'failed' OR last.balance_after_nanos <= s.threshold_nanos
                THEN last.updated_at END AS last_fell_short_at
    FROM auto_topups s JOIN payment_customers c USING (account_id) JOIN accounts a USING (account_id)
    LEFT JOIN LATERAL (
        SELECT t.state, t.balance_after_nanos, t.updated_at
        FROM topups t WHERE t.account_id = s.account_id AND t.automatic
        ORDER BY t.created_at DESC LIMIT 1
    ) last ON true
    CROSS JOIN LATERAL (
        SELECT coalesce(bool_or(t.state <> 'succeeded'), false) AS open,
               count(*) FILTER (WHERE t.created_at >= :day) AS today,
               coalesce(sum(t.amount_nanos) FILTER (WHERE t.created_at >= :day), 0)::bigint AS today_nanos,
               count(*) FILTER (WHERE t.created_at >= :month) AS this_month,
               coalesce(sum(t.amount_nanos) FILTER (WHERE t.created_at >= :month), 0)::bigint
                   AS this_month_nanos
        FROM topups t
        WHERE t.account_id = s.account_id AND t.automatic
          AND t.state = ANY (CAST(:open_states AS text[]) || CAST('succeeded' AS text))
    ) taken
    WHERE s.account_id = ANY (CAST(:account_ids AS text[])) AND s.enabled AND c.payment_method_id IS NOT NULL
""")


async def load_automatic(
    connection: AsyncConnection, account_ids: Collection[str], now: datetime
) -> dict[str, tuple[AutoTopup, int, TopupHistory, str]]:
    """Return, for accounts with an automatic top-up, its settings, the balance, its history and the card."""
    parameters = {
        "account_ids": list(account_ids),
        "day": day_start(now),
        "month": month_start(now),
        "open_states": list(OPEN_STATES),
    }
    found = {}
    for row in (await connection.execute(_AUTOMATIC, parameters)).mappings():
        history = TopupHistory(
            row["open"],
            row["today"],
            row["this_month"],
            row["last_fell_short_at"],
            row["today_nanos"],
            row["this_month_nanos"],
            row["last_at"],
        )
        found[row["account_id"]] = (
            auto_topup_of(row),
            row["balance_nanos"],
            history,
            row["payment_method_id"],
        )
    return found


def auto_topup_of(row: RowMapping) -> AutoTopup:
    """Return the settings in a row of ``auto_topups``."""
    return AutoTopup(
        row["enabled"],
        row["threshold_nanos"],
        row["amount_nanos"],
        row["max_per_day"],
        row["max_per_month"],
        row["max_per_day_nanos"],
        row["max_per_month_nanos"],
        row["lead_minutes"],
    )


async def save_auto_topup(
    connection: AsyncConnection, account_id: str, values: Mapping[str, Any], first: Mapping[str, Any]
) -> RowMapping:
    """Write these settings of an account's automatic top-up, and ``first`` where it had none; return all."""
    statement = upsert(auto_topups).values(account_id=account_id, **{**first, **values})
    kept = statement.on_conflict_do_update(constraint="auto_topups_pkey", set_=dict(values))
    saved: RowMapping = (await connection.execute(kept.returning(auto_topups))).mappings().one()
    return saved


async def change_auto_topup(connection: AsyncConnection, account_id: str, values: Mapping[str, Any]) -> None:
    """Change settings of an automatic top-up, if the account has one."""
    await connection.execute(
        update(auto_topups).where(auto_topups.c.account_id == account_id).values(**values)
    )


async def is_enabled(connection: AsyncConnection, account_id: str) -> bool:
    """Whether automatic top-up is on."""
    query = select(auto_topups.c.enabled).where(auto_topups.c.account_id == account_id)
    return bool((await connection.execute(query)).scalar_one_or_none())


async def switch_off(connection: AsyncConnection, account_id: str, why: str) -> bool:
    """Switch automatic top-up off; false where it was off."""
    on = (auto_topups.c.account_id == account_id) & auto_topups.c.enabled
    off = update(auto_topups).where(on).values(enabled=False, disabled_because=why)
    return (await connection.execute(off)).rowcount > 0


async def count_soft_decline(connection: AsyncConnection, account_id: str) -> int:
    """Count one more soft decline in a row; return how many there are now."""
    changed = await connection.execute(
        update(auto_topups)
        .where(auto_topups.c.account_id == account_id)
        .values(soft_declines=auto_topups.c.soft_declines + 1)
        .returning(auto_topups.c.soft_declines)
    )
    return int(changed.scalar_one_or_none() or 0)


async def find_auto_topup(connection: AsyncConnection, account_id: str) -> RowMapping | None:
    query = select(auto_topups).where(auto_topups.c.account_id == account_id)
    return (await connection.execute(query)).mappings().one_or_none()


async def find_customer(connection: AsyncConnection, account_id: str) -> RowMapping | None:
    """Return the account's customer at Stripe and its card, if it has one."""
    query = select(payment_customers).where(payment_customers.c.account_id == account_id)
    return (await connection.execute(query)).mappings().one_or_none()


async def insert_topups(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write new top-ups: they are committed before Stripe hears of them."""
    if rows:
        await connection.execute(insert(topups), [dict(row) for row in rows])


_TOPUP: Select[Any] = select(
    topups.c.account_id,
    topups.c.topup_id,
    topups.c.automatic,
    topups.c.state,
    topups.c.amount_nanos,
    topups.c.payment_method_id,
    topups.c.payment_intent_id,
    topups.c.attempt,
    topups.c.created_at,
    topups.c.saves_card,
    topups.c.checkout_session_id,
    topups.c.channel,
    topups.c.create_attempt,
    topups.c.declined_charge_id,
    topups.c.waits_until,
)


async def insert_asked(connection: AsyncConnection, row: Mapping[str, Any]) -> bool:
    """Write a top-up that a person asked for; false where its idempotency key was used before."""
    once = (
        upsert(topups)
        .values(**row)
        .on_conflict_do_nothing(
            index_elements=["account_id", "idempotency_key"], index_where=topups.c.idempotency_key.isnot(None)
        )
    )
    return (await connection.execute(once.returning(topups.c.topup_id))).first() is not None


async def find_asked(connection: AsyncConnection, account_id: str, idempotency_key: str) -> RowMapping | None:
    """Return the top-up that was asked for under a key."""
    query = select(topups).where(
        topups.c.account_id == account_id, topups.c.idempotency_key == idempotency_key
    )
    return (await connection.execute(query)).mappings().one_or_none()


async def find_topup(connection: AsyncConnection, topup_id: str) -> RowMapping | None:
    """Return all there is to know about a top-up."""
    query = select(topups).where(topups.c.topup_id == topup_id)
    return (await connection.execute(query)).mappings().one_or_none()


async def load_topup(connection: AsyncConnection, topup_id: str, *, lock: bool = False) -> Topup | None:
    """Return a top-up; locked, nobody else changes it until the transaction ends."""
    query = _TOPUP.where(topups.c.topup_id == topup_id)
    return _topup((await connection.execute(query.with_for_update() if lock else query)).one_or_none())


async def topup_of_intent(connection: AsyncConnection, payment_intent_id: str) -> Topup | None:
    """Return the top-up whose intent this is, by what was committed."""
    query = _TOPUP.where(topups.c.payment_intent_id == payment_intent_id)
    return _topup((await connection.execute(query)).one_or_none())


def _topup(row: Row[*tuple[Any, ...]] | None) -> Topup | None:
    if row is None:
        return None
    known = {"state": TopupState(row.state), "channel": Channel(row.channel)}
    return Topup(**{**row._mapping, **known})  # noqa: SLF001 - SQLAlchemy's public name for it


async def change_topup(connection: AsyncConnection, topup: Topup, values: Mapping[str, Any]) -> None:
    """Change a top-up. Raises IllegalMoveError for a move that is not in the table of transitions."""
    if "state" in values:
        check_move(topup.state, values["state"])
    mine = (topups.c.account_id == topup.account_id) & (topups.c.topup_id == topup.topup_id)
    await connection.execute(update(topups).where(mine).values(**values, updated_at=func.clock_timestamp()))


def in_time(wait: timedelta) -> ColumnElement[datetime]:
    """Return the time after a wait, by the database's clock: the one that all processes share."""
    return func.clock_timestamp(type_=DateTime(timezone=True)) + literal(wait, Interval)


async def look_again(
    connection: AsyncConnection, topup_id: str, at: datetime | ColumnElement[datetime]
) -> None:
    """Let an open top-up be looked at again then."""
    mine = (topups.c.topup_id == topup_id) & topups.c.state.in_(OPEN_STATES)
    await connection.execute(update(topups).where(mine).values(next_step_at=at))


async def note(connection: AsyncConnection, topup_id: str, detail: str) -> None:
    """Let people see why an open top-up does not go on."""
    mine = (topups.c.topup_id == topup_id) & topups.c.state.in_(OPEN_STATES)
    await connection.execute(update(topups).where(mine).values(detail=detail))


async def list_topups(connection: AsyncConnection, account_id: str | None) -> Sequence[RowMapping]:
    """Return top-ups, oldest first."""
    query = select(topups).order_by(topups.c.created_at, topups.c.topup_id)
    if account_id is not None:
        query = query.where(topups.c.account_id == account_id)
    return (await connection.execute(query)).mappings().all()


async def recent_topups(connection: AsyncConnection, account_id: str, limit: int) -> Sequence[RowMapping]:
    """Return an account's top-ups, newest first."""
    query = select(topups).where(topups.c.account_id == account_id)
    ordered = query.order_by(topups.c.created_at.desc(), topups.c.topup_id.desc())
    return (await connection.execute(ordered.limit(limit))).mappings().all()


async def find_balance(connection: AsyncConnection, account_id: str) -> int | None:
    """Return the balance of an account as this transaction sees it, or None where there is no account."""
    query = select(accounts.c.balance_nanos).where(accounts.c.account_id == account_id)
    balance: int | None = (await connection.execute(query)).scalar_one_or_none()
    return balance
