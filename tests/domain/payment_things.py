"""A top-up that was charged and credited, at Stripe and in the books, for tests of what may differ."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from shared.domain.payment_differences import Amount, BookedTopup, Payment
from shared.domain.topup import TopupState

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(minutes=10)
USD_25 = Amount(25 * 10**9, "usd")
PAID = Payment("pi_1", "succeeded", USD_25, LONG_AGO, "cus_1", "top_1", "acct_1")
TOPUP = BookedTopup(
    account_id="acct_1",
    topup_id="top_1",
    state=TopupState.SUCCEEDED,
    by_checkout=False,
    amount=USD_25,
    payment_id="pi_1",
    customer_id="cus_1",
    credited=USD_25,
    changed_at=LONG_AGO,
)
OPEN = replace(TOPUP, state=TopupState.CONFIRMING, credited=None)
