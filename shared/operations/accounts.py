"""Plans and accounts: create, change, show."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import accounts as sql
from shared.db import books
from shared.db.alert_settings import bounds_of
from shared.db.engine import database_time
from shared.domain.access import OWNER
from shared.domain.account import AccountState, CycleState, PlanTerms, open_cycle, roll_over
from shared.domain.cycles import cycle_at, time_zone
from shared.domain.errors import NotFoundError
from shared.domain.ids import AccountId
from shared.domain.ledger import Transfer, TransferKind, genesis_hash
from shared.domain.levels import Level, level_of
from shared.domain.pace import empty_at, unpack
from shared.ids import new_id
from shared.operations.keys import NewKey, add_key


async def create_plan(
    engine: AsyncEngine, name: str, *, quota_nanos: int, price_nanos: int, discount_ppm: int, zone: str
) -> str:
    """Create a plan and return its id; raises NotFoundError for an unknown time zone."""
    time_zone(zone)
    plan_id = new_id("plan")
    values = {
        "plan_id": plan_id,
        "name": name,
        "quota_nanos": quota_nanos,
        "price_nanos": price_nanos,
        "discount_ppm": discount_ppm,
        "time_zone": zone,
    }
    async with engine.begin() as connection:
        await sql.insert_plan(connection, values)
    return plan_id


async def list_plans(engine: AsyncEngine) -> Sequence[Mapping[str, Any]]:
    """Return the plans there are, oldest first."""
    async with engine.connect() as connection:
        return [dict(plan) for plan in await sql.list_plans(connection)]


async def list_accounts(
    engine: AsyncEngine, limit: int, after: str | None = None, search: str | None = None
) -> Sequence[Mapping[str, Any]]:
    """Return accounts in order of id, after one where it is given, whose id or name begins with a text."""
    async with engine.connect() as connection:
        return [dict(account) for account in await sql.page_accounts(connection, limit, after, search)]


async def create_account(
    engine: AsyncEngine,
    *,
    name: str | None = None,
    plan: str | None = None,
    anchor: datetime | None = None,
    fallback: bool = False,
    spending_limit_nanos: int | None = None,
) -> tuple[AccountId, NewKey]:
    """Create an account with its first key; with a plan its first cycle starts at once.

    Raises NotFoundError for an unknown plan.
    """
    account_id = AccountId(new_id("acct"))
    async with engine.begin() as connection:
        now = await database_time(connection)
        terms = await _plan(connection, plan) if plan else None
        state = AccountState(account_id, 0, 0, genesis_hash(account_id), 0, anchor=anchor or now, plan=terms)
        opened = _with_cycle_now(state, now)
        await sql.insert_account(
            connection,
            {
                "account_id": account_id,
                "name": name,
                "head_hash": state.head_hash,
                "plan_id": terms.plan_id if terms else None,
                "anchor": state.anchor if terms else None,
                "fallback": fallback,
                "spending_limit_nanos": spending_limit_nanos,
            },
        )
        if opened.cycles:
            await books.move_versions(connection, [(state, opened)])
        key = await add_key(connection, account_id, None, None, OWNER)
    return account_id, key


async def set_account(
    engine: AsyncEngine,
    account_id: str,
    settings: Mapping[str, Any],
    *,
    plan: str | None = None,
    cancel_plan: bool = False,
    grace: timedelta,
) -> None:
    """Change settings of an account. A plan takes effect at the next cycle, or at once where none runs.

    Raises NotFoundError for an unknown account or plan.
    """
    while True:
        async with engine.begin() as connection:
            now = await database_time(connection)
            before = await _state(connection, account_id, now, grace)
            values = dict(settings)
            after: AccountState = before
            transfers: tuple[Transfer, ...] = ()
            if cancel_plan:
                # The cycle that runs now may not be open yet: the plan lasts to its end.
                after, transfers = roll_over(before, now, grace)
                values |= {"plan_id": None}
            elif plan is not None:
                terms = await _plan(connection, plan)
                after, transfers = _subscribe(before, terms, now, grace)
                values |= {"plan_id": terms.plan_id, "anchor": after.anchor}
            if await books.move_versions(connection, [(before, after)]):
                await books.insert_transfers(
                    connection, [(after.account_id, transfer) for transfer in transfers]
                )
                if values:
                    await sql.update_account(connection, account_id, before.version + 1, values)
                return


async def roll_over_account(engine: AsyncEngine, account_id: str, grace: timedelta) -> None:
    """Open the cycles of an account that are due, whoever notices first."""
    async with engine.begin() as connection:
        now = await database_time(connection)
        before = await _state(connection, account_id, now, grace)
        after, transfers = roll_over(before, now, grace)
        if transfers and await books.move_versions(connection, [(before, after)]):
            await books.insert_transfers(connection, [(after.account_id, transfer) for transfer in transfers])


async def show_account(engine: AsyncEngine, account_id: str) -> dict[str, Any]:
    """Return an account as people see it; raises NotFoundError."""
    async with engine.connect() as connection:
        return await _shown(connection, account_id)


async def _shown(connection: AsyncConnection, account_id: str) -> dict[str, Any]:
    now = await database_time(connection)
    row = await sql.show_account(connection, account_id)
    if row is None:
        raise NotFoundError(f"there is no account {account_id}")
    cycle = await _current_cycle(connection, account_id, now)
    return {
        "account_id": row["account_id"],
        "name": row["name"],
        "balance_nanos": row["balance_nanos"],
        "level": str(level_of(row["balance_nanos"], bounds_of(row))),
        "alert_level": row["told_level"] or str(Level.NORMAL),
        "empty_at": empty_at(unpack(row["pace"]), row["balance_nanos"], now),
        "version": row["version"],
        "seq": row["seq"],
        "plan_id": cycle.plan_id if cycle else None,
        "next_plan_id": row["plan_id"],
        "quota_nanos": cycle.quota_nanos if cycle else 0,
        "quota_remaining_nanos": cycle.quota_remaining_nanos if cycle else 0,
        "cycle_spent_nanos": cycle.spent_nanos if cycle else 0,
        "cycle_start": cycle.start if cycle else None,
        "cycle_end": cycle.end if cycle else None,
        "discount_ppm": cycle.discount_ppm if cycle else 0,
        "fallback": row["fallback"],
        "spending_limit_nanos": row["spending_limit_nanos"],
        "frozen": row["frozen"],
        "created_at": row["created_at"],
    }


async def _current_cycle(connection: AsyncConnection, account_id: str, now: datetime) -> CycleState | None:
    """Return the current cycle as the next change of the account will find it: a roll-over may be due."""
    no_grace = timedelta()
    rolled, _ = roll_over(await _state(connection, account_id, now, no_grace), now, no_grace)
    return rolled.cycle_now(now)


def _subscribe(
    before: AccountState, terms: PlanTerms, now: datetime, grace: timedelta
) -> tuple[AccountState, tuple[Transfer, ...]]:
    """Return the state with a plan: from the next cycle on, or from now where no cycle runs."""
    rolled, transfers = roll_over(before, now, grace)
    subscribed = replace(rolled, plan=terms)
    if subscribed.cycle_now(now):
        return subscribed, transfers
    opened = _with_cycle_now(replace(subscribed, anchor=now), now)
    cause = f"cycle {opened.cycles[-1].start.isoformat()}"
    after, transfer = opened.post(
        TransferKind.QUOTA_RESET, 0, cause, now, quota_amount_nanos=terms.quota_nanos
    )
    return after, (*transfers, transfer)


def _with_cycle_now(state: AccountState, now: datetime) -> AccountState:
    if state.plan is None or state.anchor is None:
        return state
    return open_cycle(state, cycle_at(state.anchor, time_zone(state.plan.time_zone), now))


async def _plan(connection: AsyncConnection, plan: str) -> PlanTerms:
    terms = await sql.find_plan(connection, plan)
    if terms is None:
        raise NotFoundError(f"there is no plan {plan}; `payg plan create` makes one")
    return terms


async def _state(
    connection: AsyncConnection, account_id: str, now: datetime, grace: timedelta
) -> AccountState:
    states = await books.load_accounts(connection, [AccountId(account_id)], now, grace)
    if not states:
        raise NotFoundError(f"there is no account {account_id}")
    return states[AccountId(account_id)]
