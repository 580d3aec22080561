"""An independent, single-threaded account of what the rules of accounts, and limits of keys, must have told.

Time to empty has no model of a pace here: that of an account is unknown in its first ten minutes, so in a
shorter run only a balance that is used up is told by it, from the first usage on.
"""

from collections import defaultdict
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

#: What was told, the number of the transfer, and which rule or key it was.
Crossing = tuple[str, int, str]

_RULES = text("SELECT account_id, kind, bound FROM alert_rules ORDER BY 1, 2, 3")
_TRANSFERS = text("""
    SELECT t.*, a.fallback, a.spending_limit_nanos, p.quota_nanos AS granted_nanos
    FROM transfers t JOIN accounts a USING (account_id) LEFT JOIN plans p USING (plan_id)
    ORDER BY t.account_id, t.seq
""")
_KEY_CHARGES = text("""
    SELECT account_id, api_key_id, limit_nanos, limit_period, transfer_seq, time, charge_nanos
    FROM usage_records JOIN api_keys USING (account_id, api_key_id)
    WHERE limit_nanos IS NOT NULL ORDER BY transfer_seq
""")
_SPEND = {"spend_per_hour": "%F %H", "spend_per_day": "%F"}


async def expected_crossings(engine: AsyncEngine) -> dict[str, list[Crossing]]:
    """Return what the rules of each account tell, by account, and what limits of its keys do."""
    async with engine.connect() as connection:
        rules = (await connection.execute(_RULES)).all()
        transfers = (await connection.execute(_TRANSFERS)).mappings().all()
        charges = (await connection.execute(_KEY_CHARGES)).mappings().all()
    told: dict[str, list[Crossing]] = defaultdict(list)
    for account_id, kind, bound in rules:
        mine = [row for row in transfers if row["account_id"] == account_id]
        name = "rule.spend" if kind in _SPEND else f"rule.{kind}"
        told[account_id] += [(name, seq, f"{kind} {bound}") for seq in _told_at(kind, bound, mine)]
    shares = [(account_id, bound) for account_id, kind, bound in rules if kind == "key_limit_share"]
    for account_id in {row["account_id"] for row in charges}:
        mine = [row for row in charges if row["account_id"] == account_id]
        percents = [bound for owner, bound in shares if owner == account_id]
        told[account_id] += _of_keys(mine, percents)
    return told


def _told_at(kind: str, bound: int, transfers: list[Any]) -> list[int]:
    """Return the numbers of the transfers at which a rule is told: once, and again when it was re-armed."""
    told_at, armed, period, spent, has_spent = [], True, "", 0, False
    for row in transfers:
        has_spent = has_spent or (row["kind"] == "usage" and row["amount_nanos"] < 0)
        if kind in _SPEND:
            if period != (now := row["occurred_at"].strftime(_SPEND[kind])):
                armed, period, spent = True, now, 0
            spent -= row["amount_nanos"] if row["kind"] == "usage" else 0
        if kind == "time_to_empty":
            reached = has_spent and row["balance_after_nanos"] <= 0
            rearmed = not reached
        else:
            reached, rearmed = _stands(kind, bound, row, spent)
        armed = armed or rearmed
        if reached and armed:
            told_at.append(row["seq"])
            armed = False
    return told_at


def _stands(kind: str, bound: int, row: Any, spent_nanos: int) -> tuple[bool, bool]:
    """Whether a rule is reached after a transfer, and whether that arms it again."""
    if kind == "balance":
        return row["balance_after_nanos"] <= bound, row["balance_after_nanos"] * 10 >= bound * 11
    if kind in _SPEND:
        return spent_nanos >= bound, False
    if kind == "quota_share":
        whole = row["granted_nanos"] or 0
        part = whole - row["quota_after_nanos"]
    elif kind == "spending_limit_share":
        whole = (row["spending_limit_nanos"] or 0) if row["fallback"] else 0
        part = row["cycle_spent_after_nanos"]
    else:
        return False, False
    reached = whole > 0 and 100 * part >= bound * whole
    return reached, not reached


def _of_keys(charges: list[Any], percents: list[int]) -> list[Crossing]:
    """Return where the spend of keys passed their limits, and shares of these; a transfer counts as one."""
    sums: dict[tuple[str, str, int], int] = defaultdict(int)
    limits = {row["api_key_id"]: row["limit_nanos"] for row in charges}
    for row in charges:
        sums[row["api_key_id"], _period(row["limit_period"], row["time"]), row["transfer_seq"]] += row[
            "charge_nanos"
        ]
    spent: dict[tuple[str, str], int] = defaultdict(int)
    told: list[Crossing] = []
    for (key, period, seq), charged in sums.items():
        before, limit = spent[key, period], limits[key]
        after = spent[key, period] = before + charged
        if before < limit <= after:
            told.append(("key.limit_reached", seq, key))
        told += [
            ("rule.key_limit_share", seq, f"key_limit_share {percent} {key}")
            for percent in percents
            if before * 100 < percent * limit <= after * 100
        ]
    return told


def _period(period: str, time: datetime) -> str:
    return time.strftime({"day": "%F", "month": "%Y-%m", "total": ""}[period])
