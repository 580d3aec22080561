"""Workers that meet on an account: one wins, the others read again, and no update is lost."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from random import Random

import books_builders
from books_builders import GRACE, Books, content
from sqlalchemy import event as hooks
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db import books as books_sql
from shared.domain.ids import AccountId
from shared.domain.ledger import TransferKind
from shared.domain.usage import PricedUsage

PROCESSES, TASKS = 4, 4
_RACER = Path(books_builders.__file__).with_name("debit_racer.py")


async def test_two_sessions_that_read_the_same_version_cannot_both_win(books: Books) -> None:
    """Concurrent overdraft by check-then-write."""
    account_id, now = await books.account(), utc_now()
    async with books.engine.connect() as one, books.engine.connect() as two:
        first = (await books_sql.load_accounts(one, [account_id], now, GRACE))[account_id]
        second = (await books_sql.load_accounts(two, [account_id], now, GRACE))[account_id]
        assert first.version == second.version
        spent, _ = first.post(TransferKind.USAGE, -10, "first", now)
        assert (await books_sql.move_versions(one, [(first, spent)])).account_ids == {account_id}
        await one.commit()
        spent, _ = second.post(TransferKind.USAGE, -99, "second", now)
        assert (await books_sql.move_versions(two, [(second, spent)])).account_ids == set()
        await two.commit()
    assert (await books.stored(account_id))["balance_nanos"] == -10


async def test_a_session_that_waited_for_the_winner_loses_too(books: Books) -> None:
    """Concurrent overdraft by check-then-write."""
    account_id, now = await books.account(), utc_now()
    async with books.engine.connect() as one, books.engine.connect() as two:
        state = (await books_sql.load_accounts(one, [account_id], now, GRACE))[account_id]
        spent, _ = state.post(TransferKind.USAGE, -10, "both", now)
        await books_sql.move_versions(one, [(state, spent)])
        waiting = asyncio.create_task(books_sql.move_versions(two, [(state, spent)]))
        await _until_blocked(books.engine)
        await one.commit()
        assert (await waiting).account_ids == set()
        await two.commit()
    assert (await books.stored(account_id))["version"] == state.version + 1


async def test_winners_are_committed_and_only_the_losers_are_tried_again(books: Books) -> None:
    accounts = [await books.account() for _ in range(5)]
    hot = accounts[2]
    batch = [books.record(account_id, "req_1", 10) for account_id in accounts]
    read: list[int] = []

    def note(
        _connection: object, _cursor: object, statement: str, parameters: tuple[list[str]], *_: object
    ) -> None:
        if "FROM accounts a LEFT JOIN plans" in statement:
            read.append(len(parameters[0]))

    async with books.engine.connect() as rival:
        state = (await books_sql.load_accounts(rival, [hot], utc_now(), GRACE))[hot]
        await books_sql.move_versions(rival, [(state, state)])
        hooks.listen(books.engine.sync_engine, "before_cursor_execute", note)
        debiting = asyncio.create_task(books.debit(batch))
        await _until_blocked(books.engine)
        await rival.commit()
        await debiting
    assert read == [5, 1]
    assert [(await books.stored(a))["balance_nanos"] for a in accounts] == [-10] * 5
    await books.assert_proven()


async def test_sixteen_workers_on_a_hot_account_end_as_one_worker_alone(books: Books) -> None:
    """Deadlocks on a hot account; usage counted twice; lost updates."""
    hot, calm = await books.account(), await books.account()
    now = utc_now()
    records = {a: [books.record(a, f"req_{n:03}", n, now) for n in range(1, 201)] for a in (hot, calm)}
    for start in range(0, 200, 20):
        await books.debit(records[calm][start : start + 20])
    await _race(books, _overlapping(records[hot], Random(1)))
    await _assert_same_books(books, hot, calm)


async def test_sixteen_workers_on_fifty_accounts_never_deadlock(books: Books) -> None:
    """Deadlocks on hot accounts at a few hundred requests/s."""
    accounts = [await books.account() for _ in range(50)]
    now = utc_now()
    records = [books.record(a, f"req_{n}", n, now) for a in accounts for n in range(1, 11)]
    await _race(books, _overlapping(records, Random(2)))
    for account_id in accounts:
        account = await books.stored(account_id)
        transfers = await books.transfers(account_id)
        assert account["balance_nanos"] == -55
        assert [t["seq"] for t in transfers] == list(range(1, account["seq"] + 1))
    assert len(await books.usage()) == 500
    assert await books.parked() == []
    async with books.engine.connect() as connection:
        deadlocks = await connection.exec_driver_sql(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
        assert deadlocks.scalar_one() == 0
    await books.assert_proven()


def _overlapping(records: list[PricedUsage], random: Random) -> list[list[list[PricedUsage]]]:
    """Return batches for each worker, every record in three of them, in any order."""
    workers: list[list[list[PricedUsage]]] = [[] for _ in range(PROCESSES * TASKS)]
    for _ in range(3):
        shuffled = random.sample(records, len(records))
        size = len(shuffled) // len(workers) + 1
        for worker, start in zip(workers, range(0, len(shuffled), size), strict=False):
            worker.append(shuffled[start : start + size])
    return workers


async def _race(books: Books, workers: list[list[list[PricedUsage]]]) -> None:
    """Let processes debit the batches of their tasks, all at once; none may fail."""
    url = await _url_of(books.engine)
    racers = [
        await asyncio.create_subprocess_exec(
            sys.executable, str(_RACER), url, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        for _ in range(PROCESSES)
    ]
    shares = [workers[n::PROCESSES] for n in range(PROCESSES)]
    orders = [json.dumps([[[_plain(r) for r in b] for b in task] for task in share]) for share in shares]
    for racer in racers:
        assert racer.stdout is not None
        assert await racer.stdout.readline() == b"ready\n"
    outcomes = await asyncio.gather(
        *(racer.communicate(order.encode()) for racer, order in zip(racers, orders, strict=True))
    )
    for racer, (_, errors) in zip(racers, outcomes, strict=True):
        assert racer.returncode == 0, errors.decode()


def _plain(record: PricedUsage) -> list[object]:
    return [record.account_id, record.rate_id, record.list_nanos, bytes(record.raw).decode()]


async def _assert_same_books(books: Books, raced: AccountId, alone: AccountId) -> None:
    rows = [content(await books.usage(account_id)) for account_id in (raced, alone)]
    assert [_anonymous(row) for row in rows[0]] == [_anonymous(row) for row in rows[1]]
    account = await books.stored(raced)
    assert account["balance_nanos"] == (await books.stored(alone))["balance_nanos"]
    transfers = await books.transfers(raced)
    assert [t["seq"] for t in transfers] == list(range(1, account["seq"] + 1))
    assert await books.parked() == []
    await books.assert_proven()


def _anonymous(row: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if name != "account_id"}


async def _until_blocked(engine: AsyncEngine) -> None:
    """Wait until a session waits for the lock of another."""
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    async with asyncio.timeout(10):
        while True:
            async with engine.connect() as connection:
                if (await connection.exec_driver_sql(query)).scalar_one():
                    return
            await asyncio.sleep(0.01)


async def _url_of(engine: AsyncEngine) -> str:
    async with engine.connect() as connection:
        row = (
            await connection.exec_driver_sql("SELECT current_user, inet_server_port(), current_database()")
        ).one()
    return f"postgresql://{row[0]}@127.0.0.1:{row[1]}/{row[2]}"
