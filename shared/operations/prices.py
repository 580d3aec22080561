"""Change and look up prices."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import prices as sql
from shared.db.engine import database_time
from shared.domain.errors import NotFoundError, RefusedError
from shared.domain.price_book import ANY_PROVIDER, ModelKey, PriceBook, PricedModel, named
from shared.domain.pricing import BEGINNING_OF_TIME, Rate, Tier, TokenRates, rate_at
from shared.gateways.genai_prices import CatalogModel, resolve


@dataclass(frozen=True, slots=True)
class ImportResult:
    """How many models an import touched."""

    models: int
    new_rates: int
    unsupported: int
    kept_manual: int


def look_up(book: PriceBook, provider: str | None, model: str) -> PricedModel | None:
    """Return the model a name stands for: by its own name, as resolved before, or as the library resolves it.

    A name that is resolved for the first time is remembered in ``book``; storing it is up to the caller.
    """
    if found := book.find(provider, model):
        return found
    key = resolve(provider, model)
    if key and (priced := book.get(key)):
        book.learn(provider, model, key)
        return priced
    return book.find_by_hand(provider, model)


async def import_models(engine: AsyncEngine, source: str, found: Iterable[CatalogModel]) -> ImportResult:
    """Write a price list. Prices set by hand stay; a changed price holds from now, or from its date."""
    async with engine.begin() as connection:
        await sql.lock_price_book(connection)
        book = await sql.load_price_book(connection)
        sources = await sql.load_sources(connection)
        now = await database_time(connection)
        listed = list(found)
        taken = [
            m for m in listed if source == sql.BY_HAND or sources.get((m.provider, m.model)) != sql.BY_HAND
        ]
        new = [
            rate
            for model in taken
            for rate in _new_rates(book.get((model.provider, model.model)), model, now)
        ]
        await sql.save_models(
            connection, source, {(m.provider, m.model): m.unsupported_because for m in taken}
        )
        await sql.insert_rates(connection, new)
    unsupported = sum(1 for model in taken if model.unsupported_because)
    return ImportResult(len(taken), len(new), unsupported, len(listed) - len(taken))


async def set_price(
    engine: AsyncEngine, provider: str | None, model: str, rates: TokenRates, effective_from: datetime | None
) -> tuple[PricedModel, Rate]:
    """Give a model a price by hand: its first from the beginning of time, later ones from now, unless told.

    Raises RefusedError where the model has a rate from that very instant.
    """
    async with engine.begin() as connection:
        await sql.lock_price_book(connection)
        book = await sql.load_price_book(connection)
        key = _key_to_set(book, provider, model)
        known = book.get(key)
        first = known is None or not known.rates
        start = effective_from or (BEGINNING_OF_TIME if first else await database_time(connection))
        if known and any(rate.effective_from == start for rate in known.rates):
            raise RefusedError(f"{key[1]} already has a rate from {start.isoformat()}; choose another --from")
        await sql.save_models(connection, sql.BY_HAND, {key: None})
        await sql.insert_rates(connection, [sql.NewRate(*key, start, (Tier(0, rates),))])
        priced = (await sql.load_price_book(connection)).get(key)
    if priced is None:
        raise NotFoundError(f"{model} vanished while its price was set")
    return priced, next(rate for rate in priced.rates if rate.effective_from == start)


async def show_price(
    engine: AsyncEngine, provider: str | None, model: str
) -> tuple[PricedModel, Rate | None]:
    """Return what a name stands for, with the rate in force now; raises NotFoundError."""
    async with engine.connect() as connection:
        book = await sql.load_price_book(connection)
        now = await database_time(connection)
    priced = look_up(book, provider, model)
    if priced is None:
        raise NotFoundError(
            f"no price is known for {model!r}; see `payg prices import` and `payg prices set`"
        )
    return priced, rate_at(priced.rates, now)


def _key_to_set(book: PriceBook, provider: str | None, model: str) -> ModelKey:
    """Return which model a price set by hand is for.

    Without a provider it is the model of exactly that name where there is one, and else a new one that
    answers for any provider. A name that merely resolves to another model gets a price of its own.
    """
    if provider is not None:
        return named(provider, model)
    resolved = resolve(None, model)
    if resolved and resolved[1] == model:
        return resolved
    only = book.find_by_hand(None, model)
    return (only.provider, only.model) if only else (ANY_PROVIDER, model)


def _new_rates(known: PricedModel | None, listed: CatalogModel, now: datetime) -> Iterable[sql.NewRate]:
    """Yield the rates of a price list that the book lacks, so that nothing already charged would change."""
    if known is None or not known.rates:
        for start, tiers in listed.rates:
            yield sql.NewRate(listed.provider, listed.model, start, tiers)
        return
    past = [rate for rate in listed.rates if rate[0] <= now]
    current = rate_at(known.rates, now)
    if past and (current is None or past[-1][1] != current.tiers):
        yield sql.NewRate(listed.provider, listed.model, now, past[-1][1])
    dates = {rate.effective_from for rate in known.rates}
    for start, tiers in listed.rates:
        if start > now and start not in dates:
            yield sql.NewRate(listed.provider, listed.model, start, tiers)
