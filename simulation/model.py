"""What must come out, worked out by one thread from plain numbers; shares no code with the product."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

DOLLAR = 10**9
START = datetime(2026, 1, 15, 12, tzinfo=UTC)
PROVIDER, MODEL = "simulated", "model"
#: Nanos per token, before and from START.
OLD_PRICE, NEW_PRICE = 1_000_000, 2_000_000


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the run; without a quota it has no plan. ``fallback`` lets the balance pay the rest.

    ``topup`` says below what it is topped up and by how much. One that is ``gated`` asks before each request.
    """

    account_id: str
    quota: int | None
    fallback: bool
    credit: int
    topup: tuple[int, int] | None = None
    gated: bool = False


ACCOUNTS = (
    Account("acct_a", None, fallback=False, credit=30 * DOLLAR),
    Account("acct_b", 6 * DOLLAR, fallback=True, credit=25 * DOLLAR),
    Account("acct_c", 4 * DOLLAR, fallback=False, credit=22 * DOLLAR),
    Account("acct_d", None, fallback=False, credit=8 * DOLLAR, topup=(12 * DOLLAR, 10 * DOLLAR)),
    Account("acct_e", None, fallback=False, credit=7 * DOLLAR, gated=True),
)


@dataclass(frozen=True, slots=True)
class Record:
    """A usage record that a service sent."""

    event_id: str
    account_id: str
    time: datetime
    tokens: int

    @property
    def price(self) -> int:
        """Nanos at the price of its own time."""
        return self.tokens * (OLD_PRICE if self.time < START else NEW_PRICE)


def split(account: Account, prices: Iterable[int]) -> list[tuple[int, int, int]]:
    """Return who pays for records in the order of the books: quota, balance, nobody."""
    left, parts = account.quota, []
    for price in prices:
        if left is None:
            parts.append((0, price, 0))
            continue
        quota = min(left, price)
        left -= quota
        rest = price - quota
        parts.append((quota, rest, 0) if account.fallback else (quota, 0, rest))
    return parts


_LEVELS = ("normal", "low", "warning", "critical", "exhausted")
#: Where a level can be told again: a tenth above its bound; *exhausted*, a tenth of the lowest of the others.
_REARMS = (0, 22 * DOLLAR, 11 * DOLLAR, 11 * DOLLAR // 2, DOLLAR // 2)


def alerts(transfers: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Return the alerts that transfers in their order give reason for: type and number of the transfer."""
    told, quota_told, found = 0, False, []
    for transfer in transfers:
        seq, kind, balance = transfer["seq"], transfer["kind"], transfer["balance_after_nanos"]
        before, level = told, _level(balance)
        while told and balance >= _REARMS[told]:
            told -= 1
        if level > told:
            told = level
            found.append((f"balance.{_LEVELS[level]}", seq))
        elif before and not told:
            found.append(("balance.recovered", seq))
        if kind == "quota_reset":
            found.append(("quota.reset", seq))
        took = kind == "usage" and transfer["quota_amount_nanos"] < 0
        used_up = transfer["quota_after_nanos"] == 0
        if took and used_up and not quota_told:
            found.append(("quota.exhausted", seq))
        quota_told = used_up and (quota_told or took)
    return found


def _level(balance: int) -> int:
    if balance <= 0:
        return 4
    return sum((balance <= 20 * DOLLAR, balance <= 10 * DOLLAR, balance < 5 * DOLLAR))
