"""The clock closes a month once: by itself, with another, and after it was killed in the middle."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from statement_books import (
    CLOSE_AFTER,
    KEY,
    NEXT_KEY,
    NOVEMBER,
    OCTOBER,
    SEPTEMBER,
    StatementBooks,
    checked,
    day,
)

from shared.domain.ids import AccountId
from shared.domain.statement import State
from shared.operations import statement_closing
from shared.operations.statements import list_keys, list_statements

MIDNIGHT = NOVEMBER.start
CLOSES = MIDNIGHT + CLOSE_AFTER


async def _accounts(books: StatementBooks, count: int) -> list[AccountId]:
    accounts = [await books.account(day("10-01 00:00")) for _ in range(count)]
    for account_id in accounts:
        await books.post(account_id, 10, day("10-05 12:00"))
        await books.use(account_id, [("a", 3)], day("10-06 12:00"))
    return sorted(accounts)


async def test_a_month_is_closed_some_hours_after_its_end_and_then_never_changes(
    books: StatementBooks,
) -> None:
    (account_id,) = await _accounts(books, 1)
    await books.closing(CLOSES.replace(minute=0, hour=5)).run()
    assert await books.stored() == []
    await books.closing(CLOSES).run()
    frozen = await books.shown(account_id, OCTOBER, CLOSES)
    assert frozen["statement"]["state"] == State.CLOSED
    await books.post(account_id, 99, CLOSES)
    await books.closing(day("11-20 12:00")).run()
    assert await books.shown(account_id, OCTOBER, day("11-20 12:00")) == frozen
    await books.assert_proven()


async def test_an_entry_that_comes_after_the_close_counts_in_the_next_month(books: StatementBooks) -> None:
    (account_id,) = await _accounts(books, 1)
    await books.closing(CLOSES).run()
    await books.post(account_id, 7, day("10-31 23:59"))
    november = await books.statement(account_id, NOVEMBER, CLOSES)
    assert november.opening == (await books.statement(account_id, OCTOBER, CLOSES)).closing
    assert november.closing.balance_nanos == november.opening.balance_nanos + 7


async def test_the_first_entry_of_an_account_counts_in_no_month_that_is_closed(books: StatementBooks) -> None:
    account_id = await books.account(day("10-01 00:00"))
    await books.closing(CLOSES).run()
    await books.post(account_id, 7, day("10-31 23:59"))
    assert (await books.statement(account_id, NOVEMBER, CLOSES)).closing.balance_nanos == 7


async def test_all_months_since_the_first_account_are_closed_in_order(books: StatementBooks) -> None:
    account_id = await books.account(day("09-15 00:00"))
    idle = await books.account(day("09-16 00:00"))
    await books.post(account_id, 10, day("09-20 12:00"))
    await books.post(account_id, -10, day("10-20 12:00"))
    await books.closing(day("12-02 12:00")).run()
    assert await books.stored() == [(account_id, SEPTEMBER), (account_id, OCTOBER)]
    listed = await list_statements(books.engine, account_id, books.closing(CLOSES)._seller, CLOSES)  # noqa: SLF001
    assert [(each["period"], each["state"]) for each in listed] == [
        ("2026-10", "closed"),
        ("2026-09", "closed"),
    ]
    assert await list_statements(books.engine, idle, books.closing(CLOSES)._seller, CLOSES) == []  # noqa: SLF001


async def test_two_clocks_at_once_close_each_month_once(
    books: StatementBooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statement_closing, "_BATCH", 2)
    accounts = await _accounts(books, 5)
    await asyncio.gather(*(books.closing(CLOSES).run() for _ in range(3)))
    await books.closing(CLOSES).run()
    assert await books.stored() == [(account_id, OCTOBER) for account_id in accounts]


@pytest.mark.parametrize("after", [1, 2, 3])
async def test_a_clock_that_is_killed_leaves_nothing_undone_for_the_next(
    books: StatementBooks, after: int
) -> None:
    accounts = await _accounts(books, 5)
    here = Path(__file__).parent
    died = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, here / "die_in_closing.py", books.url, CLOSES.isoformat(), str(after)],
        cwd=here.parents[2],
        env={**os.environ, "PYTHONPATH": f"{here.parents[2]}:{here}"},
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    # A batch of two accounts is closed as a whole or not at all.
    assert len(await books.stored()) == (after - 1) // 2 * 2
    await asyncio.gather(*(books.closing(CLOSES).run() for _ in range(2)))
    await books.closing(CLOSES).run()
    assert await books.stored() == [(account_id, OCTOBER) for account_id in accounts]
    await _assert_proven(books, accounts, CLOSES)


async def test_what_was_closed_without_a_key_is_signed_once_there_is_one(books: StatementBooks) -> None:
    (account_id,) = await _accounts(books, 1)
    await books.closing(CLOSES, None).run()
    unsigned = await books.shown(account_id, OCTOBER, CLOSES)
    assert unsigned["signature"] is None
    fault = checked(await books.exported(account_id, OCTOBER, CLOSES, usage=False)).fault
    assert fault is not None
    assert fault.where == "signature"
    await books.closing(CLOSES).run()
    assert (await books.shown(account_id, OCTOBER, CLOSES))["statement"] == unsigned["statement"]
    await _assert_proven(books, [account_id], CLOSES)


async def test_a_new_key_leaves_old_signatures_and_their_key_as_they_are(books: StatementBooks) -> None:
    (account_id,) = await _accounts(books, 1)
    await books.closing(CLOSES).run()
    await books.closing(day("12-02 12:00"), NEXT_KEY).run()
    old, new = [await books.shown(account_id, month, CLOSES) for month in (OCTOBER, NOVEMBER)]
    assert (old["signature"]["key_id"], new["signature"]["key_id"]) == (KEY.key_id, NEXT_KEY.key_id)
    assert [key["key_id"] for key in await list_keys(books.engine)] == [NEXT_KEY.key_id, KEY.key_id]
    await _assert_proven(books, [account_id], CLOSES)


async def test_a_frozen_statement_is_what_it_was_when_its_books_are_changed(books: StatementBooks) -> None:
    (account_id,) = await _accounts(books, 1)
    await books.closing(CLOSES).run()
    async with books.engine.begin() as connection:
        await connection.execute(text("UPDATE transfers SET amount_nanos = 11 WHERE seq = 1"))
    fault = checked(await books.exported(account_id, OCTOBER, CLOSES, usage=False)).fault
    assert fault is not None
    assert fault.where == "entry 1"


async def _assert_proven(books: StatementBooks, accounts: Sequence[str], now: datetime) -> None:
    for account_id in accounts:
        found = checked(await books.exported(account_id, OCTOBER, now, usage=True))
        assert found.fault is None, str(found.fault)
