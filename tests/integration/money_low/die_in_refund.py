"""Have one refund paid back in this process, and die by SIGKILL before or after a commit or a request.

Usage: die_in_refund.py DATABASE_URL STRIPE_URL STRIPE_KEY REFUND_ID {before|after} {commit|request} NUMBER
"""

import asyncio
import sys
from datetime import timedelta
from typing import cast

from die_in_topup import Death, Engine, Payments
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db.engine import create_engine
from shared.gateways.stripe_connection import StripeConnection
from shared.gateways.stripe_payments import StripePayments
from shared.gateways.stripe_refunds import StripeRefunds
from shared.operations.payments.refunding import Refunding
from shared.operations.payments.settle import SettlePolicy


async def _main() -> None:
    database_url, stripe_url, key, refund_id, when, what, number = sys.argv[1:]
    death = Death(when, what, int(number))
    engine = cast("AsyncEngine", Engine(create_engine(database_url), death))
    refunds = cast("StripePayments", StripeRefunds(StripeConnection(key, stripe_url)))
    gateway = cast("StripeRefunds", Payments(refunds, death))
    policy = SettlePolicy(timedelta(hours=1), timedelta(hours=1))
    await Refunding(engine, gateway, utc_now, policy).advance(refund_id)


if __name__ == "__main__":
    asyncio.run(_main())
