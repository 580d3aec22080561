"""Debited records priced again from the books: which of them are taken, and at which prices."""

import asyncio
from datetime import UTC, datetime

import pytest
from books_builders import GRACE, MODEL, NANO_A_TOKEN, Books
from old_months import day_of, debit_in, detach_before, month, settle
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db import periods
from shared.domain.errors import NotFoundError, RefusedError
from shared.domain.periods import PeriodProof
from shared.domain.pricing import BEGINNING_OF_TIME, Tier, TokenRates
from shared.domain.rerating import RerateLine
from shared.gateways.genai_prices import CatalogModel
from shared.operations.money import void_usage
from shared.operations.prices import set_price
from shared.operations.rerate import OtherPrices, rerate

_SAME = OtherPrices()
_WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'usage_records'::regclass")


def _rates(nanos_a_token: int) -> TokenRates:
    return TokenRates.inherit({"input": nanos_a_token * NANO_A_TOKEN, "output": nanos_a_token * NANO_A_TOKEN})


async def _rerate(books: Books, prices: OtherPrices = _SAME, *accounts: str) -> list[RerateLine]:
    """Price all records again, or those of some accounts."""
    return await rerate(books.engine, accounts, BEGINNING_OF_TIME, datetime.max.replace(tzinfo=UTC), prices)


def _sums(lines: list[RerateLine]) -> list[tuple[str, int, int, int]]:
    return [(line.account_id, line.records, line.list_nanos, line.rerated_nanos) for line in lines]


async def test_at_the_same_prices_nothing_differs_and_nothing_changes(books: Books) -> None:
    account_id, subscriber = await books.account(), await books.subscriber(25, 200_000)
    for owner in (account_id, subscriber):
        await books.debit([books.record(owner, f"req_{n}", 10 + n) for n in range(3)])
    before = [await books.stored(owner) for owner in (account_id, subscriber)]
    assert _sums(await _rerate(books)) == [(owner, 3, 33, 33) for owner in sorted((account_id, subscriber))]
    assert [await books.stored(owner) for owner in (account_id, subscriber)] == before
    await books.assert_proven()


async def test_a_price_set_back_in_time_shows_what_was_charged_too_little(books: Books) -> None:
    account_id = await books.account()
    for ago in (3, 2):
        await debit_in(books, account_id, f"req_{ago}", 10, ago=ago)
    await set_price(books.engine, None, MODEL, _rates(3), month(2).start)
    (line,) = await _rerate(books)
    assert (line.list_nanos, line.rerated_nanos, line.difference_nanos) == (20, 40, 20)
    (line,) = await _rerate(books, OtherPrices(at=utc_now()))
    assert line.difference_nanos == 40


async def test_another_model_and_a_price_list_stand_in_for_the_book(books: Books) -> None:
    account_id = await books.account()
    await books.debit([books.record(account_id, "req_1", 10)])
    await set_price(books.engine, "acme", "large", _rates(5), None)
    large, listed = ("acme", "large"), CatalogModel("", MODEL, ((BEGINNING_OF_TIME, (Tier(0, _rates(7)),)),))
    assert _sums(await _rerate(books, OtherPrices(model=large))) == [(account_id, 1, 10, 50)]
    assert _sums(await _rerate(books, OtherPrices(listed=[listed]))) == [(account_id, 1, 10, 70)]
    assert _sums(await _rerate(books, OtherPrices(model=large, listed=[listed]))) == [(account_id, 1, 10, 50)]
    with pytest.raises(NotFoundError, match="no-such-model"):
        await _rerate(books, OtherPrices(model=(None, "no-such-model")))


async def test_only_what_was_debited_in_the_span_by_the_accounts_named_is_taken(books: Books) -> None:
    first, second = await books.account(), await books.account()
    for number, debited_at in enumerate((month(2).start, day_of(2), month(1).start)):
        late = books.record(first, f"req_{number}", 10**number, day_of(3))
        await books.debit([late, books.record(second, f"req_{number}", 5, day_of(3))], now=debited_at)
    span = (month(2).start, month(2).end)
    assert _sums(await rerate(books.engine, [first], *span, _SAME)) == [(first, 2, 11, 11)]
    assert len(await rerate(books.engine, [], *span, _SAME)) == 2
    assert len(await rerate(books.engine, [first, second], *span, _SAME)) == 2
    with pytest.raises(NotFoundError, match="acct_none"):
        await _rerate(books, _SAME, first, "acct_none")


async def test_a_voided_record_cost_nothing_and_would_have_cost_nothing(books: Books) -> None:
    account_id = await books.account()
    await books.debit([books.record(account_id, "req_1", 10), books.record(account_id, "req_2", 7)])
    await void_usage(books.engine, account_id, "req_1", "mistake", GRACE)
    assert _sums(await _rerate(books)) == [(account_id, 1, 7, 7)]


async def test_a_span_with_a_detached_month_is_refused_and_others_are_not(books: Books) -> None:
    account_id = await books.account()
    for ago in (4, 3):
        await debit_in(books, account_id, f"req_{ago}", 10, ago=ago)
    await settle(books)
    assert await detach_before(books, 3) == [str(month(4))]
    with pytest.raises(RefusedError, match=f"attach {month(4)}"):
        await rerate(books.engine, [], month(4).start, month(3).end, _SAME)
    lines = await rerate(books.engine, [], month(3).start, month(3).end, _SAME)
    assert _sums(lines) == [(account_id, 1, 10, 10)]


async def test_a_month_that_is_being_detached_is_waited_for_and_never_seems_empty(books: Books) -> None:
    await debit_in(books, await books.account(), "req_1", 10, ago=4)
    await settle(books)
    async with books.engine.begin() as detaching:
        await periods.detach(detaching, [month(4)])
        await periods.record(detaching, month(4), PeriodProof(1, b"digest"))
        rerating = asyncio.create_task(rerate(books.engine, [], month(4).start, month(4).end, _SAME))
        await _somebody_waits(books.engine)
    with pytest.raises(RefusedError, match=str(month(4))):
        await rerating


async def _somebody_waits(engine: AsyncEngine) -> None:
    async with asyncio.timeout(60), engine.connect() as connection:
        while not (await connection.execute(_WAITING)).scalar_one():  # noqa: ASYNC110 - nobody can tell us
            await asyncio.sleep(0.02)
