"""Say what debited records would have cost at other prices. It changes nothing."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import periods
from shared.db import rerating as sql
from shared.db.engine import snapshot
from shared.db.prices import load_price_book
from shared.domain.errors import NotFoundError, RefusedError
from shared.domain.price_book import PriceBook, PricedModel
from shared.domain.pricing import Rate
from shared.domain.rerating import Find, RerateLine, Rerating, at_listed_prices
from shared.gateways.genai_prices import CatalogModel
from shared.operations.prices import look_up

#: Of a rate that is in no price book.
_NO_RATE_ID = 0


@dataclass(frozen=True, slots=True)
class OtherPrices:
    """What to price by instead; each part that is None stays as it was.

    ``model`` (with its provider, or None) is the one all records would have used; ``listed`` goes over the
    price book; ``at`` is the instant whose rates hold.
    """

    model: tuple[str | None, str] | None = None
    listed: Sequence[CatalogModel] | None = None
    at: datetime | None = None


async def rerate(
    engine: AsyncEngine, account_ids: Sequence[str], start: datetime, end: datetime, prices: OtherPrices
) -> list[RerateLine]:
    """Return, by account and model, what records debited from ``start`` to before ``end`` would have cost.

    Without ids, those of every account. Raises NotFoundError for an unknown account or model, RefusedError
    where some of the months are detached.
    """
    async with snapshot(engine) as connection:
        await keep_usage(connection, account_ids, start, end)
        find = finder(await load_price_book(connection), prices)
        rerating = Rerating(find, prices.at)
        async for usage in sql.stream_debited(connection, account_ids, start, end):
            rerating.add(usage)
    return rerating.lines()


async def keep_usage(
    connection: AsyncConnection, account_ids: Collection[str], start: datetime, end: datetime
) -> None:
    """Keep the usage of that time where it is until the transaction ends; raises what ``rerate`` does."""
    await sql.keep_attached(connection)
    await _check_accounts(connection, account_ids)
    await _check_attached(connection, start, end)


def finder(book: PriceBook, prices: OtherPrices) -> Find:
    """Return how a model is found at other prices; raises NotFoundError for a model that has none."""
    find: Find = partial(look_up, book)
    if prices.listed is not None:
        find = at_listed_prices(_as_book(prices.listed), find)
    if prices.model is None:
        return find
    other = find(*prices.model)
    if other is None:
        raise NotFoundError(f"no price is known for {prices.model[1]!r}; see `payg prices show`")
    return lambda _provider, _model: other


def _as_book(listed: Iterable[CatalogModel]) -> PriceBook:
    models = {
        (model.provider, model.model): PricedModel(
            model.provider, model.model, tuple(Rate(_NO_RATE_ID, *rate) for rate in model.rates)
        )
        for model in listed
    }
    return PriceBook(0, models, {})


async def _check_accounts(connection: AsyncConnection, account_ids: Collection[str]) -> None:
    known = await sql.known_accounts(connection, account_ids)
    for account_id in account_ids:
        if account_id not in known:
            raise NotFoundError(f"there is no account {account_id}")


async def _check_attached(connection: AsyncConnection, start: datetime, end: datetime) -> None:
    for month in await periods.recorded(connection):
        if month.start < end and start < month.end:
            raise RefusedError(
                f"the usage of {month} is detached: `payg usage attach {month}` brings it back"
            )
