"""Each process may do in the database what it has to, and no more."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from books_builders import GRACE, open_books, run_sql
from old_months import month, settle
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import Postgres, as_user
from shared.clock import utc_now
from shared.db import periods, roles
from shared.db.engine import create_engine
from shared.db.schema import migrate
from shared.operations.audit import audit
from shared.operations.money import credit_account, void_usage
from shared.operations.periods import keep_periods


@dataclass(frozen=True)
class Users:
    """The same database as each of those who may use it."""

    workers: AsyncEngine
    api: AsyncEngine
    auditor: AsyncEngine


@pytest.fixture
async def users(database_url: str) -> AsyncIterator[Users]:
    engines = [create_engine(as_user(database_url, user)) for user in ("workers", "api", "auditor")]
    yield Users(*engines)
    for engine in engines:
        await engine.dispose()


async def test_the_stages_the_http_tier_and_the_audit_work_with_their_roles(
    engine: AsyncEngine, users: Users
) -> None:
    books = await open_books(engine)
    account_id = await books.account()
    await credit_account(users.api, account_id, 1_000, "opening", GRACE, "once")
    limited = replace(books, engine=users.workers)
    await limited.debit([limited.record(account_id, f"req_{n}", 10) for n in range(3)])
    await void_usage(users.api, account_id, "req_1", "mistake", GRACE)
    await settle(limited)
    report = await audit(users.auditor)
    assert (report.ok, report.usage_records) == (True, 3)


async def test_the_clock_makes_months_though_it_may_change_no_table(
    engine: AsyncEngine, users: Users
) -> None:
    books = await open_books(engine)
    account_id, future = await books.account(), month(-6)
    at = future.start + timedelta(days=3)
    await books.debit([books.record(account_id, "req_ahead", 10)], now=at)
    assert future in await keep_periods(users.workers, utc_now())
    async with engine.connect() as connection:
        query = text("SELECT tableoid::regclass::text FROM usage_records")
        assert (await connection.execute(query)).scalars().all() == [periods.table_name(future)]
    await books.assert_proven()
    await refused(users.workers, f"CREATE TABLE {periods.table_name(month(-7))} (account_id text)")


FORBIDDEN = {
    "workers": [
        "UPDATE transfers SET amount_nanos = 0",
        "UPDATE transfers SET idempotency_key = NULL",
        "DELETE FROM transfers",
        "UPDATE usage_records SET charge_nanos = 0",
        "DELETE FROM usage_records",
        "DELETE FROM usage_records_default",
        "UPDATE usage_ids SET transfer_seq = 1",
        "DELETE FROM usage_ids",
        "TRUNCATE transfers",
        "DELETE FROM accounts",
        "INSERT INTO accounts (account_id) VALUES ('acct_1')",
        "UPDATE accounts SET spending_limit_nanos = NULL",
        "UPDATE rates SET tiers = '[]'",
        "INSERT INTO api_keys (api_key_id) VALUES ('key_1')",
        "SELECT secret_hash FROM api_keys",
        "SELECT * FROM console_sessions",
        "SELECT * FROM sign_in_links",
        "SELECT * FROM operator_actions",
        "DELETE FROM statements",
        "DROP TABLE holds",
        "ALTER TABLE transfers DISABLE TRIGGER ALL",
    ],
    "api": [
        "UPDATE transfers SET amount_nanos = 0",
        "DELETE FROM transfers",
        "INSERT INTO usage_ids (account_id) VALUES ('acct_1')",
        "INSERT INTO usage_records (account_id) VALUES ('acct_1')",
        "UPDATE usage_records SET charge_nanos = 0",
        "DELETE FROM usage_ids",
        "DELETE FROM accounts",
        "UPDATE rates SET tiers = '[]'",
        "DELETE FROM operator_actions",
        "UPDATE statements SET document = '{}'",
        "UPDATE evaluations SET evaluated_seq = 0",
        "SELECT payg_create_usage_month(now())",
        "CREATE TABLE mine (x text)",
    ],
    "auditor": [
        "UPDATE accounts SET balance_nanos = 0",
        "INSERT INTO transfers (account_id) VALUES ('acct_1')",
        "DELETE FROM usage_records",
        "UPDATE quarantine SET status = 'dismissed'",
        "SELECT secret_hash FROM api_keys",
        "SELECT secret FROM webhook_endpoints",
        "SELECT * FROM console_sessions",
        "SELECT payg_create_usage_month(now())",
    ],
}


async def refused(engine: AsyncEngine, statement: str) -> None:
    with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
        await run_sql(engine, statement)


async def test_what_a_role_is_not_for_is_refused(users: Users) -> None:
    for user, statements in FORBIDDEN.items():
        for statement in statements:
            await refused(getattr(users, user), statement)


async def test_who_may_make_no_roles_migrates_all_the_same_and_hears_which_are_missing(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = create_engine(postgres.url)
    async with owner.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        for statement in ("CREATE ROLE managed LOGIN", "CREATE DATABASE managed OWNER managed"):
            await connection.execute(text(statement))
    await owner.dispose()
    engine = create_engine(as_user(postgres.url_of("managed"), "managed"))
    monkeypatch.setattr(roles, "ROLES", (roles.AUDITOR, "payg_absent"))
    assert await migrate(engine) == ["payg_absent"]
    assert (await audit(engine)).ok
    await engine.dispose()
    auditor = create_engine(as_user(postgres.url_of("managed"), "auditor"))
    assert (await audit(auditor)).ok, "what is there is granted"
    await auditor.dispose()
    postgres.drop_database("managed")
