"""Keep usage in a file, and price it again from that file alone."""

from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import rerating as sql
from shared.db.engine import snapshot
from shared.db.prices import tiers_of
from shared.documents.usage_archive import read_usage, write_usage
from shared.domain.errors import NotFoundError, RefusedError
from shared.domain.price_book import ModelKey, PriceBook, PricedModel, named
from shared.domain.pricing import Rate
from shared.domain.rerating import RerateLine, Rerating
from shared.domain.usage_archive import ArchivedUsage
from shared.operations.rerate import OtherPrices, finder, keep_usage


async def write_archive(
    engine: AsyncEngine, account_ids: Collection[str], start: datetime, end: datetime, file: Path
) -> int:
    """Write the records that were debited from ``start`` to before ``end`` to a file; return how many.

    Without ids, those of every account. Raises NotFoundError for an unknown account, RefusedError where some
    of the months are detached or the file exists, ArchiveError where the extra is not installed.
    """
    async with snapshot(engine) as connection:
        await keep_usage(connection, account_ids, start, end)
        return await write_usage(file, sql.stream_archived(connection, account_ids, start, end))


def rerate_archive(
    file: Path,
    account_ids: Collection[str],
    start: datetime | None,
    end: datetime | None,
    prices: OtherPrices,
) -> list[RerateLine]:
    """Return what ``rerate`` does, for the records of a file; the price book is the rates that charged them.

    Raises NotFoundError for an account or a model that is not there, RefusedError for what is no archive.
    """
    rerating = Rerating(finder(_book_of(read_usage(file)), prices), prices.at)
    missing = set(account_ids)
    for usage in read_usage(file):
        if account_ids and usage.account_id not in account_ids:
            continue
        missing.discard(usage.account_id)
        within = (start is None or usage.debited_at >= start) and (end is None or usage.debited_at < end)
        if within and not usage.voided:
            rerating.add(usage.debited())
    if missing:
        raise NotFoundError(f"{file} has no usage of {min(missing)}")
    return rerating.lines()


def _book_of(rows: Iterator[ArchivedUsage]) -> PriceBook:
    """Return the rates that charged some records, under the names that the records gave."""
    rates: dict[ModelKey, dict[int, Rate]] = {}
    aliases: dict[ModelKey, ModelKey] = {}
    for row in rows:
        key = (row.rate_provider, row.rate_model)
        aliases[named(row.provider, row.model)] = key
        known = rates.setdefault(key, {})
        if row.rate_id not in known:
            known[row.rate_id] = _rate_of(row)
    models = {
        key: PricedModel(*key, tuple(sorted(dated.values(), key=lambda rate: rate.effective_from)))
        for key, dated in rates.items()
    }
    return PriceBook(0, models, aliases)


def _rate_of(row: ArchivedUsage) -> Rate:
    try:
        tiers = tiers_of(msgspec.json.decode(row.tiers, type=list[dict[str, int | None]]))
    except (msgspec.DecodeError, KeyError):
        raise RefusedError(f"the rate that charged {row.event_id} cannot be read") from None
    return Rate(row.rate_id, row.rate_from, tiers)
