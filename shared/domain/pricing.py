"""Rates and the list price of a record.

A rate is integer nanos per million tokens for each token kind, in ordered tiers. The total of all input
pools picks the tier, and that tier prices the *whole* record. One rounding, at the end.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import NamedTuple, Self

from shared.domain.errors import InvalidAmountError, PriceNotSupportedError
from shared.domain.money import divide_half_even
from shared.domain.tokens import PARENT_KIND, TOKEN_KINDS, TokenCounts

TOKENS_PER_RATE = 10**6
#: $100,000 per million tokens. Six pools of 10^9 tokens at this rate still fit a BIGINT of nanos.
MAX_RATE_NANOS = 10**14
#: A model's first rate holds from here unless told otherwise.
BEGINNING_OF_TIME = datetime(1970, 1, 1, tzinfo=UTC)


class TokenRates(NamedTuple):
    """Nanos per million tokens of each kind; None where a record with such tokens has no price."""

    input: int | None
    output: int | None
    cache_read: int | None
    cache_write: int | None
    input_audio: int | None
    output_audio: int | None

    @classmethod
    def inherit(cls, own: Mapping[str, int | None]) -> Self:
        """Fill each kind that is absent from ``own`` with the rate of its parent.

        A kind that is in ``own`` as None has a price that cannot be expressed and inherits nothing.
        Raises InvalidAmountError for a rate out of range.
        """
        for kind, rate in own.items():
            if rate is not None and not 0 <= rate <= MAX_RATE_NANOS:
                raise InvalidAmountError(f"the {kind} rate lies between $0 and $100,000 per million tokens")
        return cls(
            *(own[kind] if kind in own else own.get(PARENT_KIND.get(kind, "")) for kind in TOKEN_KINDS)
        )


class Tier(NamedTuple):
    """Rates that hold above so many input tokens. The first tier of a rate holds from zero."""

    above_tokens: int
    rates: TokenRates


@dataclass(frozen=True, slots=True)
class Rate:
    """The price of one model from one instant on; ``tiers`` ascend by ``above_tokens``."""

    rate_id: int
    effective_from: datetime
    tiers: tuple[Tier, ...]


_effective_from = attrgetter("effective_from")
_above_tokens = attrgetter("above_tokens")


def rate_at(rates: Sequence[Rate], instant: datetime) -> Rate | None:
    """Return the rate in force at an instant; ``rates`` ascend by ``effective_from``."""
    index = bisect_right(rates, instant, key=_effective_from)
    return rates[index - 1] if index else None


def tier_for(tiers: Sequence[Tier], total_input_tokens: int) -> Tier:
    """Return the highest tier whose bound lies strictly below the total, or the first."""
    for tier in reversed(tiers):
        if total_input_tokens > tier.above_tokens:
            return tier
    return tiers[0]


def list_price_nanos(tiers: Sequence[Tier], tokens: TokenCounts) -> int:
    """Return the list price of a record: the sum of tokens times rates, rounded once.

    Raises PriceNotSupportedError when the record has tokens of a kind that has no price.
    """
    rates = tier_for(tiers, tokens.total_input).rates
    total = 0
    for kind, count, rate in zip(TOKEN_KINDS, tokens, rates, strict=True):
        if count:
            if rate is None:
                raise PriceNotSupportedError(f"the model has no price for {kind} tokens")
            total += count * rate
    return divide_half_even(total, TOKENS_PER_RATE)
