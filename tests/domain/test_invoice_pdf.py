"""The PDF of an invoice: what stands on it, in many scripts, on as many pages as it takes."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from pypdf import PdfReader

from shared.documents.invoice_pdf import render_invoice
from shared.domain.invoice import Buyer, Invoice, Line, Party, Payment

INVOICE = Invoice(
    number="INV-00000042",
    issued_at=datetime(2026, 11, 25, 9, 30, tzinfo=UTC),
    seller=Party(
        name="Northwind Inference Ltd",
        address=("12 Harbour Street", "Dublin D02 X285"),
        tax_id="IE 1234567FA",
        email="billing@example.com",
    ),
    buyer=Buyer(
        account_id="acct_1",
        name="Example Research",
        address=("1 Long Road",),
        tax_id="PL 52",
        email="ap@example.org",
    ),
    lines=(Line(description="Prepaid API credit", amount_nanos=1_250_500_000_000, amount="1250.50"),),
    currency="USD",
    total_nanos=1_250_500_000_000,
    total="1250.50",
    payment=Payment(
        topup_id="top_1",
        transfer_seq=7,
        paid_at=datetime(2026, 11, 24, 23, 59, tzinfo=UTC),
        payment_intent="pi_1",
        charge_id="ch_1",
        receipt_url="https://pay.example.com/receipts/ch_1",
    ),
)
_ROOT = Path(__file__).parents[2]
_RENDER = """
import sys, hashlib
sys.path.insert(0, "tests/domain")
from test_invoice_pdf import INVOICE
from shared.documents.invoice_pdf import render_invoice
print(hashlib.sha256(render_invoice(INVOICE)).hexdigest())
"""


def _pages(invoice: Invoice) -> list[str]:
    return [page.extract_text() for page in PdfReader(BytesIO(render_invoice(invoice))).pages]


def _named(name: str, *address: str) -> Invoice:
    return replace(INVOICE, buyer=replace(INVOICE.buyer, name=name, address=address))


def test_it_holds_number_dates_parties_amount_and_payment() -> None:
    (page,) = _pages(INVOICE)
    for words in (
        "INV-00000042",
        "25 November 2026",
        "24 November 2026",
        "Northwind Inference Ltd",
        "12 Harbour Street",
        "Tax ID IE 1234567FA",
        "billing@example.com",
        "Example Research",
        "1 Long Road",
        "Tax ID PL 52",
        "ap@example.org",
        "acct_1",
        "Prepaid API credit",
        "1,250.50 USD",
        "top_1",
        "pi_1",
        "ch_1",
    ):
        assert words in page, words


def test_the_receipt_of_the_charge_is_a_link() -> None:
    (page,) = PdfReader(BytesIO(render_invoice(INVOICE))).pages
    targets = [link.get_object()["/A"]["/URI"] for link in page["/Annots"]]
    assert targets == ["https://pay.example.com/receipts/ch_1"]


def test_it_is_the_same_bytes_each_time_and_in_every_process() -> None:
    assert render_invoice(INVOICE) == render_invoice(INVOICE)
    digests = {
        subprocess.run(
            [sys.executable, "-c", _RENDER],
            cwd=_ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(_ROOT), "TZ": zone},
            capture_output=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Pacific/Auckland"))
    }
    assert len(digests) == 1


def test_latin_greek_and_cyrillic_names_stand_as_they_are_written() -> None:
    for name in ("Żółć Åström & Łukasiewicz", "Σίγμα Ωμέγα", "Кириллица Ёж Ґалаґан", "Nguyễn Văn Đức"):
        assert name in _pages(_named(name))[0]


def test_what_the_font_lacks_is_seen_to_be_missing() -> None:
    (page,) = _pages(_named("日本 Ltd"))
    assert "\ufffd\ufffd Ltd" in page


def test_without_details_of_anybody_it_is_still_an_invoice() -> None:
    bare = replace(
        INVOICE,
        seller=Party(name="payg"),
        buyer=Buyer(account_id="acct_1", name="acct_1"),
        payment=replace(INVOICE.payment, payment_intent=None, charge_id=None, receipt_url=None),
    )
    (page,) = _pages(bare)
    assert "1,250.50 USD" in page
    assert "None" not in page


def test_long_details_go_on_on_the_next_page_with_nothing_lost() -> None:
    lines = tuple(f"Line {number}: {'word ' * 30}end{number}" for number in range(10))
    seller = replace(INVOICE.seller, name="Wide " * 40, address=lines)
    pages = _pages(replace(_named("W" * 200, *lines), seller=seller))
    assert len(pages) == 2
    text = " ".join(pages)
    for number in range(10):
        assert text.count(f"end{number}") == 2
    assert "1,250.50 USD" in text
    assert all("INV-00000042" in page for page in pages)


def test_an_endless_receipt_link_is_wrapped_and_still_one_target() -> None:
    url = "https://pay.example.com/" + "x" * 500
    (page,) = PdfReader(
        BytesIO(render_invoice(replace(INVOICE, payment=replace(INVOICE.payment, receipt_url=url))))
    ).pages
    assert {link.get_object()["/A"]["/URI"] for link in page["/Annots"]} == {url}


def test_a_name_that_looks_like_markup_is_only_a_name() -> None:
    for name in ("{nb}", "**bold** __x__ --y--", "<b>B</b>", "(a) \\ %", "[x](https://example.com)"):
        assert name in _pages(_named(name))[0]


@settings(max_examples=10, deadline=None)
@given(st.text(max_size=200), st.text(st.characters(), max_size=60))
def test_no_text_keeps_an_invoice_from_being_drawn(name: str, line: str) -> None:
    assert render_invoice(_named(name, line)).startswith(b"%PDF-")
