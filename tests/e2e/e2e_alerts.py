"""An independent, single-threaded account of what the books must have told and topped up."""

from collections import defaultdict
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

_TRANSFERS = text("""
    SELECT t.*, a.fallback, a.spending_limit_nanos, s.threshold_nanos
    FROM transfers t JOIN accounts a USING (account_id) LEFT JOIN auto_topups s USING (account_id)
    ORDER BY t.account_id, t.seq
""")
_DOLLAR = 10**9
#: From worst to best: the balance at or below which it is told, and from which it can be told again.
_LEVELS = (
    ("exhausted", lambda b: b <= 0, _DOLLAR // 2),
    ("critical", lambda b: b < 5 * _DOLLAR, 55 * _DOLLAR // 10),
    ("warning", lambda b: b <= 10 * _DOLLAR, 11 * _DOLLAR),
    ("low", lambda b: b <= 20 * _DOLLAR, 22 * _DOLLAR),
)


async def expected_alerts(engine: AsyncEngine) -> dict[str, list[tuple[str, int]]]:
    """Return (kind, number of the transfer) of all alerts that follow, by account and in order."""
    told: dict[str, list[tuple[str, int]]] = defaultdict(list)
    unarmed: dict[str, set[str]] = defaultdict(set)
    once: dict[str, set[str]] = defaultdict(set)
    for row in await _books(engine):
        account, balance = row["account_id"], row["balance_after_nanos"]
        kinds = [_balance_alert(unarmed[account], balance)]
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


def _balance_alert(unarmed: set[str], balance: int) -> str | None:
    was_unarmed = bool(unarmed)
    for name, _, rearmed_at in _LEVELS:
        if balance >= rearmed_at:
            unarmed.discard(name)
    reached = [name for name, holds, _ in _LEVELS if holds(balance)]
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
