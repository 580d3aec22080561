"""What debited records would have cost at other prices. Pure; it has no pricing formula of its own.

List prices are compared. How quota, discount and spending limit would have split another charge depends on
what the account's settings were at each moment, which the books do not keep: so of each record, the balance
would have paid the same share of the list price as it did.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from shared.domain.errors import PriceNotSupportedError
from shared.domain.ids import AccountId
from shared.domain.money import divide_half_even
from shared.domain.price_book import PriceBook, PricedModel
from shared.domain.tokens import TokenCounts

#: Finds what a provider, or None, and a model's name stand for.
Find = Callable[[str | None, str], PricedModel | None]


class DebitedUsage(NamedTuple):
    """What there is to re-price of a record: who used which model when, how much, and what it cost.

    ``balance_nanos`` is what the balance paid of it; ``has_plan`` is whether it counted in a cycle.
    """

    account_id: AccountId
    provider: str | None
    model: str
    time: datetime
    tokens: TokenCounts
    list_nanos: int
    balance_nanos: int
    has_plan: bool


@dataclass(slots=True)
class RerateLine:
    """The records of one account on one model; ``list_nanos`` and ``rerated_nanos`` are of the same records.

    ``balance_difference_nanos`` is how much more the balance would have paid for them; below zero: less. What
    has no price at the other prices stands apart: a missing price is never a price of zero.
    """

    account_id: AccountId
    provider: str | None
    model: str
    records: int = 0
    list_nanos: int = 0
    rerated_nanos: int = 0
    balance_difference_nanos: int = 0
    unpriced_records: int = 0
    unpriced_nanos: int = 0

    @property
    def difference_nanos(self) -> int:
        """How much more the records would have cost; below zero: less."""
        return self.rerated_nanos - self.list_nanos


class Rerating:
    """Adds up records, by account and model, beside what they would have cost.

    ``at`` is the instant whose rates hold for all records; None means each record's own time.
    """

    def __init__(self, find: Find, at: datetime | None = None) -> None:
        self._find = find
        self._at = at
        self._found: dict[tuple[str | None, str], PricedModel | None] = {}
        self._lines: dict[tuple[AccountId, str | None, str], RerateLine] = {}

    def add(self, usage: DebitedUsage) -> None:
        """Count one record."""
        key = (usage.account_id, usage.provider, usage.model)
        line = self._lines.get(key) or self._lines.setdefault(key, RerateLine(*key))
        nanos = self._price(usage)
        if nanos is None:
            line.unpriced_records += 1
            line.unpriced_nanos += usage.list_nanos
        else:
            line.records += 1
            line.list_nanos += usage.list_nanos
            line.rerated_nanos += nanos
            line.balance_difference_nanos += balance_difference_nanos(usage, nanos)

    def lines(self) -> list[RerateLine]:
        """Return the lines in order of account, provider and model."""
        return sorted(
            self._lines.values(), key=lambda line: (line.account_id, line.provider or "", line.model)
        )

    def _price(self, usage: DebitedUsage) -> int | None:
        name = (usage.provider, usage.model)
        if name not in self._found:
            self._found[name] = self._find(*name)
        model = self._found[name]
        try:
            return model.charge(usage.tokens, self._at or usage.time)[1] if model else None
        except PriceNotSupportedError:
            return None


def balance_difference_nanos(usage: DebitedUsage, rerated_nanos: int) -> int:
    """Return how much more the balance would have paid for a record, had that been its list price.

    Its share of the list price stays as it was; quota and what was not collected bear the rest. Under a plan
    a record that was free says nothing about who would have paid: not the balance.
    """
    if not usage.has_plan:
        return rerated_nanos - usage.balance_nanos
    if usage.list_nanos == 0:
        return 0
    share_nanos = divide_half_even(rerated_nanos * usage.balance_nanos, usage.list_nanos)
    return share_nanos - usage.balance_nanos


def at_listed_prices(listed: PriceBook, find: Find) -> Find:
    """Return a look-up in which the models of a price list go over those that ``find`` knows."""

    def look(provider: str | None, model: str) -> PricedModel | None:
        if own := listed.find(provider, model):
            return own
        known = find(provider, model)
        return known and (listed.find(known.provider, known.model) or known)

    return look
