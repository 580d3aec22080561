"""Alert settings as people see and change them."""

from collections.abc import Mapping, Sequence
from datetime import time
from typing import Any, NamedTuple, TypedDict

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import alert_settings as sql
from shared.db import evaluations
from shared.domain.alert_rules import MOST_RULES, Rule, RuleKind, check_rule
from shared.domain.cycles import time_zone
from shared.domain.errors import RefusedError
from shared.domain.levels import DEFAULT_BOUNDS, Bounds
from shared.operations.payments.cards import account_exists


class OwnBounds(TypedDict, total=False):
    """Where levels begin for one account; None: where they do for everybody. What is not named stays."""

    low_nanos: int | None
    warning_nanos: int | None
    critical_nanos: int | None


class Quiet(NamedTuple):
    """Quiet hours in local time of a place."""

    start: time
    end: time
    time_zone: str


async def show_alert_settings(engine: AsyncEngine, account_id: str) -> dict[str, Any]:
    """Return an account's alert settings; raises NotFoundError."""
    await account_exists(engine, account_id)
    async with engine.connect() as connection:
        return await _shown(connection, account_id)


async def set_alert_settings(
    engine: AsyncEngine,
    account_id: str,
    *,
    bounds: OwnBounds | None = None,
    quiet: Quiet | None = None,
    clear_quiet: bool = False,
    rules: Mapping[RuleKind, Sequence[int]] | None = None,
) -> dict[str, Any]:
    """Change alert settings; return all. They count from the next transfer on that is evaluated.

    Rules of a kind that is named are replaced. Raises NotFoundError for an unknown account or time zone,
    RefusedError for bounds out of order and rules that make no sense.
    """
    await account_exists(engine, account_id)
    values: dict[str, Any] = {**(bounds or {})}
    if quiet or clear_quiet:
        values |= _quiet_values(quiet)
    named = {Rule(kind, bound) for kind, found in (rules or {}).items() for bound in found}
    for rule in named:
        check_rule(rule)
    if any(len(set(found)) > MOST_RULES for found in (rules or {}).values()):
        raise RefusedError(f"an account has at most {MOST_RULES} rules of a kind")
    async with engine.begin() as connection:
        # One after the other, and not while the account is being evaluated.
        await evaluations.lock_accounts(connection, [account_id])
        _check_bounds(sql.bounds_of(await sql.save_settings(connection, account_id, values)))
        if rules:
            await sql.replace_rules(connection, account_id, rules, sorted(named))
        await evaluations.mark_due(connection, [account_id])
        return await _shown(connection, account_id)


def _quiet_values(quiet: Quiet | None) -> dict[str, Any]:
    if quiet is None:
        return {"quiet_start": None, "quiet_end": None, "time_zone": None}
    if any(at.tzinfo or at.second or at.microsecond for at in (quiet.start, quiet.end)):
        raise RefusedError("quiet hours are local times such as 22:00, in whole minutes")
    if quiet.start == quiet.end:
        raise RefusedError("quiet hours end at another time than they begin")
    time_zone(quiet.time_zone)
    return {"quiet_start": quiet.start, "quiet_end": quiet.end, "time_zone": quiet.time_zone}


def _check_bounds(bounds: Bounds) -> None:
    in_order = 0 <= bounds.critical_nanos <= bounds.warning_nanos <= bounds.low_nanos
    if not in_order or bounds.low_nanos == 0:
        raise RefusedError("the bounds descend from low over warning to critical, and low is above zero")


async def _shown(connection: AsyncConnection, account_id: str) -> dict[str, Any]:
    row = await sql.find_settings(connection, account_id)
    rules = (await sql.load_rules(connection, [account_id])).get(account_id, {})
    bounds = sql.bounds_of(row) if row else DEFAULT_BOUNDS
    quiet = sql.quiet_of(row) if row else None
    return {
        "account_id": account_id,
        "low_nanos": bounds.low_nanos,
        "warning_nanos": bounds.warning_nanos,
        "critical_nanos": bounds.critical_nanos,
        "quiet_start": f"{quiet.start:%H:%M}" if quiet else None,
        "quiet_end": f"{quiet.end:%H:%M}" if quiet else None,
        "time_zone": quiet.zone.key if quiet else None,
        **{
            str(kind): sorted((rule.bound for rule in rules if rule.kind is kind), reverse=True)
            for kind in RuleKind
        },
    }
