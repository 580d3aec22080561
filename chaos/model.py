"""An independent, single-threaded account of what records cost, and of what the books told and topped up."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from genai_prices import Usage, calc_price
from sqlalchemy import RowMapping, text
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


async def topup_faults(engine: AsyncEngine) -> list[str]:
    """Return what was topped up without having been low, and what is low and was not topped up."""
    low: dict[str, bool] = {}
    faults = []
    for row in await _books(engine):
        if row["threshold_nanos"] is None:
            continue
        account, below = row["account_id"], row["balance_after_nanos"] < row["threshold_nanos"]
        if row["kind"] == "topup":
            if not low.pop(account, False):
                faults.append(f"{account}/{row['seq']} topped up what was not low")
            low[account] = below
        else:
            low[account] = low.get(account, False) or below
    return faults + [f"{account} is low and was not topped up" for account, is_low in low.items() if is_low]


def list_price_nanos(event: Mapping[str, Any]) -> int:
    """Return what genai-prices says a record costs, rounded once to the nano."""
    data, time = event["data"], event["time"]
    count = {kind: data.get(f"{kind}_tokens", 0) for kind in ("input", "output", "cache_read", "cache_write")}
    usage = Usage(
        input_tokens=count["input"] + count["cache_read"] + count["cache_write"],
        output_tokens=count["output"],
        cache_read_tokens=count["cache_read"],
        cache_write_tokens=count["cache_write"],
    )
    at = time if isinstance(time, datetime) else datetime.fromisoformat(time)
    price = calc_price(usage, data["model"], provider_id=data.get("provider"), genai_request_timestamp=at)
    return int((price.total_price * 10**9).quantize(Decimal(1), ROUND_HALF_EVEN))


def _levels(row: RowMapping) -> list[tuple[str, bool, bool]]:
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


async def _books(engine: AsyncEngine) -> list[RowMapping]:
    async with engine.connect() as connection:
        return list((await connection.execute(_TRANSFERS)).mappings())
