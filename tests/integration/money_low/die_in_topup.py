"""Run one top-up in this process, and die by SIGKILL before or after one of its commits or requests.

Usage: die_in_topup.py DATABASE_URL STRIPE_URL STRIPE_KEY TOPUP_ID {before|after} {commit|request} NUMBER
       SECONDS_AHEAD
"""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.clock import utc_now
from shared.db.engine import create_engine
from shared.gateways.stripe_connection import StripeConnection
from shared.gateways.stripe_payments import StripePayments
from shared.operations.payments.settle import SettlePolicy
from workers.topup import TopUps


class Death:
    """Comes at one point, counted."""

    def __init__(self, when: str, what: str, number: int) -> None:
        self._chosen = (when, what, number)
        self._seen: Counter[tuple[str, str]] = Counter()

    def may_come(self, when: str, what: str) -> None:
        self._seen[when, what] += 1
        if (when, what, self._seen[when, what]) == self._chosen:
            os.kill(os.getpid(), signal.SIGKILL)


class Engine:
    """An engine whose commits may be the last thing that happens, or not happen."""

    def __init__(self, engine: AsyncEngine, death: Death) -> None:
        self._engine = engine
        self._death = death

    def connect(self) -> AsyncConnection:
        return self._engine.connect()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.connect() as connection, connection.begin() as transaction:
            yield connection
            self._death.may_come("before", "commit")
            await transaction.commit()
            self._death.may_come("after", "commit")


class Payments:
    """Payments whose requests may be the last thing that happens, or not happen."""

    def __init__(self, payments: StripePayments, death: Death) -> None:
        self._payments = payments
        self._death = death
        self.connection = getattr(payments, "connection", None)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def request(*arguments: Any) -> Any:
            self._death.may_come("before", "request")
            try:
                return await getattr(self._payments, name)(*arguments)
            finally:
                self._death.may_come("after", "request")

        return request


async def _main() -> None:
    database_url, stripe_url, key, topup_id, when, what, number, *seconds_ahead = sys.argv[1:]
    death = Death(when, what, int(number))
    engine = cast("AsyncEngine", Engine(create_engine(database_url), death))
    payments = cast("StripePayments", Payments(StripePayments(StripeConnection(key, stripe_url)), death))
    policy = SettlePolicy(timedelta(hours=1), timedelta(hours=1))
    ahead = timedelta(seconds=float(*seconds_ahead))
    await TopUps(engine, payments, lambda: utc_now() + ahead, policy).handle([topup_id])


if __name__ == "__main__":
    asyncio.run(_main())
