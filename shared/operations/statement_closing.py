"""Close the statements of months that are over: once, by whichever clock comes first.

A batch of accounts is one transaction, which also notes how far it came. So a clock that is killed leaves
either none of a batch or all of it, and the next one goes on from there; a second finds the month taken.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import statement_sums, usage_days
from shared.db import statements as sql
from shared.domain.invoice import Party
from shared.domain.periods import Period
from shared.domain.signature import SigningKey
from shared.domain.statement import State, as_document
from shared.operations.statements import draw_statement

log = structlog.get_logger(__name__)

_BATCH = 100
_EVERY = timedelta(minutes=5)
#: So many entries are summed up while somebody waits.
_LAG_ENTRIES = 1000


class StatementClosing:
    """What the clock does about statements."""

    def __init__(
        self,
        engine: AsyncEngine,
        seller: Party,
        key: SigningKey | None,
        now: Callable[[], datetime],
        after: timedelta,
    ) -> None:
        self._engine = engine
        self._seller = seller
        self._key = key
        self._now = now
        self._after = after
        self._due: datetime | None = None

    async def run_due(self) -> None:
        """Do it at the start, then every few minutes."""
        now = self._now()
        if self._due and now < self._due:
            return
        await self.run()
        self._due = now + _EVERY

    async def run(self) -> None:
        """Close every month that ended long enough ago, sign what is not signed, and sum up what is new."""
        if self._key:
            async with self._engine.begin() as connection:
                await sql.publish_key(connection, self._key.key_id, self._key.public_key, self._now())
        async with self._engine.begin() as connection:
            await sql.begin_closings(connection, Period.of(self._now() - self._after).plus(-1))
        while await self._close_batch():
            pass
        while self._key and await self._sign_batch(self._key):
            pass
        await self._keep_up()

    async def _close_batch(self) -> bool:
        """Close a month for some accounts; return whether there is more to do for us."""
        async with self._engine.begin() as connection:
            taken = await sql.take_closing(connection)
            if taken is None:
                return False
            period, through = taken
            account_ids = await sql.next_accounts(connection, through, _BATCH)
            for account_id in account_ids:
                await self._close(connection, account_id, period)
            await sql.note_closing(connection, period, account_ids[-1] if account_ids else None)
        if not account_ids:
            log.info("closed the statements of a month", month=str(period))
        return True

    async def _keep_up(self) -> None:
        """Sum up busy accounts as their month goes on, so that neither a look nor the close takes long."""
        async with self._engine.connect() as connection:
            behind = await statement_sums.lagging(connection, _LAG_ENTRIES, _BATCH)
        for account_id in behind:
            async with self._engine.begin() as connection:
                await statement_sums.roll_up(connection, account_id)
                await usage_days.roll_up(connection, account_id)

    async def _close(self, connection: AsyncConnection, account_id: str, period: Period) -> None:
        now = self._now()
        statement = await draw_statement(connection, account_id, period, self._seller, State.CLOSED, now)
        await statement_sums.close_month(connection, account_id, period)
        if statement is None:
            return
        document = as_document(statement)
        values = {
            "account_id": account_id,
            "period_start": period.start,
            "document": document,
            "last_seq": statement.closing.seq,
            "head_hash": bytes.fromhex(statement.closing.hash),
            "closed_at": now,
            "key_id": self._key.key_id if self._key else None,
            "signature": self._key.sign(document) if self._key else None,
        }
        await sql.insert_statement(connection, values)

    async def _sign_batch(self, key: SigningKey) -> bool:
        """Sign what was closed while there was no key; return whether there was any."""
        async with self._engine.begin() as connection:
            rows = await sql.unsigned_statements(connection, _BATCH)
            for row in rows:
                signature = key.sign(row["document"])
                await sql.set_signature(
                    connection, row["account_id"], row["period_start"], key.key_id, signature
                )
        return bool(rows)
