"""Accounts with a plan, through the debit stage and real SQL: quota, discount, fallback, cycles."""

from datetime import UTC, datetime, timedelta

from books_builders import GRACE, Books, paid

from shared.clock import utc_now
from shared.operations.accounts import create_plan, set_account, show_account
from shared.operations.money import credit_account, void_usage

_MINUTE = timedelta(minutes=1)


async def test_quota_pays_before_the_balance(books: Books) -> None:
    account_id = await books.subscriber(1_000)
    await credit_account(books.engine, account_id, 500, "start", GRACE)
    await books.debit([books.record(account_id, "req_1", 300), books.record(account_id, "req_2", 200)])
    assert paid(await books.usage()) == {"req_1": (300, 300, 0, 0), "req_2": (200, 200, 0, 0)}
    assert (await books.stored(account_id))["balance_nanos"] == 500
    assert (await books.cycles(account_id))[0]["quota_remaining_nanos"] == 500
    usage = (await books.transfers(account_id))[-1]
    assert (usage["amount_nanos"], usage["quota_amount_nanos"], usage["quota_after_nanos"]) == (0, -500, 500)
    await books.assert_proven()


async def test_fallback_from_subscription_to_wallet_charges_the_overflow(books: Books) -> None:
    account_id = await books.subscriber(100, fallback=True)
    await credit_account(books.engine, account_id, 1_000, "start", GRACE)
    await books.debit([books.record(account_id, "req_1", 150)])
    assert paid(await books.usage()) == {"req_1": (150, 100, 50, 0)}
    assert (await books.stored(account_id))["balance_nanos"] == 950
    await books.assert_proven()


async def test_the_overflow_of_a_discounted_record_goes_at_standard_rates(books: Books) -> None:
    account_id = await books.subscriber(100, discount_ppm=200_000, fallback=True)
    await books.debit([books.record(account_id, "req_1", 150)])
    assert paid(await books.usage()) == {"req_1": (125, 100, 25, 0)}
    await books.assert_proven()


async def test_without_fallback_the_overflow_is_uncollected_for_ever(books: Books) -> None:
    account_id = await books.subscriber(100)
    await credit_account(books.engine, account_id, 1_000, "start", GRACE)
    await books.debit([books.record(account_id, "req_1", 150)])
    await books.debit([books.record(account_id, "req_2", 30)])
    await credit_account(books.engine, account_id, 1_000, "more", GRACE)
    assert paid(await books.usage()) == {"req_1": (150, 100, 0, 50), "req_2": (30, 0, 0, 30)}
    assert (await books.stored(account_id))["balance_nanos"] == 2_000
    await books.assert_proven()


async def test_the_spending_limit_binds_over_batches(books: Books) -> None:
    account_id = await books.subscriber(100, fallback=True, spending_limit_nanos=70)
    await books.debit([books.record(account_id, "req_1", 150)])
    await books.debit([books.record(account_id, "req_2", 15), books.record(account_id, "req_3", 15)])
    assert paid(await books.usage()) == {
        "req_1": (150, 100, 50, 0),
        "req_2": (15, 0, 15, 0),
        "req_3": (15, 0, 5, 10),
    }
    assert (await books.cycles(account_id))[0]["spent_nanos"] == 70
    assert (await books.stored(account_id))["balance_nanos"] == -70
    await books.assert_proven()


async def test_a_limit_of_zero_is_no_fallback(books: Books) -> None:
    account_id = await books.subscriber(100, fallback=True, spending_limit_nanos=0)
    await books.debit([books.record(account_id, "req_1", 150)])
    assert paid(await books.usage()) == {"req_1": (150, 100, 0, 50)}


async def test_records_of_a_batch_are_allocated_in_order_of_time_and_id(books: Books) -> None:
    account_id, now = await books.subscriber(100), utc_now()
    times = {"req_b": now, "req_a": now, "req_z": now - _MINUTE}
    await books.debit([books.record(account_id, name, 60, time) for name, time in times.items()])
    assert paid(await books.usage()) == {
        "req_z": (60, 60, 0, 0),
        "req_a": (60, 40, 0, 20),
        "req_b": (60, 0, 0, 60),
    }
    await books.assert_proven()


async def test_the_first_record_after_a_cycles_end_rolls_over_once(books: Books) -> None:
    account_id = await books.subscriber(100)
    await books.debit([books.record(account_id, "req_1", 80)])
    end = (await books.cycles(account_id))[0]["cycle_end"]
    await books.debit([books.record(account_id, "req_2", 70, end)], now=end + _MINUTE)
    await books.debit([books.record(account_id, "req_3", 20, end + _MINUTE)], now=end + 2 * _MINUTE)
    assert paid(await books.usage())["req_2"] == (70, 70, 0, 0)
    kinds = [
        (t["kind"], t["amount_nanos"], t["quota_amount_nanos"]) for t in await books.transfers(account_id)
    ]
    assert kinds == [("usage", 0, -80), ("quota_reset", 0, 100), ("usage", 0, -70), ("usage", 0, -20)]
    old, new = await books.cycles(account_id)
    assert (old["quota_remaining_nanos"], new["quota_remaining_nanos"]) == (20, 10)
    assert new["cycle_start"] == end
    await books.assert_proven()


async def test_a_late_record_counts_in_the_previous_cycle_while_that_is_open(books: Books) -> None:
    account_id = await books.subscriber(100)
    end = (await books.cycles(account_id))[0]["cycle_end"]
    late, in_time = end - _MINUTE, end + timedelta(minutes=59)
    await books.debit(
        [books.record(account_id, "late", 30, late), books.record(account_id, "new", 40, end)], now=in_time
    )
    old, new = await books.cycles(account_id)
    assert (old["quota_remaining_nanos"], new["quota_remaining_nanos"]) == (70, 60)
    await books.debit([books.record(account_id, "too_late", 5, late)], now=end + GRACE)
    old, new = await books.cycles(account_id)
    assert (old["quota_remaining_nanos"], new["quota_remaining_nanos"]) == (70, 55)
    starts = {row["event_id"]: row["cycle_start"] for row in await books.usage()}
    assert starts == {"late": old["cycle_start"], "new": end, "too_late": end}
    await books.assert_proven()


async def test_cycles_off_by_a_time_zone(books: Books) -> None:
    """The cycle of 31 January in Auckland ends on its 28 February, a day earlier in UTC."""
    plan = await create_plan(
        books.engine, "nz", quota_nanos=9, price_nanos=0, discount_ppm=0, zone="Pacific/Auckland"
    )
    anchor = datetime(2026, 1, 30, 11, tzinfo=UTC)  # midnight of the 31st in Auckland
    account_id = await books.account(plan=plan, anchor=anchor)
    start = (await books.cycles(account_id))[0]["cycle_start"]
    await books.debit([books.record(account_id, "req_1", 1, anchor)], now=datetime(2027, 2, 28, tzinfo=UTC))
    opened = (await books.cycles(account_id))[-1]
    assert opened["cycle_start"] == datetime(2027, 2, 27, 11, tzinfo=UTC) > start
    assert opened["cycle_end"] == datetime(2027, 3, 30, 11, tzinfo=UTC)
    await books.assert_proven()


async def test_a_change_of_plan_takes_effect_at_the_next_cycle(books: Books) -> None:
    account_id = await books.subscriber(100)
    await create_plan(books.engine, "big", quota_nanos=900, price_nanos=0, discount_ppm=500_000, zone="UTC")
    await set_account(books.engine, account_id, {}, plan="big", grace=GRACE)
    (cycle,) = await books.cycles(account_id)
    assert (cycle["quota_nanos"], cycle["discount_ppm"]) == (100, 0)
    end = cycle["cycle_end"]
    await books.debit([books.record(account_id, "req_1", 200, end)], now=end)
    assert paid(await books.usage()) == {"req_1": (100, 100, 0, 0)}
    assert (await books.cycles(account_id))[-1]["quota_remaining_nanos"] == 800
    await books.assert_proven()


async def test_a_cancelled_plan_lasts_to_the_end_of_its_cycle(books: Books) -> None:
    account_id = await books.subscriber(100)
    await set_account(books.engine, account_id, {}, cancel_plan=True, grace=GRACE)
    await books.debit([books.record(account_id, "req_1", 60)])
    end = (await books.cycles(account_id))[0]["cycle_end"]
    await books.debit([books.record(account_id, "req_2", 50, end)], now=end)
    assert paid(await books.usage()) == {"req_1": (60, 60, 0, 0), "req_2": (50, 0, 50, 0)}
    assert len(await books.cycles(account_id)) == 1
    await books.assert_proven()


async def test_a_plan_cancelled_in_a_cycle_that_nobody_opened_lasts_to_its_end(books: Books) -> None:
    account_id = await books.subscriber(100)
    await _age(books, account_id, timedelta(days=40))
    await set_account(books.engine, account_id, {}, cancel_plan=True, grace=GRACE)
    await books.debit([books.record(account_id, "req_1", 60)])
    assert paid(await books.usage()) == {"req_1": (60, 60, 0, 0)}
    await books.assert_proven()


async def test_a_void_in_a_long_closed_cycle_gives_its_quota_back_there(books: Books) -> None:
    account_id = await books.subscriber(100, fallback=True)
    await books.debit([books.record(account_id, "req_1", 130)])
    end = (await books.cycles(account_id))[0]["cycle_end"]
    later = end + timedelta(days=60)
    await books.debit([books.record(account_id, "req_2", 10, later)], now=later)
    await void_usage(books.engine, account_id, "req_1", "mistake", GRACE)
    old, new = await books.cycles(account_id)
    assert (old["quota_remaining_nanos"], old["spent_nanos"]) == (100, 0)
    assert (await books.stored(account_id))["cycle_start"] == new["cycle_start"]
    assert (await books.stored(account_id))["balance_nanos"] == 0
    await books.assert_proven()


async def test_a_void_after_a_cancelled_plan_ended_keeps_the_newest_cycle(books: Books) -> None:
    account_id = await books.subscriber(100)
    await books.debit([books.record(account_id, "req_1", 30)])
    end = (await books.cycles(account_id))[0]["cycle_end"]
    await books.debit([books.record(account_id, "req_2", 10, end)], now=end)
    await set_account(books.engine, account_id, {}, cancel_plan=True, grace=GRACE)
    newest = (await books.stored(account_id))["cycle_start"]
    await _age(books, account_id, timedelta(days=90))
    await void_usage(books.engine, account_id, "req_1", "mistake", GRACE)
    assert (await books.stored(account_id))["cycle_start"] == newest - timedelta(days=90)
    assert (await show_account(books.engine, account_id))["plan_id"] is None


async def _age(books: Books, account_id: str, by: timedelta) -> None:
    """Let time pass for an account's cycles."""
    async with books.engine.begin() as connection:
        for table, columns in {
            "accounts": ("anchor", "cycle_start"),
            "cycles": ("cycle_start", "cycle_end"),
            "usage_records": ("cycle_start",),
        }.items():
            changes = ", ".join(f"{column} = {column} - $1::interval" for column in columns)
            await connection.exec_driver_sql(
                f"UPDATE {table} SET {changes} WHERE account_id = $2",  # noqa: S608 - our own names
                (by, account_id),
            )
