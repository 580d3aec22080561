"""A process killed at any step of Checkout: whoever comes next ends it, with one charge and one credit."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from checkout_pages import pay
from die_in_checkout import KEY
from low_money import DOLLAR, LowMoney

from shared.operations.payments.checkout import create_checkout

_SCRIPT = Path(__file__).with_name("die_in_checkout.py")
_ROOT = Path(__file__).parents[3]
_BEGIN = {"request": ["customer", "session"], "commit": ["top-up", "customer", "session"]}
_END = {"request": ["session", "card", "intent"], "commit": ["intent", "card", "credit"]}


def _points(steps: dict[str, list[str]]) -> list[object]:
    return [
        pytest.param(when, what, number, id=f"{when} the {what} of the {name}")
        for what, names in steps.items()
        for number, name in enumerate(names, 1)
        for when in ("before", "after")
    ]


@pytest.mark.parametrize("by", ["the same request", "the clock"])
@pytest.mark.parametrize(("when", "what", "number"), _points(_BEGIN))
async def test_a_death_while_a_page_is_opened_leaves_one_top_up_with_one_page(
    money: LowMoney, by: str, when: str, what: str, number: int
) -> None:
    account_id = await money.account_without_topup()
    assert await _run(money, "begin", account_id, when, what, number) == -signal.SIGKILL
    rows = await money.rows("SELECT topup_id FROM topups")
    if by == "the clock" and rows:
        await money.topups().handle([rows[0]["topup_id"]])
    again = await create_checkout(
        money.engine, money.payments, account_id, 25 * DOLLAR, saves_card=True, idempotency_key=KEY
    )
    assert again["state"] == "created"
    pay(again)
    await money.topups().handle([again["id"]])
    assert await money.state(again["id"]) == "succeeded"
    assert len(await money.rows("SELECT topup_id FROM topups")) == 1
    await money.assert_charged_and_credited(account_id, 2_500)


@pytest.mark.parametrize(("when", "what", "number"), _points(_END))
async def test_a_death_while_a_paid_page_is_settled_leaves_one_credit_and_the_card(
    money: LowMoney, when: str, what: str, number: int
) -> None:
    account_id = await money.account_without_topup()
    topup = await create_checkout(money.engine, money.payments, account_id, 25 * DOLLAR, saves_card=True)
    pay(topup)
    assert await _run(money, "end", topup["id"], when, what, number) == -signal.SIGKILL
    await money.topups().handle([topup["id"]])
    assert await money.state(topup["id"]) == "succeeded"
    assert await money.alerts(account_id) == ["topup.succeeded"]
    customers = await money.rows("SELECT payment_method_id FROM payment_customers")
    assert customers[0]["payment_method_id"].startswith("pm_")
    await money.assert_charged_and_credited(account_id, 2_500)


async def _run(money: LowMoney, task: str, subject: str, when: str, what: str, number: int) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        _SCRIPT,
        *(money.database_url, money.stripe_url, money.stripe_key),
        *(task, subject, when, what, str(number)),
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )
    return await asyncio.wait_for(process.wait(), 30)
