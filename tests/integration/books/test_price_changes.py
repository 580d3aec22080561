"""Prices over time: import, `prices set`, and the pricing worker that must see them at once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from books_builders import Books, event
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db import tables
from shared.db.prices import load_price_book
from shared.domain.errors import InvalidAmountError, PriceNotSupportedError, RefusedError
from shared.domain.pricing import BEGINNING_OF_TIME, Tier, TokenRates
from shared.domain.tokens import TokenCounts
from shared.domain.usage import PricedUsage
from shared.gateways.genai_prices import CatalogModel
from shared.messaging.topology import Stage
from shared.operations.prices import ImportResult, import_models, look_up, set_price, show_price
from workers.pricing import Pricing

_HOUR = timedelta(hours=1)
_MILLION = TokenCounts(input=10**6)


def _rates(input_nanos: int, **own: int) -> TokenRates:
    return TokenRates.inherit({"input": input_nanos, "output": input_nanos, **own})


def _listed(nanos: int, start: datetime = BEGINNING_OF_TIME, model: str = "m", **why: str) -> CatalogModel:
    rates = () if why else ((start, (Tier(0, _rates(nanos)),)),)
    return CatalogModel("acme", model, rates, **why)


async def _import(engine: AsyncEngine, *found: CatalogModel) -> ImportResult:
    return await import_models(engine, "genai-prices", found)


async def _cost(engine: AsyncEngine, time: datetime, model: str = "m", provider: str | None = "acme") -> int:
    """Return what a million input tokens cost at a time."""
    async with engine.connect() as connection:
        found = look_up(await load_price_book(connection), provider, model)
    assert found is not None
    return found.charge(_MILLION, time)[1]


async def test_a_price_that_changed_upstream_holds_from_now_and_the_old_one_before(
    engine: AsyncEngine,
) -> None:
    await _import(engine, _listed(5))
    before = utc_now()
    result = await _import(engine, _listed(7))
    assert (result.models, result.new_rates) == (1, 1)
    assert await _cost(engine, before) == 5
    assert await _cost(engine, utc_now() + _HOUR) == 7
    assert (await _import(engine, _listed(7))).new_rates == 0


async def test_a_price_announced_for_a_day_holds_from_that_day(engine: AsyncEngine) -> None:
    start = utc_now() + _HOUR
    changing = CatalogModel("acme", "m", (*_listed(5).rates, *_listed(7, start).rates))
    await _import(engine, _listed(5))
    assert (await _import(engine, changing)).new_rates == 1
    assert (await _import(engine, changing)).new_rates == 0
    assert await _cost(engine, start - timedelta(seconds=1)) == 5
    assert await _cost(engine, start) == 7


async def test_a_price_set_by_hand_is_kept_by_import(engine: AsyncEngine) -> None:
    await set_price(engine, "acme", "m", _rates(3), None)
    result = await _import(engine, _listed(5), _listed(6, model="other"))
    assert (result.models, result.new_rates, result.kept_manual) == (1, 1, 1)
    assert await _cost(engine, utc_now()) == 3


async def test_a_price_set_by_hand_over_an_imported_one_holds_from_now_and_is_kept(
    engine: AsyncEngine,
) -> None:
    await _import(engine, _listed(5))
    before = utc_now()
    await set_price(engine, "acme", "m", _rates(3), None)
    assert (await _import(engine, _listed(9))).kept_manual == 1
    assert (await _cost(engine, before), await _cost(engine, utc_now() + _HOUR)) == (5, 3)


async def test_the_first_rate_holds_from_the_beginning_of_time_and_later_ones_from_now(
    engine: AsyncEngine,
) -> None:
    _, first = await set_price(engine, "acme", "m", _rates(3), None)
    assert first.effective_from == BEGINNING_OF_TIME
    before = utc_now()
    _, second = await set_price(engine, "acme", "m", _rates(4), None)
    assert before <= second.effective_from <= utc_now() + timedelta(minutes=1)
    assert await _cost(engine, BEGINNING_OF_TIME) == 3
    assert await _cost(engine, second.effective_from - timedelta(microseconds=1)) == 3
    assert await _cost(engine, second.effective_from) == 4


async def test_a_first_rate_with_a_start_leaves_older_records_without_a_price(engine: AsyncEngine) -> None:
    """A missing price billed as 0."""
    start = datetime(2026, 6, 1, tzinfo=UTC)
    await set_price(engine, "acme", "m", _rates(3), start)
    assert await _cost(engine, start) == 3
    with pytest.raises(PriceNotSupportedError, match="no price at"):
        await _cost(engine, start - timedelta(microseconds=1))


async def test_a_rate_between_two_others_holds_until_the_later_one(engine: AsyncEngine) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    await set_price(engine, "acme", "m", _rates(1), None)
    await set_price(engine, "acme", "m", _rates(3), start + 2 * _HOUR)
    await set_price(engine, "acme", "m", _rates(2), start + _HOUR)
    assert [await _cost(engine, start + n * _HOUR) for n in range(3)] == [1, 2, 3]


async def test_a_second_rate_from_the_same_instant_is_refused(engine: AsyncEngine) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    await set_price(engine, "acme", "m", _rates(1), start)
    with pytest.raises(RefusedError, match="--from"):
        await set_price(engine, "acme", "m", _rates(2), start)
    assert await _cost(engine, start) == 1


async def test_a_price_for_any_provider_answers_where_none_has_its_own(engine: AsyncEngine) -> None:
    await set_price(engine, None, "in-house", _rates(1), None)
    await set_price(engine, "acme", "in-house", _rates(2), None)
    when = utc_now() + _HOUR
    # The model of exactly that name is meant where one is there when the price is set.
    assert await _cost(engine, when, "in-house", "acme") == 2
    assert await _cost(engine, when, "in-house", "other") == 1
    assert await _cost(engine, when, "in-house", None) == 1


async def test_a_price_by_hand_makes_a_model_payable_that_the_list_cannot_express(
    engine: AsyncEngine,
) -> None:
    await _import(engine, _listed(0, unsupported_because="its price depends on the time of day"))
    with pytest.raises(PriceNotSupportedError, match="time of day"):
        await _cost(engine, utc_now())
    await set_price(engine, "acme", "m", _rates(3), None)
    assert await _cost(engine, BEGINNING_OF_TIME) == 3
    await _import(engine, _listed(0, unsupported_because="its price depends on the time of day"))
    assert await _cost(engine, utc_now()) == 3


async def test_rates_finer_than_a_nano_a_token_are_exact_and_rounded_once(engine: AsyncEngine) -> None:
    """Rounding drift."""
    await set_price(engine, "acme", "m", _rates(1_500_000, output=1, cache_read=250_000), None)
    priced, _ = await show_price(engine, "acme", "m")
    costs = [
        (TokenCounts(input=1), 2),  # 1.5
        (TokenCounts(input=3), 4),  # 4.5
        (TokenCounts(cache_read=1), 0),  # 0.25
        (TokenCounts(cache_read=2), 0),  # 0.5
        (TokenCounts(input=1, cache_read=1, output=1), 2),  # 1.750001
        (TokenCounts(cache_read=2, output=1), 1),  # 0.500001
    ]
    assert [(tokens, priced.charge(tokens, utc_now())[1]) for tokens, _ in costs] == costs


async def test_rates_out_of_range_are_refused_at_the_door() -> None:
    for nanos in (-1, 10**14 + 1):
        with pytest.raises(InvalidAmountError):
            _rates(nanos)


async def test_a_pricing_worker_sees_a_price_that_was_set_at_once(books: Books) -> None:
    account_id, pricing = await books.account(), Pricing(books.engine, 1)
    assert await _priced(pricing, event("req_1", account_id=account_id, model="fresh")) == []
    await set_price(books.engine, None, "fresh", _rates(10**6), None)
    assert await _priced(pricing, event("req_1", 7, account_id=account_id, model="fresh")) == [7]
    await set_price(books.engine, None, "fresh", _rates(2 * 10**6), None)
    assert await _priced(pricing, event("req_2", 7, account_id=account_id, model="fresh")) == [14]
    assert [(e["reason"], e["event_id"]) for e in await books.parked()] == [("unknown_model", "req_1")]


async def test_an_alias_is_resolved_once_and_stored(books: Books) -> None:
    account_id = await books.account()
    await set_price(books.engine, "openai", "gpt-4o", _rates(10**6), None)
    names: list[dict[str, Any]] = [
        {"model": "gpt-4o-2024-08-06"},
        {"model": "gpt-4o", "provider": "azure"},
        {"model": "gpt-4o"},
        {"model": "gpt-4o", "provider": "OpenAI"},
    ]
    raws = [event(f"req_{n}", 5, account_id=account_id, **name) for n, name in enumerate(names)]
    pricing = Pricing(books.engine, 1)
    assert await _priced(pricing, *raws) == [5] * 4
    assert await _priced(pricing, *raws) == [5] * 4
    async with books.engine.connect() as connection:
        rows = (await connection.execute(select(tables.model_aliases))).all()
    assert sorted(rows) == [
        ("", "gpt-4o", "openai", "gpt-4o"),
        ("", "gpt-4o-2024-08-06", "openai", "gpt-4o"),
        ("azure", "gpt-4o", "openai", "gpt-4o"),
    ]


async def test_an_alias_learned_in_a_batch_that_failed_is_stored_when_it_comes_again(books: Books) -> None:
    account_id = await books.account()
    await set_price(books.engine, "openai", "gpt-4o", _rates(10**6), None)
    pricing = Pricing(books.engine, 1)
    known = event("req_0", 5, account_id=account_id, model="gpt-4o", provider="openai")
    raw = event("req_1", 5, account_id=account_id, model="gpt-4o-2024-08-06")
    assert await _priced(pricing, known) == [5]
    async with books.engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE model_aliases RENAME TO away")
    with pytest.raises(Exception, match="model_aliases"):
        await _priced(pricing, raw)
    async with books.engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE away RENAME TO model_aliases")
    assert await _priced(pricing, raw) == [5]
    async with books.engine.connect() as connection:
        assert len((await connection.execute(select(tables.model_aliases))).all()) == 1


async def _priced(pricing: Pricing, *raws: bytes) -> list[int]:
    """Run the pricing stage on a batch and return the list prices of what went on."""
    messages = await pricing.handle([msgspec.Raw(raw) for raw in raws])
    debits = [message for message in messages if message.stage is Stage.DEBIT]
    elements: list[PricedUsage] = [element for message in debits for element in message.batch]
    return [element.list_nanos for element in elements]
