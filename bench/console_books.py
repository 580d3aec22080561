"""An account with a long history for the console: written set-based, as the debit would have left it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.domain.access import Role, Scope
from shared.domain.money import NANOS_PER_DOLLAR
from shared.domain.pricing import TokenRates
from shared.operations.accounts import create_account
from shared.operations.keys import create_key, create_platform_key
from shared.operations.members import put_member
from shared.operations.prices import set_price

_MODELS = 20
_KEYS = 10
_SPAN = timedelta(days=180)
_ROWS_A_TRANSFER = 10
_AT_ONCE = 10_000

# The first transfer is the opening credit; each other covers ten rows of $0.001375.
_TRANSFERS = text("""
    INSERT INTO transfers (account_id, seq, kind, amount_nanos, balance_after_nanos, quota_amount_nanos,
                           quota_after_nanos, cycle_spent_after_nanos, cause, occurred_at, rows_digest, hash)
    SELECT account_id, s, CASE WHEN s = 1 THEN 'credit' ELSE 'usage' END,
           CASE WHEN s = 1 THEN 100000000000000 ELSE -13750000 END, 100000000000000 - (s - 1) * 13750000,
           0, 0, 0, 'history', CAST(:begin AS timestamptz) + s * CAST(:step AS interval), head_hash, head_hash
    FROM accounts, generate_series(CAST(:first AS bigint), :last) AS s WHERE account_id = :account_id
""")
_RECORDS = text("""
    INSERT INTO usage_records (
        account_id, transfer_seq, event_id, source, api_key_id, provider, model, rate_id, time, input_tokens,
        output_tokens, cache_read_tokens, cache_write_tokens, input_audio_tokens, output_audio_tokens,
        list_nanos, charge_nanos, quota_nanos, balance_nanos, uncollected_nanos, digest, debited_at)
    SELECT account_id, seq, 'old_' || to_char(seq * 10 + n, 'FM0000000000'), 'bench',
           (CAST(:keys AS text[]))[1 + (seq / 20 + n * 3) % cardinality(:keys)], 'bench', rated.model,
           rated.rate_id, occurred_at, 374, 44, 120, 0, 0, 0, 1375000, 1375000, 0, 1375000, 0, hash,
           occurred_at
    FROM transfers CROSS JOIN generate_series(0, 9) AS n
    JOIN (SELECT row_number() OVER (ORDER BY rate_id) - 1 AS number, model, rate_id FROM rates) AS rated
         ON rated.number = (seq + n) % (SELECT count(*) FROM rates)
    WHERE account_id = :account_id AND seq BETWEEN :first AND :last AND kind = 'usage'
""")
_ACCOUNT = text("""
    UPDATE accounts a SET seq = t.seq, balance_nanos = t.balance_after_nanos, created_at = :begin
    FROM transfers t WHERE a.account_id = :account_id AND t.account_id = :account_id AND t.seq = :last
""")


@dataclass
class LongHistory:
    """An account with a history of half a year, and the secrets of its owner and of an operator."""

    engine: AsyncEngine
    account_id: str
    owner: str
    operator: str
    key_ids: list[str]
    begin: datetime
    step: timedelta
    transfers: int = 0

    @classmethod
    async def write(cls, engine: AsyncEngine, usage_rows: int) -> "LongHistory":
        """Write an account with its keys and team, and so many usage rows, ten a transfer."""
        rates = {"input": NANOS_PER_DOLLAR, "output": 4 * NANOS_PER_DOLLAR}
        for number in range(_MODELS):
            await set_price(engine, "bench", f"model-{number}", TokenRates.inherit(rates), None)
        account_id, first = await create_account(engine, name="Long history")
        await put_member(engine, account_id, "ada@example.com", Role.OWNER)
        keys = [await create_key(engine, account_id, f"key {n}", None, (Scope.USAGE,)) for n in range(_KEYS)]
        operator = await create_platform_key(engine, "operator", Scope.ADMIN)
        transfers = 1 + usage_rows // _ROWS_A_TRANSFER
        history = cls(
            engine,
            account_id,
            first.api_key,
            operator.api_key,
            [key.api_key_id for key in keys],
            utc_now() - _SPAN,
            _SPAN / transfers,
        )
        await history.add(transfers)
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(text("VACUUM ANALYZE"))
        return history

    async def add(self, count: int) -> None:
        """Write so many transfers more."""
        end = self.transfers + count
        while self.transfers < end:
            first, last = self.transfers + 1, min(end, self.transfers + _AT_ONCE)
            span = {"account_id": self.account_id, "first": first, "last": last}
            async with self.engine.begin() as connection:
                await connection.execute(_TRANSFERS, span | {"begin": self.begin, "step": self.step})
                await connection.execute(_RECORDS, span | {"keys": self.key_ids})
                await connection.execute(
                    _ACCOUNT, {"account_id": self.account_id, "last": last, "begin": self.begin}
                )
            self.transfers = last
