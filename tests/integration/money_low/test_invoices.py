"""Invoices: one for every top-up that was credited, numbered without gaps, frozen when it is issued."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from low_money import DOLLAR, LowMoney, later
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from sandbox.servers import Postgres
from shared.clock import utc_now
from shared.db.engine import create_engine
from shared.db.payment_steps import take_due_steps
from shared.db.schema import migrate
from shared.documents.invoice_pdf import render_invoice
from shared.domain.errors import NotFoundError
from shared.domain.invoice import InvalidDetailError, Issuer, Party
from shared.operations.audit import audit
from shared.operations.payments.invoices import Invoicing, list_invoices, set_billing, show_invoice
from shared.operations.payments.settle import SettlePolicy
from shared.operations.payments.topups import create_topup, save_card
from workers.topup import TopUps

_SCRIPT = Path(__file__).with_name("die_in_topup.py")
_ROOT = Path(__file__).parents[3]
_OLD_TOPUPS = """
    INSERT INTO topups (account_id, topup_id, automatic, state, amount_nanos, payment_method_id)
    VALUES ('acct_1', 'top_paid', false, 'succeeded', 5000000000, 'pm_1'),
           ('acct_1', 'top_failed', false, 'failed', 5000000000, 'pm_1')
"""
_SELLER = Party(
    name="Northwind Ltd", address=("12 Harbour St", "Dublin"), tax_id="IE 1", email="billing@example.com"
)


async def _paid(money: LowMoney, *, amount_nanos: int = 25 * DOLLAR, times: int = 1) -> tuple[str, list[str]]:
    """An account with top-ups that were credited; return its id and theirs."""
    account_id = await money.account_without_topup()
    await save_card(money.engine, money.payments, account_id, "pm_card_visa")
    topups = [(await create_topup(money.engine, account_id, amount_nanos))["id"] for _ in range(times)]
    await money.topups().handle(topups)
    return account_id, topups


async def _issue(money: LowMoney, *topup_ids: str) -> None:
    await money.topups().handle([f"inv_{topup_id}" for topup_id in topup_ids])


async def _numbers(money: LowMoney) -> list[int]:
    return [row["number"] for row in await money.rows("SELECT number FROM invoices ORDER BY number")]


async def _last_number(money: LowMoney) -> int:
    return int((await money.rows("SELECT last_number FROM invoice_numbers"))[0]["last_number"])


async def _due(money: LowMoney) -> list[str]:
    """Return what the clock would send on now."""
    async with money.engine.begin() as connection:
        return await take_due_steps(connection, again_after=timedelta(seconds=30), limit=500)


async def _execute(money: LowMoney, statement: str) -> None:
    async with money.engine.begin() as connection:
        await connection.execute(text(statement))


async def test_the_clock_finds_the_invoice_of_a_credited_top_up_until_it_is_issued(money: LowMoney) -> None:
    account_id, (topup_id,) = await _paid(money)
    assert await _due(money) == [f"inv_{topup_id}"]
    before = await money.topup(topup_id)
    await _issue(money, topup_id)
    after = await money.topup(topup_id)
    assert after["invoice_due_at"] is None
    assert after["updated_at"] == before["updated_at"]
    (listed,) = await list_invoices(money.engine, account_id)
    assert (listed["number"], listed["topup_id"], listed["amount_nanos"]) == (
        "INV-00000001",
        topup_id,
        25 * DOLLAR,
    )
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_the_document_says_who_bought_what_and_how_it_was_paid(money: LowMoney) -> None:
    account_id, (topup_id,) = await _paid(money, amount_nanos=1_234_560_000_000)
    await set_billing(
        money.engine, account_id, name="Żółć", address="Rynek 1|Kraków", tax_id="PL 5", email="ap@example.org"
    )
    await Invoicing(money.engine, Issuer(_SELLER, "NW/")).advance(f"inv_{topup_id}")
    (stored,) = await money.rows("SELECT * FROM invoices")
    charges = {charge["id"]: charge for charge in money.controls.charges()}
    topup = await money.topup(topup_id)
    (transfer,) = await money.rows("SELECT * FROM transfers WHERE kind = 'topup'")
    document = stored["document"]
    assert document["number"] == "NW/00000001"
    assert document["seller"] == {
        "name": "Northwind Ltd",
        "address": ["12 Harbour St", "Dublin"],
        "tax_id": "IE 1",
        "email": "billing@example.com",
    }
    assert document["buyer"] == {
        "account_id": account_id,
        "name": "Żółć",
        "address": ["Rynek 1", "Kraków"],
        "tax_id": "PL 5",
        "email": "ap@example.org",
    }
    assert document["lines"] == [
        {"description": "Prepaid API credit", "amount_nanos": 1_234_560_000_000, "amount": "1234.56"}
    ]
    assert (document["total_nanos"], document["total"], document["currency"]) == (
        1_234_560_000_000,
        "1234.56",
        "USD",
    )
    _, issued = await show_invoice(money.engine, "NW/00000001")
    assert issued.issued_at == stored["issued_at"] >= transfer["occurred_at"]
    assert issued.payment.paid_at == transfer["occurred_at"]
    assert (issued.payment.topup_id, issued.payment.transfer_seq) == (topup_id, transfer["seq"])
    assert issued.payment.payment_intent == topup["payment_intent_id"]
    assert issued.payment.charge_id == topup["charge_id"]
    assert charges[issued.payment.charge_id]["amount_cents"] == 123_456
    assert issued.payment.receipt_url == topup["receipt_url"]
    assert issued.payment.receipt_url
    await money.assert_charged_and_credited(account_id, 123_456)


async def test_what_was_not_paid_has_no_invoice_and_takes_no_number(money: LowMoney) -> None:
    account_id, topup_id = await money.by_hand(card="pm_card_chargeDeclined")
    await _issue(money, topup_id)
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "failed"
    await _issue(money, topup_id, "top_nobody")
    assert await _due(money) == []
    assert (await _numbers(money), await _last_number(money)) == ([], 0)
    await money.assert_charged_and_credited(account_id)


async def test_a_top_up_has_one_invoice_however_often_and_by_how_many_it_is_asked_for(
    money: LowMoney,
) -> None:
    account_id, (topup_id,) = await _paid(money)
    await asyncio.gather(*(_issue(money, topup_id) for _ in range(10)))
    await _issue(money, topup_id)
    assert (await _numbers(money), await _last_number(money)) == ([1], 1)
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_twenty_issuers_at_once_leave_no_gap_and_no_number_twice(money: LowMoney) -> None:
    account_id, topups = await _paid(money, times=20)
    async with AsyncExitStack() as stack:
        engines = [create_engine(money.database_url) for _ in range(5)]
        for engine in engines:
            stack.push_async_callback(engine.dispose)
        stages = [money.topups(engines[number % 5]) for number in range(40)]
        await asyncio.gather(
            *(stage.handle([f"inv_{topups[n % 20]}"]) for n, stage in enumerate(stages)),
        )
    assert await _numbers(money) == list(range(1, 21))
    rows = await money.rows("SELECT topup_id, issued_at FROM invoices ORDER BY number")
    assert {row["topup_id"] for row in rows} == set(topups)
    assert [row["issued_at"] for row in rows] == sorted(row["issued_at"] for row in rows)
    assert await _due(money) == []
    await money.assert_charged_and_credited(account_id, *[2_500] * 20)


async def test_what_rolls_back_in_the_middle_of_others_leaves_no_gap(money: LowMoney) -> None:
    account_id, topups = await _paid(money, times=9)
    unlucky = ", ".join(f"'{topup_id}'" for topup_id in topups[::3])
    await _execute(money, f"ALTER TABLE invoices ADD CONSTRAINT no CHECK (topup_id NOT IN ({unlucky}))")
    stage = money.topups()
    ended = await asyncio.gather(
        *(stage.handle([f"inv_{topup_id}"]) for topup_id in topups), return_exceptions=True
    )
    assert [isinstance(each, IntegrityError) for each in ended] == [True, False, False] * 3
    assert (await _numbers(money), await _last_number(money)) == (list(range(1, 7)), 6)
    await _execute(money, "ALTER TABLE invoices DROP CONSTRAINT no")
    await money.topups().handle(await _due(money))
    assert (await _numbers(money), await _last_number(money)) == (list(range(1, 10)), 9)
    await money.assert_charged_and_credited(account_id, *[2_500] * 9)


async def test_an_invoice_that_fails_after_the_credit_leaves_the_credit_and_is_made_up(
    money: LowMoney,
) -> None:
    await _execute(money, "ALTER TABLE invoices ADD CONSTRAINT no CHECK (false)")
    account_id, (topup_id,) = await _paid(money)
    for _ in range(2):
        with pytest.raises(IntegrityError):
            await _issue(money, topup_id)
    assert await money.state(topup_id) == "succeeded"
    await money.assert_charged_and_credited(account_id, 2_500)
    await _execute(money, "ALTER TABLE invoices DROP CONSTRAINT no")
    await money.topups().handle(await _due(money))
    assert await _numbers(money) == [1]
    await money.assert_charged_and_credited(account_id, 2_500)


@pytest.mark.parametrize(("when", "left"), [("before", []), ("after", [1])])
async def test_a_death_while_an_invoice_is_issued_leaves_all_of_it_or_nothing(
    money: LowMoney, when: str, left: Sequence[int]
) -> None:
    account_id, (topup_id,) = await _paid(money)
    assert await _die(money, f"inv_{topup_id}", when) == -signal.SIGKILL
    assert (await _numbers(money), await _last_number(money)) == (left, len(left))
    assert await _due(money) == ([] if left else [f"inv_{topup_id}"])
    await _issue(money, topup_id)
    assert await _numbers(money) == [1]
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_an_invoice_that_was_issued_never_changes(money: LowMoney) -> None:
    account_id, (topup_id, next_id) = await _paid(money, times=2)
    await Invoicing(money.engine, Issuer(_SELLER, "NW-")).advance(f"inv_{topup_id}")
    _, document = await show_invoice(money.engine, "NW-00000001")
    (stored,) = await money.rows("SELECT * FROM invoices")
    pdf = render_invoice(document)
    await set_billing(money.engine, account_id, name="Somebody Else", address="Elsewhere")
    await _execute(money, "UPDATE accounts SET name = 'Another'")
    renamed = Issuer(Party(name="Southwind Ltd"), "2027-")
    stage = TopUps(money.engine, money.payments, later(), SettlePolicy(timedelta(), timedelta()), renamed)
    await stage.handle([f"inv_{topup_id}", f"inv_{next_id}"])
    _, again = await show_invoice(money.engine, "NW-00000001")
    assert again == document
    assert render_invoice(again) == pdf
    rows = await money.rows("SELECT * FROM invoices ORDER BY number")
    assert dict(rows[0]) == dict(stored)
    _, later_one = await show_invoice(money.engine, "2027-00000002")
    assert (later_one.seller.name, later_one.buyer.name) == ("Southwind Ltd", "Somebody Else")
    await money.assert_charged_and_credited(account_id, 2_500, 2_500)


async def test_what_is_refunded_later_stands_beside_the_document(money: LowMoney) -> None:
    _, (topup_id,) = await _paid(money)
    await _issue(money, topup_id)
    shown, document = await show_invoice(money.engine, "INV-00000001")
    assert (shown["refunded_nanos"], shown["disputed_nanos"]) == (0, 0)
    await _execute(money, "UPDATE topups SET refunded_nanos = 5000000000, disputed_nanos = 1000000000")
    shown, same = await show_invoice(money.engine, "INV-00000001")
    assert (shown["refunded_nanos"], shown["disputed_nanos"]) == (5 * DOLLAR, DOLLAR)
    assert shown["amount_nanos"] == 25 * DOLLAR
    assert same == document


async def test_without_settings_of_a_seller_there_is_an_invoice_all_the_same(money: LowMoney) -> None:
    account_id, (topup_id,) = await _paid(money)
    await _issue(money, topup_id)
    _, document = await show_invoice(money.engine, "INV-00000001")
    assert document.seller == Party(name="payg")
    assert (document.buyer.name, document.buyer.address) == (account_id, ())


async def test_a_number_is_found_only_as_it_was_printed(money: LowMoney) -> None:
    _, (topup_id,) = await _paid(money)
    await _issue(money, topup_id)
    for number in ("INV-00000002", "inv-00000001", "00000001", "INV-1", "", "INV-99999999999999999999"):
        with pytest.raises(NotFoundError):
            await show_invoice(money.engine, number)


async def test_invoices_of_one_account_are_listed_alone_and_all_in_order(money: LowMoney) -> None:
    first, (one, two) = await _paid(money, times=2)
    second, (other,) = await _paid(money)
    await _issue(money, one, other, two)
    numbers = {
        owner: [row["number"] for row in await list_invoices(money.engine, owner)]
        for owner in (first, second, None)
    }
    assert numbers[first] == ["INV-00000001", "INV-00000003"]
    assert numbers[second] == ["INV-00000002"]
    assert numbers[None] == ["INV-00000001", "INV-00000002", "INV-00000003"]


async def test_billing_details_that_are_not_named_stay_and_empty_ones_go(money: LowMoney) -> None:
    account_id = await money.account_without_topup()
    await asyncio.gather(
        set_billing(money.engine, account_id, name="Ann Ltd", tax_id="X 1"),
        set_billing(money.engine, account_id, address="Here 1|There"),
        set_billing(money.engine, account_id, email="ann@example.com"),
    )
    details = await set_billing(money.engine, account_id, tax_id="")
    assert details == {
        "account_id": account_id,
        "name": "Ann Ltd",
        "address": ("Here 1", "There"),
        "tax_id": None,
        "email": "ann@example.com",
    }
    for wrong in ({"name": "a\x00b"}, {"email": "nobody"}, {"tax_id": "x" * 300}):
        with pytest.raises(InvalidDetailError, match=f"the {next(iter(wrong)).replace('_', ' ')} must"):
            await set_billing(money.engine, account_id, **wrong)
    assert await set_billing(money.engine, account_id) == details
    report = await audit(money.engine)
    assert report.ok, str(report.fault)


async def test_billing_details_of_nobody_are_not_found(money: LowMoney) -> None:
    with pytest.raises(NotFoundError):
        await set_billing(money.engine, "acct_nobody", name="Ann")


async def test_an_invoice_that_cannot_be_issued_yet_is_due_later_and_never_given_up(money: LowMoney) -> None:
    _, (topup_id,) = await _paid(money)
    invoicing = Invoicing(money.engine, Issuer())
    at = utc_now() + timedelta(minutes=5)
    await invoicing.look_again(f"inv_{topup_id}", at)
    assert (await money.topup(topup_id))["invoice_due_at"] == at
    await invoicing.park(f"inv_{topup_id}", "because")
    assert (await money.topup(topup_id))["invoice_due_at"] == at


async def test_what_was_paid_before_there_were_invoices_gets_one_too(postgres: Postgres) -> None:
    engine = create_engine(postgres.create_database("before_invoices"))
    await migrate(engine, "0005")
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO accounts (account_id, head_hash) VALUES ('acct_1', '')"))
        await connection.execute(text(_OLD_TOPUPS))
    await migrate(engine)
    async with engine.begin() as connection:
        due = await take_due_steps(connection, again_after=timedelta(seconds=30), limit=500)
    await engine.dispose()
    postgres.drop_database("before_invoices")
    assert due == ["inv_top_paid"]


async def _die(money: LowMoney, step_id: str, when: str) -> Any:
    arguments = (money.database_url, money.stripe_url, money.stripe_key, step_id, when, "commit", "1")
    env = {**os.environ, "PYTHONPATH": str(_ROOT)}
    process = await asyncio.create_subprocess_exec(sys.executable, _SCRIPT, *arguments, env=env)
    return await asyncio.wait_for(process.wait(), 30)
