"""The debit stage with real SQL: every record once, whatever is sent again; the first content wins."""

from datetime import timedelta

from books_builders import GRACE, Books, paid
from msgspec.structs import replace

from shared.clock import utc_now
from shared.operations.money import credit_account


async def test_one_record_is_one_row_and_one_transfer(books: Books) -> None:
    account_id = await books.account()
    await credit_account(books.engine, account_id, 1_000, "start", GRACE)
    await books.debit([books.record(account_id, "req_1", 150, api_key_id=None, metadata={"team": 1})])
    row = (await books.usage(account_id))[0]
    assert paid([row]) == {"req_1": (150, 0, 150, 0)}
    assert (row["input_tokens"], row["list_nanos"], row["rate_id"]) == (150, 150, books.rate_id)
    assert row["metadata"] == '{"team": 1}'
    account = await books.stored(account_id)
    assert (account["balance_nanos"], account["seq"]) == (850, 2)
    credit, usage = await books.transfers(account_id)
    assert (credit["amount_nanos"], usage["amount_nanos"], usage["balance_after_nanos"]) == (1_000, -150, 850)
    assert (usage["kind"], usage["seq"], row["transfer_seq"]) == ("usage", 2, 2)
    await books.assert_proven()


async def test_a_batch_over_many_accounts_is_one_transfer_for_each(books: Books) -> None:
    accounts = [await books.account() for _ in range(40)]
    batch = [books.record(a, f"req_{n}", n + 1) for n in range(10) for a in accounts]
    await books.debit(batch)
    assert len(await books.usage()) == 400
    for account_id in accounts:
        account = await books.stored(account_id)
        assert (account["balance_nanos"], account["seq"]) == (-55, 1)
        assert (await books.transfers(account_id))[0]["amount_nanos"] == -55
    await books.assert_proven()


async def test_redelivery_of_a_batch_changes_nothing(books: Books) -> None:
    accounts = [await books.account() for _ in range(3)]
    batch = [books.record(a, f"req_{n}", n + 1) for n in range(10) for a in accounts]
    await books.debit(batch)
    before = [await books.usage(), [await books.stored(a) for a in accounts]]
    await books.debit(batch)
    await books.debit(list(reversed(batch)))
    assert [await books.usage(), [await books.stored(a) for a in accounts]] == before
    assert await books.parked() == []
    await books.assert_proven()


async def test_of_a_redelivered_batch_only_what_is_new_is_debited(books: Books) -> None:
    account_id = await books.account()
    batch = [books.record(account_id, f"req_{n}", 10) for n in range(6)]
    await books.debit(batch[:4])
    await books.debit(batch[2:])
    assert (await books.stored(account_id))["balance_nanos"] == -60
    assert [t["amount_nanos"] for t in await books.transfers(account_id)] == [-40, -20]
    await books.assert_proven()


async def test_the_same_record_from_two_sources_is_one_debit(books: Books) -> None:
    account_id = await books.account()
    record = books.record(account_id, "req_1", 10)
    twin = replace(record, source="gateway-2")
    await books.debit([record, twin])
    await books.debit([twin])
    assert [row["source"] for row in await books.usage()] == ["gateway-1"]
    assert await books.parked() == []


async def test_a_price_that_changed_between_two_deliveries_makes_no_conflict(books: Books) -> None:
    account_id = await books.account()
    record = books.record(account_id, "req_1", 10)
    await books.debit([record])
    await books.debit([replace(record, list_nanos=999)])
    assert paid(await books.usage()) == {"req_1": (10, 0, 10, 0)}
    assert await books.parked() == []
    await books.assert_proven()


async def test_the_same_id_with_other_content_is_a_conflict_and_the_first_wins(books: Books) -> None:
    account_id, other = await books.account(), await books.account()
    await books.debit([books.record(account_id, "req_1", 10)])
    late = books.record(account_id, "req_1", 11)
    await books.debit([late, books.record(other, "req_1", 12), books.record(account_id, "req_2", 13)])
    assert (await books.stored(account_id))["balance_nanos"] == -23
    assert (await books.stored(other))["balance_nanos"] == -12
    (entry,) = await books.parked()
    assert (entry["reason"], entry["event_id"], entry["account_id"]) == ("conflict", "req_1", account_id)
    assert (entry["raw"], entry["count"]) == (bytes(late.raw), 1)
    await books.assert_proven()


async def test_inside_one_batch_the_first_of_two_contents_wins(books: Books) -> None:
    account_id = await books.account()
    first, second = books.record(account_id, "req_1", 10), books.record(account_id, "req_1", 11)
    await books.debit([first, second, first, second])
    assert paid(await books.usage()) == {"req_1": (10, 0, 10, 0)}
    (entry,) = await books.parked()
    assert (entry["reason"], entry["raw"], entry["count"]) == ("conflict", bytes(second.raw), 2)
    await books.assert_proven()


async def test_an_id_that_lost_its_old_period_still_conflicts(books: Books) -> None:
    account_id, now = await books.account(), utc_now()
    await books.debit([books.record(account_id, "req_1", 10, now - timedelta(days=90))])
    async with books.engine.begin() as connection:
        await connection.exec_driver_sql("DELETE FROM usage_records")  # as a detached partition would
    await books.debit([books.record(account_id, "req_1", 10, now)])
    assert [entry["reason"] for entry in await books.parked()] == ["conflict"]
    assert (await books.stored(account_id))["balance_nanos"] == -10
