"""SQL of the price book: models, their rates, and the names they were asked for by."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.tables import model_aliases, models, price_book, rates
from shared.domain.price_book import ModelKey, PriceBook, PricedModel
from shared.domain.pricing import Rate, Tier, TokenRates

#: The source of prices that people set; imports leave them alone.
BY_HAND = "manual"


@dataclass(frozen=True, slots=True)
class NewRate:
    """A rate that is not in the book yet."""

    provider: str
    model: str
    effective_from: datetime
    tiers: tuple[Tier, ...]


async def book_version(connection: AsyncConnection) -> int:
    """Return the version of the book: it moves with every change."""
    version: int = (await connection.execute(select(price_book.c.version))).scalar_one()
    return version


async def load_price_book(connection: AsyncConnection) -> PriceBook:
    """Return the whole book; the version is read first, so it is never newer than what follows."""
    version = await book_version(connection)
    by_model: dict[ModelKey, list[Rate]] = defaultdict(list)
    for row in await connection.execute(select(rates).order_by(rates.c.effective_from)):
        by_model[row.provider, row.model].append(Rate(row.rate_id, row.effective_from, tiers_of(row.tiers)))
    priced = {
        (row.provider, row.model): PricedModel(
            row.provider,
            row.model,
            tuple(by_model[row.provider, row.model]),
            row.unsupported_because,
            by_hand=row.source == BY_HAND,
        )
        for row in await connection.execute(select(models))
    }
    aliases = {
        (row.provider_named, row.model_named): (row.provider, row.model)
        for row in await connection.execute(select(model_aliases))
    }
    return PriceBook(version, priced, aliases)


async def rate_tiers(connection: AsyncConnection) -> dict[int, tuple[Tier, ...]]:
    """Return the tiers of every rate by its id."""
    rows = await connection.execute(select(rates.c.rate_id, rates.c.tiers))
    return {rate_id: tiers_of(tiers) for rate_id, tiers in rows}


async def find_tiers(connection: AsyncConnection, rate_ids: Collection[int]) -> dict[int, tuple[Tier, ...]]:
    """Return the tiers of some rates by their ids."""
    query = select(rates.c.rate_id, rates.c.tiers).where(rates.c.rate_id.in_(rate_ids))
    return {rate_id: tiers_of(tiers) for rate_id, tiers in await connection.execute(query)}


async def lock_price_book(connection: AsyncConnection) -> None:
    """Let one change of prices happen at a time, and tell the pricing workers that there was one."""
    await connection.execute(update(price_book).values(version=price_book.c.version + 1))


async def load_sources(connection: AsyncConnection) -> dict[ModelKey, str]:
    """Return where the price of each model comes from."""
    rows = await connection.execute(select(models.c.provider, models.c.model, models.c.source))
    return {(row.provider, row.model): row.source for row in rows}


async def save_models(connection: AsyncConnection, source: str, found: Mapping[ModelKey, str | None]) -> None:
    """Write models with why each is unsupported (None where it is not), new or known."""
    if not found:
        return
    statement = upsert(models)
    rows = [
        {"provider": provider, "model": model, "source": source, "unsupported_because": reason}
        for (provider, model), reason in found.items()
    ]
    changed = {
        "source": statement.excluded.source,
        "unsupported_because": statement.excluded.unsupported_because,
    }
    await connection.execute(statement.on_conflict_do_update(constraint="models_pkey", set_=changed), rows)


async def insert_rates(connection: AsyncConnection, new: Sequence[NewRate]) -> None:
    """Append rates to the book."""
    if new:
        await connection.execute(
            insert(rates),
            [
                {
                    "provider": rate.provider,
                    "model": rate.model,
                    "effective_from": rate.effective_from,
                    "tiers": [_tier_json(tier) for tier in rate.tiers],
                }
                for rate in new
            ],
        )


async def save_aliases(connection: AsyncConnection, learned: Iterable[tuple[ModelKey, ModelKey]]) -> None:
    """Store which model a name was resolved to; the first resolution stays."""
    columns = ("provider_named", "model_named", "provider", "model")
    rows = [dict(zip(columns, (*name, *key), strict=True)) for name, key in sorted(learned)]
    if rows:
        await connection.execute(upsert(model_aliases).on_conflict_do_nothing(), rows)


def tiers_of(value: list[dict[str, Any]]) -> tuple[Tier, ...]:
    """Return the tiers of a rate from their JSON."""
    return tuple(
        Tier(tier["above_tokens"], TokenRates(**{kind: tier[kind] for kind in TokenRates._fields}))
        for tier in value
    )


def _tier_json(tier: Tier) -> dict[str, int | None]:
    return {"above_tokens": tier.above_tokens, **tier.rates._asdict()}
