"""Begin or end a top-up by Checkout here, and die by SIGKILL before or after a commit or a request.

Usage: die_in_checkout.py DATABASE_URL STRIPE_URL STRIPE_KEY {begin ACCOUNT|end TOPUP} WHEN WHAT NUMBER
"""

import asyncio
import sys
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any, cast

from die_in_topup import Death, Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db.engine import create_engine
from shared.domain.money import NANOS_PER_DOLLAR
from shared.gateways.stripe_connection import StripeConnection
from shared.gateways.stripe_payments import StripePayments
from shared.operations.payments.checkout import create_checkout
from shared.operations.payments.settle import SettlePolicy
from workers.topup import TopUps

KEY = "asked once"


class Connection:
    """A connection to Stripe whose requests may be the last thing that happens, or not happen."""

    def __init__(self, connection: StripeConnection, death: Death) -> None:
        self.client = connection.client
        self.public_url = connection.public_url
        self._connection = connection
        self._death = death

    async def call(self, request: Awaitable[Any]) -> Any:
        self._death.may_come("before", "request")
        answer = await self._connection.call(request)
        self._death.may_come("after", "request")
        return answer


async def _main() -> None:
    database_url, stripe_url, key, task, subject, when, what, number = sys.argv[1:]
    death = Death(when, what, int(number))
    engine = cast("AsyncEngine", Engine(create_engine(database_url), death))
    connection = Connection(StripeConnection(key, stripe_url), death)
    payments = StripePayments(cast("StripeConnection", connection))
    if task == "begin":
        amount = 25 * NANOS_PER_DOLLAR
        await create_checkout(engine, payments, subject, amount, saves_card=True, idempotency_key=KEY)
    else:
        policy = SettlePolicy(timedelta(hours=1), timedelta(hours=1))
        await TopUps(engine, payments, utc_now, policy).handle([subject])


if __name__ == "__main__":
    asyncio.run(_main())
