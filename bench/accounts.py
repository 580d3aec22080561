"""Accounts for a benchmark: any number of them, written set-based; their keys follow from their numbers."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.domain.money import NANOS_PER_DOLLAR
from shared.domain.pricing import TokenRates
from shared.operations.accounts import create_plan
from shared.operations.prices import set_price

#: Three models in turn.
MODELS = ("bench-large", "bench-medium", "bench-small")
_DOLLARS_PER_MILLION = {"bench-large": (5, 15), "bench-medium": (1, 4), "bench-small": (0, 1)}

# Every second account has a plan and falls back to its balance, so that each way of paying is walked.
_ACCOUNTS = text("""
    INSERT INTO accounts (account_id, name, head_hash, plan_id, anchor, cycle_start, cycle_end, fallback)
    SELECT id, id, sha256(convert_to('payg:account:' || id, 'UTF8')),
           CASE WHEN subscribed THEN :plan END, CASE WHEN subscribed THEN now() END,
           CASE WHEN subscribed THEN now() END, CASE WHEN subscribed THEN now() + interval '1 month' END,
           subscribed
    FROM (SELECT 'acct_bench_' || lpad(CAST(n AS text), 7, '0') AS id, n % 2 = 1 AND :count > 1 AS subscribed
          FROM generate_series(0, :count - 1) AS n) AS numbered
""")
_CYCLES = text("""
    INSERT INTO cycles (account_id, cycle_start, cycle_end, plan_id, quota_nanos, discount_ppm,
                        quota_remaining_nanos, spent_nanos)
    SELECT a.account_id, a.cycle_start, a.cycle_end, p.plan_id, p.quota_nanos, p.discount_ppm,
           p.quota_nanos, 0
    FROM accounts a JOIN plans p USING (plan_id)
""")
_KEYS = text("""
    INSERT INTO api_keys (api_key_id, account_id, secret_hash, scopes)
    SELECT 'key' || substr(account_id, 5), account_id, sha256(convert_to(account_id, 'UTF8')), '{usage}'
    FROM accounts
""")


def account_id(number: int) -> str:
    return f"acct_bench_{number:07d}"


def api_key_id(number: int) -> str:
    return f"key_bench_{number:07d}"


async def populate(engine: AsyncEngine, count: int) -> None:
    """Give an empty migrated database ``count`` accounts, numbered from 0, each with a key, and prices."""
    for model, (input_dollars, output_dollars) in _DOLLARS_PER_MILLION.items():
        rates = {"input": input_dollars * NANOS_PER_DOLLAR, "output": output_dollars * NANOS_PER_DOLLAR}
        await set_price(engine, None, model, TokenRates.inherit(rates), None)
    plan = await create_plan(
        engine, "bench", quota_nanos=NANOS_PER_DOLLAR, price_nanos=0, discount_ppm=100_000, zone="UTC"
    )
    async with engine.begin() as connection:
        await connection.execute(_ACCOUNTS, {"count": count, "plan": plan})
        await connection.execute(_CYCLES)
        await connection.execute(_KEYS)
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("VACUUM ANALYZE"))
