"""Reratings posted as corrections: what they change, and that they change it once."""

import asyncio
from datetime import timedelta

import pytest
from books_builders import GRACE, MODEL, NANO_A_TOKEN, Books
from old_months import debit_in, month

from shared.clock import utc_now
from shared.domain.errors import RefusedError
from shared.domain.ids import AccountId
from shared.domain.pricing import BEGINNING_OF_TIME, Tier, TokenRates
from shared.gateways.genai_prices import CatalogModel
from shared.operations import rerate_posting
from shared.operations.rerate import OtherPrices
from shared.operations.rerate_posting import PostedCorrection, rerate_and_post


def _at(nanos_a_token: int) -> OtherPrices:
    rate = nanos_a_token * NANO_A_TOKEN
    rates = TokenRates.inherit({"input": rate, "output": rate})
    return OtherPrices(listed=[CatalogModel("", MODEL, ((BEGINNING_OF_TIME, (Tier(0, rates),)),))])


async def _post(
    books: Books, prices: OtherPrices, *accounts: str, reason: str = "agreed", ago: int = 3
) -> list[PostedCorrection]:
    span = (month(ago).start, month(2).end)
    return (await rerate_and_post(books.engine, accounts, *span, prices, reason, GRACE))[1]


async def _balance(books: Books, account_id: AccountId) -> int:
    return int((await books.stored(account_id))["balance_nanos"])


async def test_a_difference_is_posted_once_and_the_books_stay_proven(books: Books) -> None:
    first, second = await books.account(), await books.account()
    for owner, tokens in ((first, 10), (second, 7)):
        await debit_in(books, owner, "req_1", tokens, ago=3)
        await debit_in(books, owner, "req_2", tokens, ago=2)
        await debit_in(books, owner, "req_3", 1000, ago=0)
    posted = await _post(books, _at(3))
    assert [(each.account_id, each.kind, each.amount_nanos) for each in posted] == sorted(
        [(first, "adjustment", -40), (second, "adjustment", -28)]
    )
    assert all("agreed" in each.cause and str(month(3)) in each.cause for each in posted)
    again = await _post(books, _at(3), reason="asked again")
    assert [(each.seq, each.posted_before) for each in again] == [(each.seq, True) for each in posted]
    assert (await _balance(books, first), await _balance(books, second)) == (-1060, -1042)
    await books.assert_proven()


async def test_what_was_too_much_is_credited_and_asking_at_once_credits_once(books: Books) -> None:
    account_id = await books.account()
    await debit_in(books, account_id, "req_1", 10, ago=3)
    found = await asyncio.gather(*(_post(books, _at(0)) for _ in range(4)))
    assert sorted(each.posted_before for (each,) in found) == [False, True, True, True]
    assert await _balance(books, account_id) == 0
    assert [row["kind"] for row in await books.transfers(account_id)] == ["usage", "credit"]
    await books.assert_proven()


async def test_quota_and_what_was_not_collected_bear_their_own_share(books: Books) -> None:
    covered, uncollected = await books.subscriber(1000), await books.subscriber(25, fallback=False)
    overflowing = await books.subscriber(25, fallback=True)
    now = utc_now()
    for owner in (covered, overflowing, uncollected):
        await books.debit([books.record(owner, "req_1", 100)], now=now - timedelta(hours=2))
    cycles = await books.cycles(overflowing)
    span = (now - timedelta(hours=3), now - timedelta(hours=1))
    lines, (posted,) = await rerate_and_post(books.engine, [], *span, _at(3), "agreed", GRACE)
    assert [line.difference_nanos for line in lines] == [200] * 3
    assert (posted.account_id, posted.amount_nanos) == (overflowing, -150)
    assert await books.cycles(overflowing) == cycles
    await books.assert_proven()


async def test_at_the_prices_that_were_charged_nothing_is_posted(books: Books) -> None:
    account_id = await books.account()
    await debit_in(books, account_id, "req_1", 10, ago=3)
    assert await _post(books, OtherPrices()) == []
    assert len(await books.transfers(account_id)) == 1


async def test_time_that_was_posted_at_other_prices_is_not_posted_again(books: Books) -> None:
    first, second = await books.account(), await books.account()
    for owner in (first, second):
        await debit_in(books, owner, "req_1", 10, ago=2)
    await _post(books, _at(3), first)
    before = [await books.stored(owner) for owner in (first, second)]
    for prices, ago in ((_at(4), 3), (_at(3), 2), (OtherPrices(), 2)):
        with pytest.raises(RefusedError, match=f"transfer 2 of {first} posted another"):
            await _post(books, prices, ago=ago)
    await debit_in(books, first, "req_late", 5, ago=2)
    with pytest.raises(RefusedError, match="another amount"):
        await _post(books, _at(3), first)
    assert [(await books.stored(second))["seq"], before[1]["seq"]] == [1, 1]
    assert (await _post(books, _at(4), second))[0].amount_nanos == -30


async def test_two_reratings_of_the_same_time_posted_at_once_leave_one(books: Books) -> None:
    account_id = await books.account()
    await debit_in(books, account_id, "req_1", 10, ago=3)
    found = await asyncio.gather(*(_post(books, _at(n)) for n in (3, 4, 5)), return_exceptions=True)
    assert sum(isinstance(each, RefusedError) for each in found) == 2
    assert len(await books.transfers(account_id)) == 2
    await books.assert_proven()


async def test_what_has_no_price_or_is_not_over_is_not_posted(books: Books) -> None:
    account_id = await books.account()
    await debit_in(books, account_id, "req_1", 10, ago=3)
    none = OtherPrices(listed=[CatalogModel("", MODEL, (), "by the picture")])
    with pytest.raises(RefusedError, match="1 records have no price"):
        await _post(books, none)
    for end in (utc_now(), utc_now() + timedelta(days=1)):
        with pytest.raises(RefusedError, match="over"):
            await rerate_and_post(books.engine, [], month(3).start, end, _at(3), "early", GRACE)
    assert len(await books.transfers(account_id)) == 1


async def test_a_posting_that_was_interrupted_is_finished_by_asking_again(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = [await books.account() for _ in range(3)]
    for owner in accounts:
        await debit_in(books, owner, "req_1", 10, ago=3)
    whole, tried = rerate_posting.read_account, iter((True, False))

    async def once(*asked: object) -> object:
        if next(tried):
            return await whole(*asked)  # type: ignore[arg-type]
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(rerate_posting, "read_account", once)
        with pytest.raises(ConnectionError):
            await _post(books, _at(3))
    assert sorted(each.posted_before for each in await _post(books, _at(3))) == [False, False, True]
    assert [await _balance(books, owner) for owner in accounts] == [-30, -30, -30]
