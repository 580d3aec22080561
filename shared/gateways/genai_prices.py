"""The open price list ``genai-prices``: what its models cost in our terms, and which model a name means.

Source: https://github.com/pydantic/genai-prices (MIT). It prices a record as a whole by the highest tier that
the total of input tokens exceeds, as payg does. What payg cannot express is named, never guessed: prices by
time of day, by request, by page, by second; rates finer than a nano per million tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import Decimal

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import (
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from shared.domain.money import NANOS_PER_DOLLAR
from shared.domain.price_book import ModelKey
from shared.domain.pricing import BEGINNING_OF_TIME, Tier, TokenRates

#: Token kinds and the names of their prices in the library.
_PRICE_KEYS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "input_audio": "input_audio_mtok",
    "output_audio": "output_audio_mtok",
}
#: Prices of things that a usage record cannot hold and that are charged beside its tokens.
_BESIDE_TOKENS = ("_mtok", "_searches_kcount", "code_executions_kcount")


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """A model of the library: its dated tiers, oldest first, or why its price cannot be expressed."""

    provider: str
    model: str
    rates: tuple[tuple[datetime, tuple[Tier, ...]], ...] = ()
    unsupported_because: str | None = None


def catalog() -> Iterator[CatalogModel]:
    """Yield every model of the library."""
    for provider in get_snapshot().providers:
        for model in provider.models:
            yield _catalog_model(provider, model)


def resolve(provider: str | None, model: str) -> ModelKey | None:
    """Return the (provider, model) that a name stands for, as the library resolves it, or None."""
    snapshot = get_snapshot()
    try:
        asked, found = snapshot.find_provider_model(model, None, provider, None)
    except LookupError:
        return None
    # A cloud that offers another house's model has the price of that house.
    for candidate in (asked, *snapshot.providers):
        if any(found is owned for owned in candidate.models):
            return candidate.id, found.id
    return None


def _catalog_model(provider: Provider, model: ModelInfo) -> CatalogModel:
    constraints = [] if isinstance(model.prices, ModelPrice) else [c.constraint for c in model.prices]
    if any(isinstance(constraint, TimeOfDateConstraint) for constraint in constraints):
        return CatalogModel(provider.id, model.id, unsupported_because="its price depends on the time of day")
    dates = sorted({c.start_date for c in constraints if isinstance(c, StartDateConstraint)})
    starts = [datetime.combine(date, time(), UTC) for date in dates]
    rates: list[tuple[datetime, tuple[Tier, ...]]] = []
    for start in (BEGINNING_OF_TIME, *starts):
        price = model.get_prices(start)
        if reason := _why_unsupported(price):
            return CatalogModel(provider.id, model.id, unsupported_because=reason)
        tiers = _tiers(price)
        if not rates or rates[-1][1] != tiers:
            rates.append((start, tiers))
    return CatalogModel(provider.id, model.id, tuple(rates))


def _prices_of(price: ModelPrice) -> dict[str, Decimal | TieredPrices]:
    return {key: value for key, value in vars(price).items() if value is not None}


def _why_unsupported(price: ModelPrice) -> str | None:
    prices = _prices_of(price)
    other = sorted(key for key in prices if not key.endswith(_BESIDE_TOKENS))
    if other:
        return f"it is priced by {', '.join(other)}, not by tokens alone"
    if not any(key in prices for key in ("input_mtok", "output_mtok")):
        return "the price list has no token price for it"
    return None


def _tiers(price: ModelPrice) -> tuple[Tier, ...]:
    prices = _prices_of(price)
    starts = {
        tier.start for value in prices.values() if isinstance(value, TieredPrices) for tier in value.tiers
    }
    return tuple(Tier(above, _rates_above(prices, above)) for above in (0, *sorted(starts)))


def _rates_above(prices: dict[str, Decimal | TieredPrices], above_tokens: int) -> TokenRates:
    own = {
        kind: _nanos(_price_above(prices[key], above_tokens))
        for kind, key in _PRICE_KEYS.items()
        if key in prices
    }
    return TokenRates.inherit(own)


def _price_above(price: Decimal | TieredPrices, above_tokens: int) -> Decimal:
    if isinstance(price, Decimal):
        return price
    # The first tier of ours holds from zero, where none of the library's does.
    started = [tier.price for tier in price.tiers if tier.start <= above_tokens and above_tokens > 0]
    return started[-1] if started else price.base


def _nanos(dollars: Decimal) -> int | None:
    """Return nanos per million tokens, or None for a rate that is finer than that."""
    nanos = dollars * NANOS_PER_DOLLAR
    return int(nanos) if nanos == int(nanos) else None
