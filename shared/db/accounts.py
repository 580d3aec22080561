"""SQL of plans and accounts as people see and set them. The books are in ``shared.db.books``."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping, bindparam, insert, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.alert_settings import own_bounds
from shared.db.tables import accounts, alert_settings, evaluations, plans
from shared.domain.account import PlanTerms
from shared.domain.levels import Level, level_of

_OWN_BOUNDS = (alert_settings.c.low_nanos, alert_settings.c.warning_nanos, alert_settings.c.critical_nanos)

_FIND_PAYERS = text("""
    SELECT api_key_id, account_id FROM api_keys WHERE api_key_id = ANY (CAST(:api_key_ids AS text[]))
        AND account_id IS NOT NULL
    UNION ALL
    SELECT NULL, account_id FROM accounts WHERE account_id = ANY (CAST(:account_ids AS text[]))
""")

# No decision rests on them, so the version stays; in one statement two changes at once keep both.
_CHANGE_BILLING = text("""
    UPDATE accounts SET billing = jsonb_strip_nulls(coalesce(billing, '{}') || :changes)
    WHERE account_id = :account_id RETURNING name, billing
""").bindparams(bindparam("changes", type_=JSONB))


async def find_payers(
    connection: AsyncConnection, api_key_ids: Collection[str], account_ids: Collection[str]
) -> tuple[dict[str, str], set[str]]:
    """Return the accounts of those keys that exist, and which of those accounts exist.

    Revoked keys count: what was used is debited.
    """
    names = {"api_key_ids": list(api_key_ids), "account_ids": list(account_ids)}
    rows = (await connection.execute(_FIND_PAYERS, names)).all()
    return (
        {api_key_id: account_id for api_key_id, account_id in rows if api_key_id is not None},
        {account_id for api_key_id, account_id in rows if api_key_id is None},
    )


async def insert_plan(connection: AsyncConnection, values: dict[str, Any]) -> None:
    await connection.execute(insert(plans).values(values))


async def list_plans(connection: AsyncConnection) -> Sequence[RowMapping]:
    """Return all plans, oldest first."""
    return (await connection.execute(select(plans).order_by(plans.c.created_at))).mappings().all()


async def find_plan(connection: AsyncConnection, plan: str) -> PlanTerms | None:
    """Return a plan by its id, or by its name where only one has it."""
    query = select(plans).where((plans.c.plan_id == plan) | (plans.c.name == plan))
    rows = (await connection.execute(query.order_by(plans.c.plan_id != plan))).all()
    if not rows or (rows[0].plan_id != plan and len(rows) > 1):
        return None
    row = rows[0]
    return PlanTerms(row.plan_id, row.quota_nanos, row.discount_ppm, row.time_zone)


async def insert_account(connection: AsyncConnection, values: dict[str, Any]) -> None:
    await connection.execute(insert(accounts).values(values))


async def page_accounts(
    connection: AsyncConnection, limit: int, after: str | None, search: str | None
) -> Sequence[RowMapping]:
    """Return accounts in order of id, after one where it is given, whose id or name begins with a text."""
    columns = ("account_id", "name", "balance_nanos", "plan_id", "frozen", "created_at")
    query = select(*(accounts.c[name] for name in columns)).order_by(accounts.c.account_id).limit(limit)
    if after is not None:
        query = query.where(accounts.c.account_id > after)
    if search:
        begins = accounts.c.account_id.startswith(search, autoescape=True)
        query = query.where(begins | accounts.c.name.istartswith(search, autoescape=True))
    return (await connection.execute(query)).mappings().all()


async def update_account(
    connection: AsyncConnection, account_id: str, version: int, values: dict[str, Any]
) -> bool:
    """Change settings of an account at the version that was read; return whether it still was."""
    changed = await connection.execute(
        update(accounts)
        .where(accounts.c.account_id == account_id, accounts.c.version == version)
        .values(**values, version=version + 1)
    )
    return bool(changed.rowcount == 1)


async def change_billing(
    connection: AsyncConnection, account_id: str, changes: Mapping[str, Any]
) -> RowMapping | None:
    """Change some billing details, None takes one away; return name and details, None without an account."""
    parameters = {"account_id": account_id, "changes": dict(changes)}
    statement = _CHANGE_BILLING.columns(billing=JSONB)
    return (await connection.execute(statement, parameters)).mappings().one_or_none()


async def load_balances(
    connection: AsyncConnection, account_ids: Collection[str]
) -> Mapping[str, tuple[int, Level]]:
    """Return the balance, in nanos, and the level of those of these accounts that exist."""
    joined = accounts.outerjoin(alert_settings, alert_settings.c.account_id == accounts.c.account_id)
    query = select(accounts.c.account_id, accounts.c.balance_nanos, *_OWN_BOUNDS).select_from(joined)
    rows = await connection.execute(query.where(accounts.c.account_id.in_(account_ids)))
    return {account_id: (balance, level_of(balance, own_bounds(*own))) for account_id, balance, *own in rows}


async def show_account(connection: AsyncConnection, account_id: str) -> RowMapping | None:
    """Return an account with the level it was last told, its pace and its own bounds."""
    query = (
        select(accounts, evaluations.c.told_level, evaluations.c.pace, *_OWN_BOUNDS)
        .select_from(
            accounts.outerjoin(evaluations, evaluations.c.account_id == accounts.c.account_id).outerjoin(
                alert_settings, alert_settings.c.account_id == accounts.c.account_id
            )
        )
        .where(accounts.c.account_id == account_id)
    )
    return (await connection.execute(query)).mappings().one_or_none()
