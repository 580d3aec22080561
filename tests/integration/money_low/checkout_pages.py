"""Pages to pay at: how they are opened here, and what an owner does on them."""

from typing import Any

import httpx
from low_money import DOLLAR, GRACE, RETRY, LowMoney, later

from shared.operations.payments.checkout import Checkouts, create_checkout
from shared.operations.payments.settle import SettlePolicy


def pay(topup: dict[str, Any], card: str = "pm_card_visa") -> None:
    """Submit the form of a page with a card."""
    httpx.post(topup["checkout_url"], data={"card": card})


async def begin(money: LowMoney, account_id: str, **more: Any) -> dict[str, Any]:
    return await create_checkout(money.engine, money.payments, account_id, 25 * DOLLAR, **more)


async def begun(money: LowMoney, **more: Any) -> tuple[str, dict[str, Any]]:
    account_id = await money.account_without_topup()
    return account_id, await begin(money, account_id, **more)


def checkouts(money: LowMoney) -> Checkouts:
    return Checkouts(money.engine, money.payments, later(), SettlePolicy(RETRY, GRACE))
