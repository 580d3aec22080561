"""payg invoices, payg invoice and payg account billing: what they print and write."""

import asyncio
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from payg_command import Inside, Payg
from pypdf import PdfReader

from shared.clock import utc_now
from shared.db import cards as sql
from shared.db.engine import create_engine
from shared.gateways.stripe_payments import Intent
from shared.operations.payments.invoices import Invoicing
from shared.operations.payments.settle import SettlePolicy, settle
from shared.operations.payments.topups import create_topup
from shared.settings import Settings

_POLICY = SettlePolicy(timedelta(hours=1), timedelta(hours=1))


async def _pay(payg: Payg, account_id: str, cents: int) -> str:
    """Let a top-up be paid as Stripe would say it was, and its invoice be issued; return the top-up."""
    urls = {name.removeprefix("PAYG_").lower(): url for name, url in payg.env.items() if "PAYG_" in name}
    engine = create_engine(urls["database_url"])
    async with engine.begin() as connection:
        await sql.add_customer(connection, account_id, "cus_1")
        await sql.use_card(connection, account_id, "cus_1", "pm_1", replace=True)
    topup_id = str((await create_topup(engine, account_id, cents * 10**7))["id"])
    intent = Intent(
        f"pi_{topup_id}",
        "succeeded",
        cents,
        "usd",
        "cus_1",
        "ch_1",
        "https://r.example.com/1",
        topup_id,
        account_id,
    )
    await settle(engine, topup_id, intent, utc_now(), _POLICY)
    await Invoicing(engine, Settings(**urls).issuer).advance(f"inv_{topup_id}")
    await engine.dispose()
    return topup_id


@pytest.fixture(scope="module")
def account_id(payg: Payg) -> str:
    return str(payg("account", "create", "--name", "Ann").object["account_id"])


@pytest.fixture(scope="module")
def topup_id(payg: Payg, account_id: str) -> str:
    details = ("--name", "Ann Ltd", "--address", "1 Long Road|Town", "--tax-id", "X 1")
    payg("account", "billing", account_id, *details)
    return asyncio.run(_pay(payg, account_id, 123_456))


def _number(payg: Payg, account_id: str) -> str:
    return str(payg("invoices", "list", "--account", account_id).object["number"])


def test_billing_prints_who_invoices_are_made_out_to(inside: Inside, account_id: str, topup_id: str) -> None:
    assert topup_id
    assert inside(f"account billing {account_id}").object == {
        "account_id": account_id,
        "name": "Ann Ltd",
        "address": ["1 Long Road", "Town"],
        "tax_id": "X 1",
        "email": None,
    }


def test_list_has_one_object_a_line(payg: Payg, account_id: str, topup_id: str) -> None:
    listed = payg("invoices", "list", "--account", account_id).object
    assert listed["number"].startswith("INV-0000")
    assert (listed["account_id"], listed["topup_id"], listed["buyer"]) == (account_id, topup_id, "Ann Ltd")
    assert (listed["amount_nanos"], listed["refunded_nanos"]) == (1_234_560_000_000, 0)
    assert listed["issued_at"].endswith("Z")


def test_list_without_invoices_is_empty(inside: Inside) -> None:
    other = inside("account create").object["account_id"]
    assert inside(f"invoices list --account {other}").objects == []


def test_show_prints_the_document(payg: Payg, account_id: str, topup_id: str) -> None:
    number = _number(payg, account_id)
    shown = payg("invoice", "show", number).object
    document = shown["document"]
    assert (shown["number"], shown["topup_id"], shown["refunded_nanos"]) == (number, topup_id, 0)
    assert (document["total"], document["total_nanos"]) == ("1234.56", 1_234_560_000_000)
    assert document["payment"]["receipt_url"] == "https://r.example.com/1"
    people = payg("invoice", "show", number, json=False)
    assert (people.status, "{" in people.out, "$1234.56" in people.out) == (0, False, True)


def test_show_writes_the_pdf(payg: Payg, account_id: str, topup_id: str, tmp_path: Path) -> None:
    number = _number(payg, account_id)
    files = [tmp_path / "one.pdf", tmp_path / "two.pdf"]
    for file in files:
        assert payg("invoice", "show", number, "--pdf", str(file)).object["topup_id"] == topup_id
    first, second = (file.read_bytes() for file in files)
    assert first == second
    (page,) = PdfReader(BytesIO(first)).pages
    for words in (number, "Ann Ltd", "1 Long Road", "1,234.56 USD"):
        assert words in page.extract_text()


def test_a_number_that_is_none_is_one_line_and_status_1(inside: Inside) -> None:
    inside("invoice show INV-00009999").assert_fails(1, "INV-00009999")
    inside("invoice show nonsense").assert_fails(1, "nonsense")


def test_a_pdf_that_cannot_be_written_is_one_line_and_status_1(
    payg: Payg, account_id: str, topup_id: str, tmp_path: Path
) -> None:
    assert topup_id
    number = _number(payg, account_id)
    payg("invoice", "show", number, "--pdf", str(tmp_path / "no" / "file.pdf")).assert_fails(1, "file.pdf")


def test_details_that_cannot_stand_on_an_invoice_are_one_line_and_status_1(
    inside: Inside, account_id: str
) -> None:
    inside(f"account billing {account_id} --email nobody").assert_fails(1, "email")
    inside("account billing acct_nobody --name Ann").assert_fails(1, "acct_nobody")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PAYG_INVOICE_PREFIX", "INV1"),
        ("PAYG_INVOICE_PREFIX", "-"),
        ("PAYG_SELLER_NAME", "x" * 300),
        ("PAYG_SELLER_ADDRESS", "|".join("abcdefghijk")),
        ("PAYG_SELLER_EMAIL", "nobody"),
    ],
)
def test_a_malformed_setting_of_invoices_stops_with_one_line_that_names_it(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    done = inside("audit")
    assert (done.status, len(done.err.splitlines())) == (2, 1), done.err
    assert f"{name} must" in done.err
    assert "Traceback" not in done.err


def test_the_seller_of_the_settings(payg: Payg) -> None:
    urls = {name.removeprefix("PAYG_").lower(): url for name, url in payg.env.items() if "PAYG_" in name}
    settings = Settings(**urls, seller_name="Öl & Co", seller_address="Weg 1|Wien\\nAT", seller_tax_id="")
    assert settings.issuer.seller.name == "Öl & Co"
    assert settings.issuer.seller.address == ("Weg 1", "Wien", "AT")
    assert (settings.issuer.seller.tax_id, settings.issuer.seller.email) == (None, None)
    assert settings.issuer.prefix == "INV-"
