"""An independent, single-threaded account of what the books must hold: genai-prices and Fraction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chaos.model import list_price_nanos

_USAGE = text("""
    SELECT u.*, a.fallback, a.spending_limit_nanos, p.quota_nanos AS plan_quota_nanos, p.discount_ppm,
           k.account_id AS key_account_id
    FROM usage_records u JOIN accounts a USING (account_id) LEFT JOIN plans p USING (plan_id)
    LEFT JOIN api_keys k USING (api_key_id)
    ORDER BY u.account_id, u.transfer_seq, u.time, u.event_id
""")
_CREDITS = text("""
    SELECT account_id, sum(amount_nanos)::bigint FROM transfers
    WHERE kind IN ('credit', 'topup') GROUP BY account_id
""")


@dataclass
class ReferenceCycle:
    """Who pays, by the text of DESIGN §4, on one account in one cycle."""

    discount: Fraction
    quota_left: int
    limit_left: int | None
    fallback: bool

    def split(self, list_nanos: int) -> tuple[int, int, int, int]:
        discounted = round(list_nanos * (1 - self.discount))
        quota = min(discounted, self.quota_left)
        overflow = round(Fraction(list_nanos * (discounted - quota), discounted)) if quota < discounted else 0
        allowed = 0
        if self.fallback:
            allowed = overflow if self.limit_left is None else min(overflow, max(0, self.limit_left))
        self.quota_left -= quota
        if self.limit_left is not None:
            self.limit_left -= allowed
        return quota + overflow, quota, allowed, overflow - allowed


async def assert_books_match(engine: AsyncEngine, events: Sequence[dict[str, Any]]) -> None:
    """Every event is one row at its list price; every split follows from the order of transfers."""
    expected = {event["id"]: event for event in events}
    async with engine.connect() as connection:
        rows = (await connection.execute(_USAGE)).mappings().all()
        balances = dict(
            (await connection.execute(text("SELECT account_id, balance_nanos FROM accounts"))).all()
        )
        credits_ = dict((await connection.execute(_CREDITS)).all())
    assert sorted(row["event_id"] for row in rows) == sorted(expected)
    prices = {event_id: list_price_nanos(event) for event_id, event in expected.items()}
    assert {row["event_id"]: row["list_nanos"] for row in rows} == prices
    assert sum(row["list_nanos"] for row in rows) == sum(prices.values())
    for row in rows:
        _assert_same_content(row, expected[row["event_id"]])
    spent = _assert_splits(rows)
    for account_id, balance in balances.items():
        assert balance == credits_.get(account_id, 0) - spent.get(account_id, 0)


def _assert_same_content(row: Any, event: dict[str, Any]) -> None:
    data = event["data"]
    assert (row["api_key_id"], row["provider"], row["model"]) == (
        data["api_key_id"],
        data.get("provider"),
        data["model"],
    )
    assert row["key_account_id"] == row["account_id"]
    assert row["time"] == _time(event)
    for kind in ("input", "output", "cache_read", "cache_write"):
        assert row[f"{kind}_tokens"] == data.get(f"{kind}_tokens", 0)


def _assert_splits(rows: Iterable[Any]) -> dict[str, int]:
    """Replay the rows in the order of the books; return what each balance paid."""
    cycles: dict[str, ReferenceCycle] = {}
    spent: dict[str, int] = {}
    for row in rows:
        split = (row["charge_nanos"], row["quota_nanos"], row["balance_nanos"], row["uncollected_nanos"])
        if row["plan_quota_nanos"] is None:
            assert split == (row["list_nanos"], 0, row["list_nanos"], 0)
        else:
            cycle = cycles.setdefault(
                row["account_id"],
                ReferenceCycle(
                    Fraction(row["discount_ppm"], 10**6),
                    row["plan_quota_nanos"],
                    row["spending_limit_nanos"],
                    row["fallback"],
                ),
            )
            assert split == cycle.split(row["list_nanos"])
        spent[row["account_id"]] = spent.get(row["account_id"], 0) + row["balance_nanos"]
    return spent


def _time(event: dict[str, Any]) -> datetime:
    time = event["time"]
    return time if isinstance(time, datetime) else datetime.fromisoformat(time)
