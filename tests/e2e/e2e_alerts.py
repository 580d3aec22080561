"""An independent, single-threaded account of what the books must have told and topped up."""

from collections import defaultdict
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

_TRANSFERS = text("""
    SELECT t.*, a.fallback, a.spending_limit_nanos, s.threshold_nanos,
           o.low_nanos, o.warning_nanos, o.critical_nanos
    FROM transfers t JOIN accounts a USING (account_id) LEFT JOIN auto_topups s USING (account_id)
    LEFT JOIN alert_settings o USING (account_id)
    ORDER BY t.account_id, t.seq
""")
_DOLLAR = 10**9


async def expected_alerts(engine: AsyncEngine) -> dict[str, list[tuple[str, int]]]:
    """Return (kind, number of the transfer) of all alerts that follow, by account and in order.

    An account's own bounds count from its first transfer on; its rules are told beside these, as ``rule.…``.
    """
    told: dict[str, list[tuple[str, int]]] = defaultdict(list)
    unarmed: dict[str, set[str]] = defaultdict(set)
    once: dict[str, set[str]] = defaultdict(set)
    for row in await _books(engine):
        account = row["account_id"]
        kinds = [_balance_alert(unarmed[account], _levels(row))]
        if row["kind"] == "usage" and row["quota_amount_nanos"] < 0 and row["quota_after_nanos"] == 0:
            kinds.append(_first_time(once[account], "quota.exhausted"))
        limit = row["spending_limit_nanos"] if row["fallback"] else None
        if limit is not None and row["cycle_spent_after_nanos"] >= limit > 0:
            kinds.append(_first_time(once[account], "spending_limit.reached"))
        if row["kind"] == "topup":
            told[account].append(("topup.succeeded", row["seq"]))
        told[account] += [(kind, row["seq"]) for kind in kinds if kind]
    return told


async def assert_each_dip_is_topped_up_once(engine: AsyncEngine) -> int:
    """Every fall below the threshold led to one top-up, and nothing else did; return how many."""
    low: dict[str, bool] = {}
    topups = 0
    for row in await _books(engine):
        if row["threshold_nanos"] is None:
            continue
        account, below = row["account_id"], row["balance_after_nanos"] < row["threshold_nanos"]
        if row["kind"] == "topup":
            topups += 1
            assert low.pop(account, False), f"{account}/{row['seq']} topped up what was not low"
            low[account] = below
        else:
            low[account] = low.get(account, False) or below
    assert not any(low.values()), [account for account, is_low in low.items() if is_low]
    return topups


def _levels(row: Any) -> list[tuple[str, bool, bool]]:
    """Whether each level is reached, and re-armed, from worst to best."""
    balance = row["balance_after_nanos"]
    low = 20 * _DOLLAR if row["low_nanos"] is None else row["low_nanos"]
    warning = 10 * _DOLLAR if row["warning_nanos"] is None else row["warning_nanos"]
    critical = 5 * _DOLLAR if row["critical_nanos"] is None else row["critical_nanos"]
    lowest = min(bound for bound in (low, warning, critical) if bound > 0)
    return [
        ("exhausted", balance <= 0, balance * 10 >= lowest),
        ("critical", balance < critical, balance * 10 >= 11 * critical),
        ("warning", balance <= warning, balance * 10 >= 11 * warning),
        ("low", balance <= low, balance * 10 >= 11 * low),
    ]


def _balance_alert(unarmed: set[str], levels: list[tuple[str, bool, bool]]) -> str | None:
    was_unarmed = bool(unarmed)
    unarmed.difference_update(name for name, _, rearmed in levels if rearmed)
    reached = [name for name, holds, _ in levels if holds]
    if reached and reached[0] not in unarmed:
        unarmed.update(reached)
        return f"balance.{reached[0]}"
    return "balance.recovered" if was_unarmed and not unarmed else None


def _first_time(once: set[str], kind: str) -> str | None:
    if kind in once:
        return None
    once.add(kind)
    return kind


async def _books(engine: AsyncEngine) -> list[Any]:
    async with engine.connect() as connection:
        return list((await connection.execute(_TRANSFERS)).mappings())
